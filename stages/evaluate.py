"""evaluate: one strategy's model on held-out and test samples; numbers, tables and pictures."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script("evaluate")
