"""pretrain: the source backbone, trained here or fetched and recorded once; no later stage needs a network."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script("pretrain")
