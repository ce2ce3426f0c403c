"""export: the champion as one ONNX file that takes raw images; written only when it computes what was trained."""

from tlpipe.stages.runner import script

if __name__ == "__main__":
    script("export")
