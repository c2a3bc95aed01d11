"""From records to examples: the shapes that people's rows have, one a file."""
