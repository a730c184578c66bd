"""Training: arguments, prepared data, the training loop on Accelerate, checkpoints."""
