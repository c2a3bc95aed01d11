"""What goes over the wire: strict in what is answered, as tolerant as OpenAI in what is taken."""
