"""embed: the frozen backbone, once over the train and validation splits; its features at every depth."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script("embed")
