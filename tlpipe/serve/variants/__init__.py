"""Variants of a bundle: fp16, int8, and the gate that they pass."""
