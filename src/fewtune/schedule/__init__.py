"""Data order and learning rate: what any training loop needs, without torch."""
