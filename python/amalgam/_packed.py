"""Sequences of unequal length as PyTorch's TorchScript exporter should write them: pack_padded_sequence is the padded
tensor and its lengths, which ONNX's recurrent layers take as sequence_lens. The exporter's own form, of a kind of node
that later passes have to move away, fails where a packed layer's last state alone is used. Imports torch and onnx when
it is called.
"""
from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, Tuple

OPSET = 9
RECURRENT = ("LSTM", "GRU", "RNN")


def _pack(g: Any, x: Any, lengths: Any, batch_first: Any) -> Tuple[Any, Any]:
    from torch.onnx import symbolic_helper
    if symbolic_helper._maybe_get_const(batch_first, "b"):
        x = g.op("Transpose", x, perm_i=[1, 0, 2])
    return x, g.op("Cast", lengths, to_i=6)  # int32


def _unpack(g: Any, y: Any, lengths: Any, batch_first: Any, _value: Any, _total: Any) -> Tuple[Any, Any]:
    from torch.onnx import symbolic_helper
    if symbolic_helper._maybe_get_const(batch_first, "b"):
        y = g.op("Transpose", y, perm_i=[1, 0, 2])
    return y, g.op("Cast", lengths, to_i=7)  # int64


@contextlib.contextmanager
def packing_known(path: str) -> Iterator[None]:
    """While a module is exported to path by that exporter."""
    import torch
    found = []

    def pack(*args: Any) -> Tuple[Any, Any]:
        found.append(True)
        return _pack(*args)

    symbols = {"aten::_pack_padded_sequence": pack, "aten::_pad_packed_sequence": _unpack}
    for name, symbol in symbols.items():
        torch.onnx.register_custom_op_symbolic(name, symbol, OPSET)
    try:
        yield
    finally:
        for name in symbols:
            torch.onnx.unregister_custom_op_symbolic(name, OPSET)
    if found:
        _drop_zero_states(path)


def _drop_zero_states(path: str) -> None:
    """Layers with lengths begin with zeros by themselves; those that the module spells out have the wrong shape, its
    batch being the first of the batch sizes of what is packed."""
    import onnx
    model = onnx.load(path)
    makers = {name: node for node in model.graph.node for name in node.output}
    dropped = [_drop(node, makers) for node in model.graph.node if node.op_type in RECURRENT]
    if any(dropped):
        onnx.save(model, path)


def _drop(node: Any, makers: Dict[str, Any]) -> bool:
    zeros = [i for i in range(5, len(node.input)) if node.input[4] and _is_zeros(node.input[i], makers)]
    for i in zeros:
        node.input[i] = ""
    return bool(zeros)


def _is_zeros(name: str, makers: Dict[str, Any]) -> bool:
    from onnx import numpy_helper
    while name in makers and makers[name].op_type == "Slice":
        name = makers[name].input[0]
    if name not in makers or makers[name].op_type != "ConstantOfShape":
        return False
    return not any(numpy_helper.to_array(a.t).any() for a in makers[name].attribute)
