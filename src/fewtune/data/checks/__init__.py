"""What is wrong with the rows, found and told before anything is trained."""
