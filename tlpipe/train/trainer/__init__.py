"""The training loop and what surrounds it: optimizer, schedule, checkpoints, early stopping, weight averaging."""
