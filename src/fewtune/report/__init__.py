"""What a run left behind, shown."""
