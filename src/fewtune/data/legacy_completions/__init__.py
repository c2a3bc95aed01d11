"""The recipe `openai-2022`: what `openai tools fine_tunes.prepare_data -q` of openai 0.25.0 made of a file."""
