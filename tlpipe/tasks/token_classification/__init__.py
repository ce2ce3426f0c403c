"""Tags of words: named entities and the like."""
