"""ONNX files as values: graphs, edits of graphs, reading and writing."""
