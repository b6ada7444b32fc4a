"""What is added to a model for some requests: LoRA files, read, fitted to a model, and kept."""
