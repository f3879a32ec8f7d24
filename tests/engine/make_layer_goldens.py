"""Writes tests/engine/data/layers.safetensors: what PyTorch computes for the cases of
test_kernels_layers.c. Run it from the repository's root with PyTorch 2.13:

    python tests/engine/make_layer_goldens.py

Same form as make_goldens.py: values are computed in float64 and stored as float32;
CASE.x is the input, CASE.NAME a parameter in ONNX's form, CASE.dy the gradient of the
output CASE.y, CASE.d_NAME a gradient.
"""
import os

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20240701)
OUT = {}


def case(name, x_shape, params, fn, x=None):
    """fn(x, p) -> y, where p holds params (shape or tensor) by name."""
    x = torch.randn(x_shape) if x is None else x
    tensors = {"shift": torch.zeros(x.shape)}
    for key, value in params.items():
        tensors[key] = value if torch.is_tensor(value) else torch.randn(value)
    p = {k: v.double().requires_grad_() for k, v in tensors.items()}
    y = fn(x.double() + p["shift"], p)
    dy = torch.randn(y.shape)
    y.backward(dy.double())
    OUT[name + ".x"] = x
    OUT[name + ".y"] = y.detach().float().contiguous()
    OUT[name + ".dy"] = dy
    for key, value in tensors.items():
        if key != "shift":
            OUT[f"{name}.{key}"] = value
        OUT[f"{name}.d_{key}"] = p[key].grad.float()


def transpose(name, x, w, bias=None, **how):
    params = {"w": w, **({"b": (bias,)} if bias else {})}
    case(name, x, params, lambda v, p: F.conv_transpose2d(v, p["w"], p.get("b"), **how))


transpose("transpose", (2, 3, 5, 4), (3, 4, 2, 2), 4, stride=2)
transpose("transpose_wide", (2, 32, 4, 4), (32, 16, 3, 3), 16, stride=2, padding=1,
          output_padding=1)
transpose("transpose_odd", (2, 20, 4, 5), (20, 18, 4, 3), 18, stride=(2, 1), padding=1)
transpose("transpose_dilated", (2, 4, 5, 5), (4, 6, 3, 3), 6, stride=1, dilation=2, padding=1)
transpose("transpose_groups", (2, 8, 4, 4), (8, 3, 3, 3), 6, stride=2, padding=1, groups=2)
transpose("transpose_depthwise", (2, 16, 4, 4), (16, 1, 4, 4), 16, stride=2, padding=1,
          groups=16)
case("conv_transpose_chain", (2, 3, 6, 6), {"w": (20, 3, 3, 3), "t": (20, 7, 2, 2), "b": (7,),
                                            "v": (5, 7, 1, 1)},
     lambda v, p: F.conv2d(F.conv_transpose2d(F.conv2d(v, p["w"]), p["t"], p["b"], stride=2),
                           p["v"]))


def gates(module, order):
    """PyTorch's weights of all directions as ONNX's W, R and B, gates in this order."""
    ways = ["", "_reverse"] if module.bidirectional else [""]
    hidden = module.hidden_size

    def sort(t):
        parts = t.detach().split(hidden)
        return torch.cat([parts[i] for i in order])

    def get(name, way):
        return sort(getattr(module, f"{name}_l0{way}"))

    params = {"w": torch.stack([get("weight_ih", way) for way in ways]),
              "r": torch.stack([get("weight_hh", way) for way in ways])}
    if module.bias:
        params["b"] = torch.stack([torch.cat([get("bias_ih", way), get("bias_hh", way)])
                                   for way in ways])
    return params


def recurrent(name, kind, x, hidden, pick, bias=True, both=False, batch_first=False):
    """pick(y, h, c) -> output, where y is PyTorch's and h, c are [D, N, H]."""
    order = [0, 3, 1, 2] if kind is torch.nn.LSTM else [1, 0, 2]
    back = [order.index(i) for i in range(len(order))]
    module = kind(x[2], hidden, bias=bias, bidirectional=both, batch_first=batch_first)
    params = gates(module, order)
    module = module.double()

    def fn(v, p):
        values = {}
        for d, way in enumerate(["", "_reverse"][:1 + both]):
            def unsort(t):
                parts = t.split(hidden)
                return torch.cat([parts[i] for i in back])
            values[f"weight_ih_l0{way}"] = unsort(p["w"][d])
            values[f"weight_hh_l0{way}"] = unsort(p["r"][d])
            if bias:
                wb, rb = p["b"][d].split(len(order) * hidden)
                values[f"bias_ih_l0{way}"] = unsort(wb)
                values[f"bias_hh_l0{way}"] = unsort(rb)
        y, state = torch.func.functional_call(module, values, (v,))
        h, c = state if kind is torch.nn.LSTM else (state, None)
        return pick(y, h, c)

    case(name, x, params, fn)


def all_steps(both, batch_first=False):
    """Y as ONNX has it: [S, D, N, H], or [N, S, D, H] if batch_first."""
    def pick(y, h, c):
        y = y.unflatten(-1, (1 + both, -1))
        return y if batch_first else y.movedim(2, 1)
    return pick


def last(y, h, c):
    return h


def last_cell(y, h, c):
    return c


