"""The bundle in onnxruntime: sessions, micro-batches, CUDA graphs, TensorRT profiles, verification."""
