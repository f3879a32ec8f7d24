"""Writes tests/engine/data/elementwise.safetensors: what PyTorch computes for the cases of
test_kernels_elementwise.c. Run it from the repository's root with PyTorch 2.13:

    python tests/engine/make_elementwise_goldens.py

Same form as make_goldens.py: values are computed in float64 and stored as float32;
CASE.x is the input, CASE.NAME a parameter, CASE.dy the gradient of the output CASE.y,
CASE.d_NAME a gradient. Each case draws from a generator of its own, so that a new one
leaves the others as they are.
"""
import os
import zlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

OUT = {}


def case(name, x, params, fn):
    """x: a shape, or fn of a generator. params: {name: shape or tensor}. fn(x, p) -> y."""
    g = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    x = x(g) if callable(x) else torch.randn(x, generator=g)
    tensors = {"shift": torch.zeros(x.shape)}
    for key, value in params.items():
        tensors[key] = value if torch.is_tensor(value) else torch.randn(value, generator=g)
    p = {k: v.double().requires_grad_() for k, v in tensors.items()}
    y = fn(x.double() + p["shift"], p)
    dy = torch.randn(y.shape, generator=g)
    OUT[name + ".x"] = x
    OUT[name + ".y"] = y.detach().float().contiguous()
    OUT[name + ".dy"] = dy
    if y.requires_grad:
        y.backward(dy.double())
    for key, value in tensors.items():
        if key != "shift":
            OUT[f"{name}.{key}"] = value
        if p[key].grad is not None:
            OUT[f"{name}.d_{key}"] = p[key].grad.float()


def within(low, high, *shape):
    return lambda g: torch.rand(*(shape or (2, 3, 4, 5)), generator=g) * (high - low) + low


def function(name, fn, low=-4, high=4):
    case(name, within(low, high), {}, lambda v, p: fn(v))


function("celu", F.celu)
function("celu_alpha", lambda v: F.celu(v, 0.3))
function("celu_negative", lambda v: F.celu(v, -1.5))
function("elu_negative", lambda v: torch.where(v > 0, v, -0.5 * torch.expm1(v)))
function("selu_other", lambda v: 2 * F.elu(v, 1.5))
function("mish", F.mish, -12, 12)
function("mish_far", F.mish, 15, 90)
function("softsign", F.softsign)
function("shrink_hard", lambda v: F.hardshrink(v, 1.5))
function("shrink_soft", lambda v: F.softshrink(v, 1.5))
function("shrink_other", lambda v: torch.where(v < -1, v + 0.25, torch.where(v > 1, v - 0.25, 0 * v)))
function("thresholded_relu", lambda v: F.threshold(v, 1.0, 0.0))
function("thresholded_relu_low", lambda v: F.threshold(v, -2.0, 0.0))
function("leaky_relu_negative", lambda v: F.leaky_relu(v, -0.4))
function("hard_sigmoid_other", lambda v: torch.clamp(0.3 * v + 0.4, 0, 1))
function("sin", torch.sin, -9, 9)
function("cos", torch.cos, -9, 9)
function("tan", torch.tan, -1.4, 1.4)
function("asin", torch.asin, -0.95, 0.95)
function("acos", torch.acos, -0.95, 0.95)
function("atan", torch.atan)
function("sinh", torch.sinh)
function("cosh", torch.cosh)
function("asinh", torch.asinh)
function("acosh", torch.acosh, 1.05, 9)
function("atanh", torch.atanh, -0.95, 0.95)


def blocked(name, fn):
    """Between channel blocks, 4 of 24 of which are padding."""
    case(f"blocked_{name}", (2, 3, 6, 6), {"w": (20, 3, 3, 3), "v": (5, 20, 3, 3)},
         lambda v, p: F.conv2d(fn(F.conv2d(v, p["w"])), p["v"]))


