"""Training: arguments, data banks, the Accelerate loop, checkpoints."""
