"""The experiment loop: propose, gate, run, score, record. The only part that talks to a language model."""
