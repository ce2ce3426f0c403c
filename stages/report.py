"""report: one self-contained page from everything that the other stages wrote."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script("report")
