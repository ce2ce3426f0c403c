"""Inputs of a training: sampler, batches, augmented views."""
