"""Raw bytes to numpy arrays, without torch: the same code when training and when serving."""
