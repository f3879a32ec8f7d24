"""Which float tensors of an exported graph train. Consumes the file and the names of the module's parameters,
rewrites the file; knows nothing but ONNX.

A buffer (positions, a mean to subtract) looks like a weight in a graph, and a learned number (a temperature) like a
constant. The module knows, and the library goes by what a tensor's doc_string says: docs/onnx.md. Likewise an Identity
through which no gradient goes.
"""
from __future__ import annotations

from typing import Set

DOMAIN = "amalgam"


def say_what_trains(path: str, parameters: Set[str]) -> None:
    import onnx
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.doc_string = "weight" if tensor.name in parameters else "constant"
    for node in model.graph.node:
        if node.domain == DOMAIN:  # _symbolic.py
            node.domain, node.op_type, node.doc_string = "", "Identity", "no gradient"
    for opset in [o for o in model.opset_import if o.domain == DOMAIN]:
        model.opset_import.remove(opset)
    onnx.save(model, path)
