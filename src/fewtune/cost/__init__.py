"""What it takes, in tokens, time and money."""