blocked("mish", F.mish)
blocked("cos", torch.cos)
blocked("celu", F.celu)
blocked("leaky_relu_negative", lambda v: F.leaky_relu(v, -0.4))


def steps(name, fn):
    """x + fn(x): no gradient comes through fn."""
    quarters = lambda g: torch.randint(-12, 13, (2, 3, 4, 5), generator=g) / 4
    case(name, quarters, {}, lambda v, p: v * fn(v.detach()))


steps("sign", torch.sign)
steps("floor", torch.floor)
steps("ceil", torch.ceil)
steps("round", torch.round)


# ---- two operands

def pair(name, fn, x=(2, 3, 4, 5), b=(2, 3, 4, 5), low=-4, high=4, b_low=-4, b_high=4):
    """fn(x, b)."""
    g = torch.Generator().manual_seed(zlib.crc32(b"operand " + name.encode()))
    operand = within(b_low, b_high, *b)(g)
    case(name, within(low, high, *x), {"b": operand}, lambda v, p: fn(v, p["b"]))


SHAPES = {"same": {}, "number": {"b": (1,)}, "channel": {"b": (3, 1, 1)}, "row": {"b": (4, 5)},
          "wide": {"x": (3, 1, 5), "b": (2, 3, 4, 1)}, "flat": {"x": (4, 6), "b": (6,)}}
for shape, dims in SHAPES.items():
    pair(f"max_{shape}", torch.maximum, **dims)
    pair(f"min_{shape}", torch.minimum, **dims)
    pair(f"pow_{shape}", torch.pow, low=0.2, high=3, b_low=-2, b_high=3, **dims)
    pair(f"fmod_{shape}", torch.fmod, **dims)
    pair(f"mod_{shape}", torch.remainder, **dims)
    if shape != "wide":
        pair(f"prelu_{shape}", lambda v, b: torch.where(v > 0, v, v * b), **dims)


def quarters(g):
    return torch.randint(-4, 5, (2, 3, 4, 5), generator=g) / 4


# Ties, and bases and exponents of 0.
TIES = torch.randint(-4, 5, (2, 3, 4, 5), generator=torch.Generator().manual_seed(7)) / 4
case("max_ties", quarters, {"b": TIES}, lambda v, p: torch.maximum(v, p["b"]))
case("min_ties", quarters, {"b": TIES}, lambda v, p: torch.minimum(v, p["b"]))
case("pow_zeros", lambda g: quarters(g).abs(), {"b": (8 * TIES).round().abs()},
     lambda v, p: torch.pow(v, p["b"]))
case("pow_of_two", within(-3, 3), {"b": torch.tensor(2.0)}, lambda v, p: torch.pow(p["b"], v))
case("pow_raised", within(0.2, 2, 5), {"b": torch.full((1, 1), 2.0)},
     lambda v, p: torch.pow(v, p["b"]))
case("prelu_of_data", within(-4, 4), {"b": (3, 1, 1)},
     lambda v, p: torch.where(v > 0, v, v * torch.tanh(p["b"])))
for kind, fn in (("max", torch.maximum), ("prelu", lambda v, b: torch.where(v > 0, v, v * b))):
    case(f"blocked_{kind}", (2, 3, 6, 6),
         {"w": (20, 3, 3, 3), "b": (20, 4, 4), "v": (5, 20, 3, 3)},
         lambda v, p, fn=fn: F.conv2d(fn(F.conv2d(v, p["w"]), p["b"]), p["v"]))
case("blocked_max_channel", (2, 3, 6, 6),
     {"w": (20, 3, 3, 3), "b": (20, 1, 1), "v": (5, 20, 3, 3)},
     lambda v, p: F.conv2d(torch.maximum(F.conv2d(v, p["w"]), p["b"]), p["v"]))

os.makedirs("tests/engine/data", exist_ok=True)
save_file({k: v.detach().clone().contiguous() for k, v in OUT.items()},
          "tests/engine/data/elementwise.safetensors")
