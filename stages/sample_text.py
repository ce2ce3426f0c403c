"""sample_text: the offline default's texts, the documentation strings of Python's standard library."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script("sample_text")
