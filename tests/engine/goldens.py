"""What PyTorch computes for small ONNX graphs: the make_*_goldens.py that import this write files
for golden_onnx.h. A case is

    CASE.model    the graph as an ONNX file, which the test imports and plans
    CASE.x        its input; the graph's first node adds the parameter "shift", of zeros, whose
                  gradient is the input's, summed over the batch
    CASE.NAME     a parameter; CASE.d_NAME its gradient, CASE.after_NAME a buffer after the step
    CASE.y, .dy   the output, and its gradient
    CASE.smooth   is there where finite differences have no kink to meet

PyTorch's values are computed in float64 and stored as float32.
"""
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file


class Goldens:
    def __init__(self, seed):
        torch.manual_seed(seed)
        self.out = {}

    def case(self, name, x, params, nodes, fn, *, constants=None, buffers=None, opset=17,
             smooth=True):
        """fn(v, p) -> y on float64 tensors is what nodes (op, inputs, output, attributes) compute
        from the value "v" into "y". x: shape or tensor; params: {name: shape or tensor}, constants
        and buffers {name: array or tensor}, the last are moved by fn."""
        x = x if torch.is_tensor(x) else torch.randn(x)
        params = {k: w if torch.is_tensor(w) else torch.randn(w) for k, w in params.items()}
        params["shift"] = torch.zeros(1, *x.shape[1:])
        constants, buffers = constants or {}, buffers or {}
        p = {k: w.double().requires_grad_() for k, w in params.items()}
        p.update({k: w.double().clone() for k, w in buffers.items()})
        y = fn(x.double() + p["shift"], p)
        dy = torch.randn(y.shape)
        y.backward(dy.double())
        stored = {"x": x, "y": y.detach().float(), "dy": dy}
        for key, value in params.items():
            stored[f"d_{key}"] = p[key].grad.float()
            if not p[key].grad.abs().max() > 1e-6:
                raise ValueError(f"{name}: the gradient of {key} is zero")
        stored.update({f"after_{k}": p[k].float() for k in buffers})
        initializers = {**params, **buffers, **constants}
        stored["model"] = torch.tensor(list(model(nodes, x, y, initializers, opset)),
                                       dtype=torch.uint8)
        if smooth:
            stored["smooth"] = torch.ones(1)
        for key, value in stored.items():
            self.out[f"{name}.{key}"] = value.detach().contiguous().clone()

    def save(self, path):
        save_file(self.out, path)


def model(nodes, x, y, initializers, opset):
    made = [helper.make_node("Add", ["x", "shift"], ["v"], name="shift")]
    made += [helper.make_node(op, ins.split(","), outs.split(","), **attrs)
             for op, ins, outs, attrs in nodes]
    arrays = {k: np.ascontiguousarray(w.numpy() if torch.is_tensor(w) else w)
              for k, w in initializers.items()}
    graph = helper.make_graph(
        made, "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *x.shape[1:]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * y.dim())],
        [numpy_helper.from_array(w, k) for k, w in arrays.items()])
    made = helper.make_model(graph, ir_version=8,
                             opset_imports=[helper.make_opsetid("", opset)])
    onnx.checker.check_model(made)
    return made.SerializeToString()