LSTM, GRU = torch.nn.LSTM, torch.nn.GRU
recurrent("lstm", LSTM, (5, 3, 4), 6, all_steps(False))
recurrent("lstm_both", LSTM, (5, 3, 4), 6, all_steps(True), both=True)
recurrent("lstm_bare", LSTM, (4, 2, 3), 5, all_steps(True), both=True, bias=False)
recurrent("lstm_batch_first", LSTM, (3, 5, 4), 6, all_steps(True, True), both=True,
          batch_first=True)
recurrent("lstm_last", LSTM, (5, 3, 4), 6, last, both=True)
recurrent("lstm_cell", LSTM, (5, 3, 4), 6, last_cell, both=True)
recurrent("lstm_sum", LSTM, (5, 3, 4), 6,
          lambda y, h, c: all_steps(False)(y, h, c) + h + c)
recurrent("lstm_two_steps", LSTM, (2, 1, 4), 6, all_steps(False))
recurrent("gru", GRU, (5, 3, 4), 6, all_steps(False))
recurrent("gru_both", GRU, (5, 3, 4), 6, all_steps(True), both=True)
recurrent("gru_bare", GRU, (4, 2, 3), 5, all_steps(False), bias=False)
recurrent("gru_batch_first", GRU, (3, 5, 4), 6, all_steps(True, True), both=True,
          batch_first=True)
recurrent("gru_last", GRU, (5, 3, 4), 6, last, both=True)


def resize(name, x, **how):
    case(name, x, {}, lambda v, p: F.interpolate(v, **how))


resize("nearest", (2, 3, 4, 5), scale_factor=2, mode="nearest")
resize("nearest_sizes", (2, 3, 6, 7), size=(9, 4), mode="nearest")
resize("linear", (2, 3, 4, 5), scale_factor=2, mode="bilinear", align_corners=False)
resize("linear_scale", (2, 3, 5, 5), scale_factor=1.7, mode="bilinear", align_corners=False)
resize("linear_sizes", (2, 3, 6, 5), size=(4, 11), mode="bilinear", align_corners=False)
resize("linear_corners", (2, 3, 4, 5), size=(7, 10), mode="bilinear", align_corners=True)
case("resize_blocked", (2, 3, 6, 6), {"w": (20, 3, 3, 3), "v": (5, 20, 1, 1)},
     lambda v, p: F.conv2d(F.interpolate(F.conv2d(v, p["w"]), scale_factor=2,
                                         mode="bilinear", align_corners=False), p["v"]))


def unit(name, fn):
    case(name, (2, 3, 4, 5), {}, lambda v, p: fn(3 * v))


unit("elu", lambda v: F.elu(v, 0.7))
unit("selu", F.selu)
unit("softplus", F.softplus)
unit("hard_sigmoid", F.hardsigmoid)
unit("hard_swish", F.hardswish)
case("softplus_blocked", (2, 3, 6, 6), {"w": (20, 3, 3, 3), "v": (5, 20, 3, 3)},
     lambda v, p: F.conv2d(F.softplus(F.conv2d(v, p["w"])), p["v"]))
case("prelu", (2, 3, 4, 5), {"slope": (1,)}, lambda v, p: F.prelu(v, p["slope"]))
case("prelu_channels", (2, 3, 4, 5), {"slope": (3, 1, 1)},
     lambda v, p: F.prelu(v, p["slope"].flatten()))
case("prelu_flat", (4, 6), {"slope": (6,)}, lambda v, p: F.prelu(v, p["slope"]))
case("prelu_blocked", (2, 3, 6, 6), {"w": (20, 3, 3, 3), "slope": (20, 1, 1)},
     lambda v, p: F.prelu(F.conv2d(v, p["w"]), p["slope"].flatten()))

case("instance_norm", (3, 5, 4, 3), {"scale": (5,), "bias": (5,)},
     lambda v, p: F.instance_norm(v + 2, weight=p["scale"], bias=p["bias"], eps=1e-3))
case("instance_norm_1d", (3, 5, 7), {"scale": (5,), "bias": (5,)},
     lambda v, p: F.instance_norm(v, weight=p["scale"], bias=p["bias"]))
case("group_norm", (3, 6, 4, 3), {"scale": (6,), "bias": (6,)},
     lambda v, p: F.group_norm(v, 2, p["scale"], p["bias"]))
case("group_norm_blocked", (2, 3, 6, 6), {"w": (20, 3, 3, 3), "scale": (20,), "bias": (20,)},
     lambda v, p: F.group_norm(F.conv2d(v, p["w"]), 4, p["scale"], p["bias"]))
case("group_norm_1d", (3, 6, 5), {"scale": (6,), "bias": (6,)},
     lambda v, p: F.group_norm(v, 3, p["scale"], p["bias"]))
case("group_norm_parts", (3, 6, 4, 3), {"scale": (6, 1, 1), "bias": (6, 1, 1)},
     lambda v, p: F.group_norm(v, 2, p["scale"].flatten(), p["bias"].flatten()))

os.makedirs("tests/engine/data", exist_ok=True)
save_file({k: v.detach().contiguous() for k, v in OUT.items()},
          "tests/engine/data/layers.safetensors")
