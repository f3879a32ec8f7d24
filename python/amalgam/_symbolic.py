"""What PyTorch's TorchScript exporter lacks in training form: dropout of whole channels (nn.Dropout1d to Dropout3d),
written as that exporter writes x * torch.empty(...).bernoulli_(keep).div_(keep), which is what PyTorch computes; and
x.detach(), which it leaves out. Imports torch when it is called.
"""
from __future__ import annotations

from typing import Any, Callable

from ._fixed import DOMAIN

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


def _stop_gradient(g: Any, x: Any) -> Any:
    """The exporter passes x on; say_what_trains makes an Identity of this that says what it is."""
    return g.op(f"{DOMAIN}::StopGradient", x).setType(x.type())


def _with(name: str, symbolic: Callable[..., Any], opset: int, export: Callable[[], None]) -> None:
    import torch
    torch.onnx.register_custom_op_symbolic(name, symbolic, opset)
    try:
        export()
    finally:
        torch.onnx.unregister_custom_op_symbolic(name, opset)


def export_taught(export: Callable[[], None], stops: bool) -> None:
    """Calls export; once more, with the exporter taught, where it fails for want of channel dropout. stops: the module
    calls detach()."""
    if stops:
        _with("aten::detach", _stop_gradient, 9, lambda: export_taught(export, False))
        return
    try:
        export()
    except Exception as e:  # the exporter raises whatever it likes
        if NAME not in str(e):
            raise
        _with(NAME, _feature_dropout, OPSET, export)
