"""baseline: what methods without a pretrained network reach on the same splits, for the report."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script("baseline")
