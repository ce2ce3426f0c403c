"""code: the fingerprint of each stage's code, by which the other stages notice that they must run again."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script("code")
