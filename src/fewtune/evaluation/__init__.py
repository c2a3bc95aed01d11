"""How good the answers are, and whether a difference can be told from noise."""
