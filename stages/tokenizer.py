"""tokenizer: what turns raw texts into tokens, trained here or fetched; an empty folder where the data are images."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script("tokenizer")
