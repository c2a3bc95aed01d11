"""What was done, in one SQLite file."""
