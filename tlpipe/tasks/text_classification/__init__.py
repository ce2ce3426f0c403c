"""Single-label classification of texts, or of pairs of texts."""
