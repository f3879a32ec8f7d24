"""Which float tensors of an exported graph train. Consumes the file and the names of the module's parameters,
rewrites the file; knows nothing but ONNX.

A buffer (positions, a mean to subtract) looks like a weight in a graph, and a learned number (a temperature) like a
constant. The module knows, and the library goes by what a tensor's doc_string says: docs/onnx.md.
"""
from __future__ import annotations

from typing import Set


def say_what_trains(path: str, parameters: Set[str]) -> None:
    import onnx
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.doc_string = "weight" if tensor.name in parameters else "constant"
    onnx.save(model, path)
