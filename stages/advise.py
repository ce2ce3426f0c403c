"""advise: which strategy for this data and this backbone, with what score, at what cost, and why; trains nothing."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script("advise")
