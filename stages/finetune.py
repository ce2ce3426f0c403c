"""finetune: one strategy from the head stage's model, or from fresh weights; killed anywhere, it goes on."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script("finetune")
