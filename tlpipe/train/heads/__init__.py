"""Heads that are fitted to convergence on cached features, without a training loop."""
