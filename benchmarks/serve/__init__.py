"""Load and abuse for `tlpipe serve`, on this machine only."""
