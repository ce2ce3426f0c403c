"""Activation cache and feature cache: what frozen layers give is computed once and kept on disk."""
