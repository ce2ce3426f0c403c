"""check: refuse what cannot work before any work, and write down what later stages need of more than one section."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script("check")
