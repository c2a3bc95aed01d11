"""How the built-in base was made: corpus, tokenizer, training, card. Not part of the wheel."""
