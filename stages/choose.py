"""choose: which of several backbones, for these data and this budget; a frozen pass each, and nothing is trained."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script("choose")
