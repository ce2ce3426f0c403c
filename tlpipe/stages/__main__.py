"""`python -m tlpipe.stages NAME [ARGUMENT]`: what torchrun starts its workers with."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script()
