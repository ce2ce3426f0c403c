"""sample_data: the offline default's images, scikit-learn's handwritten digits as small PNG files."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script("sample_data")
