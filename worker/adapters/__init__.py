"""What is added to a model for some requests: LoRAs and ControlNets, read, fitted to a model, and kept."""
