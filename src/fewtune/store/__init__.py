"""What was done, and all that the service keeps."""
