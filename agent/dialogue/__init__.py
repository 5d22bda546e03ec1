"""The dialogue with a model: prompts, and replies taken apart."""
