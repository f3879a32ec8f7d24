"""Float tensors that are added and do not train, such as the positions of a transformer. Consumes an exported
graph and the names of the module's parameters, rewrites the file; knows nothing but ONNX.

The library takes a tensor that is added to activations for a weight. x - (-b) is x + b to the last bit, and what
is subtracted is a constant to it.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional, Set

LARGE = 1e30  # masks of attention hold numbers like this: constants to the library anyway


@dataclass(frozen=True)
class _Fixed:
    """A value that depends neither on the input nor on a parameter."""
    is_float: bool = False
    is_mask: bool = False
    has_many: bool = False


def subtract_constants(path: str, parameters: Set[str]) -> None:
    """Writes the file anew if it adds such tensors; otherwise leaves it as it is."""
    import onnx
    model = onnx.load(path)
    graph = model.graph
    values: Dict[str, Optional[_Fixed]] = {i.name: None for i in graph.input}
    for t in graph.initializer:
        values[t.name] = None if t.name in parameters else _tensor(t)
    nodes, changed = [], False
    for node in graph.node:
        inputs = [values.get(n) for n in node.input if n]
        result = _result(node, inputs)
        for name in node.output:
            values[name] = result
        fixed = _added(node, values)
        if fixed is not None:
            negated = onnx.helper.make_node("Neg", [fixed], [f"{node.output[0]}/negated"],
                                            f"{node.name or node.output[0]}/negated")
            other = node.input[0] if node.input[1] == fixed else node.input[1]
            node.op_type, changed = "Sub", True
            node.input[:] = [other, negated.output[0]]
            nodes.append(negated)
        nodes.append(node)
    if changed:
        copies = [type(n).FromString(n.SerializeToString()) for n in nodes]
        del graph.node[:]
        graph.node.extend(copies)
        onnx.save(model, path)


def _tensor(t: Any) -> _Fixed:
    from onnx import TensorProto, numpy_helper
    if t.data_type != TensorProto.FLOAT:
        return _Fixed()
    array = numpy_helper.to_array(t)
    return _Fixed(True, bool(array.size and abs(array).max() >= LARGE), array.size > 1)


def _result(node: Any, inputs: "list[Optional[_Fixed]]") -> Optional[_Fixed]:
    """Of a node whose inputs are such; None: it depends on something."""
    from onnx import TensorProto
    tensors = [a.t for a in node.attribute if a.name == "value" and a.HasField("t")]
    if node.op_type in ("Shape", "Size"):
        return _Fixed()
    if any(i is None for i in inputs) or any(a.HasField("g") or a.graphs for a in node.attribute):
        return None
    known = [i for i in inputs if i is not None] + [_tensor(t) for t in tensors]
    is_float = any(k.is_float for k in known)
    for a in node.attribute:
        if node.op_type == "Cast" and a.name == "to":
            is_float = a.i == TensorProto.FLOAT
    return _Fixed(is_float, any(k.is_mask for k in known), any(k.has_many for k in known))


def _added(node: Any, values: Dict[str, Optional[_Fixed]]) -> Optional[str]:
    """The input of an Add that would be taken for a weight and is none."""
    if node.op_type != "Add":
        return None
    found = [n for n in node.input if values.get(n) is not None]
    if len(found) != 1:
        return None
    fixed = values[found[0]]
    return found[0] if fixed and fixed.is_float and fixed.has_many and not fixed.is_mask else None
