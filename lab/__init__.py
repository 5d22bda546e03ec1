"""The SAE laboratory: subject model, text, activations, training and scoring. It knows nothing of agents."""
