"""What PyTorch's TorchScript exporter lacks in training form: dropout of whole channels (nn.Dropout1d to Dropout3d).
Written as that exporter writes x * torch.empty(...).bernoulli_(keep).div_(keep), which is what PyTorch computes.
Imports torch when it is called.
"""
from __future__ import annotations

from typing import Any, Callable

NAME, OPSET = "aten::feature_dropout", 15  # Shape has a start and an end since


def _feature_dropout(g: Any, x: Any, ratio: Any, train: Any) -> Any:
    import torch
    from torch.onnx import symbolic_helper
    rank = symbolic_helper._get_tensor_rank(x)
    ratio, train = (symbolic_helper._maybe_get_const(v, kind) for v, kind in ((ratio, "f"), (train, "b")))
    if not train or ratio == 0:
        return x
    keep = g.op("Constant", value_t=torch.tensor(1 - ratio, dtype=torch.float32))
    ones = g.op("Constant", value_t=torch.ones(rank - 2, dtype=torch.int64))
    shape = g.op("Concat", g.op("Shape", x, start_i=0, end_i=2), ones, axis_i=0)
    zeros = g.op("ConstantOfShape", shape, value_t=torch.zeros(1))
    drawn = g.op("RandomUniformLike", zeros, dtype_i=1, high_f=1.0, low_f=0.0)
    mask = g.op("Cast", g.op("Less", drawn, keep), to_i=1)
    return g.op("Mul", x, g.op("Div", mask, keep))


def export_with_channel_dropout(export: Callable[[], None]) -> None:
    """Calls export; once more, with the exporter taught, where it fails for want of this operator."""
    import torch
    try:
        export()
        return
    except Exception as e:  # the exporter raises whatever it likes
        if NAME not in str(e):
            raise
    torch.onnx.register_custom_op_symbolic(NAME, _feature_dropout, OPSET)
    try:
        export()
    finally:
        torch.onnx.unregister_custom_op_symbolic(NAME, OPSET)
