"""The edit engine measured: a corpus of replies, real replies, speed, and aider's matcher beside it."""
