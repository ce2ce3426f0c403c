"""What hostile and broken input does to tlpipe: `make abuse`."""
