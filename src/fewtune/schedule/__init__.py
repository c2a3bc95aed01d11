"""Data order, learning rate and trunks: what any training loop needs, without torch."""
