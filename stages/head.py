"""head: a converged logistic head on the frozen features; feature extraction, and where every fine-tuning starts."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script("head")
