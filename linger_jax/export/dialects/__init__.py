"""The dialects of ONNX that a file can be written in."""
