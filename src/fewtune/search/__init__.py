"""Which plans to try and which one won; decides, never trains."""
