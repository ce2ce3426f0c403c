"""sample_solar: the demo's photographs, solar cells of the package elpv-dataset, functional and defective."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script("sample_solar")
