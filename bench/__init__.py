"""Side-by-side measurements against peers, one command each; see README.md in this folder."""
