"""From the user's file to rows that can be trained: read, check, repair, split, write."""
