"""prepare: read the raw samples once, find the bad ones, split, and pack."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script("prepare")
