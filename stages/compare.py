"""compare: choose the champion on validation, write the comparison, and make sure that MLflow has every run."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script("compare")
