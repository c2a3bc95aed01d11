"""The service: OpenAI's fine-tuning API on this machine."""
