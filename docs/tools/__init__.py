"""Makers of generated pages and pictures of the documentation, and the hooks of its site."""
