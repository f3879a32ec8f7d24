"""Writes tests/engine/data/*.safetensors: what PyTorch computes for the cases of
test_kernels.c and test_gradients.c. Run it from the repository's root with PyTorch 2.13:

    python tests/engine/make_goldens.py

Values are computed in float64 and stored as float32, so that a difference is the
engine's own rounding. CASE.x is the input, CASE.NAME a parameter, CASE.dy the gradient of
the output CASE.y, CASE.d_NAME a gradient, CASE.after_NAME a buffer after one step. The
gradient of the input is that of the parameter "shift", which every case adds to it.
"""
import os

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20240601)
OUT = {}


def case(name, x_shape, params, fn, buffers=None, x=None):
    """fn(x, p) -> y, where p holds params (shape or tensor) and buffers by name."""
    x = torch.randn(x_shape) if x is None else x
    tensors = {"shift": torch.zeros(x.shape)}
    for key, value in params.items():
        tensors[key] = value if torch.is_tensor(value) else torch.randn(value)
    p = {k: v.double().requires_grad_() for k, v in tensors.items()}
    b = {k: v.clone().double() for k, v in (buffers or {}).items()}
    y = fn(x.double() + p["shift"], {**p, **b})
    dy = torch.randn(y.shape)
    y.backward(dy.double())
    OUT[name + ".x"] = x
    OUT[name + ".y"] = y.detach().float()
    OUT[name + ".dy"] = dy
    for key, value in tensors.items():
        if key != "shift":
            OUT[f"{name}.{key}"] = value
        OUT[f"{name}.d_{key}"] = p[key].grad.float()
    for key, value in (buffers or {}).items():
        OUT[f"{name}.{key}"] = value
        OUT[f"{name}.after_{key}"] = b[key].float()


def conv(name, x, w, bias=True, **how):
    params = {"w": w, **({"b": (w[0],)} if bias else {})}
    pad = how.pop("pad", (0, 0, 0, 0))  # left, right, top, bottom
    case(name, x, params, lambda v, p: F.conv2d(F.pad(v, pad), p["w"], p.get("b"), **how))


def stats(c):
    return {"mean": torch.randn(c), "var": torch.rand(c) + 0.5}


def norm(v, p, training=True, suffix=""):
    return F.batch_norm(v, p["mean" + suffix], p["var" + suffix], p["scale" + suffix],
                        p["bias" + suffix], training, 0.1, 1e-5)


def unary(name, fn, shape=(2, 3, 4, 3)):
    case(name, shape, {}, lambda v, p: fn(v))


conv("conv", (2, 3, 6, 6), (5, 3, 3, 3), pad=(1, 1, 1, 1))
conv("conv_wide", (2, 16, 5, 5), (16, 16, 3, 3), bias=False, pad=(1, 1, 1, 1))
conv("conv_stride", (2, 4, 7, 7), (6, 4, 3, 3), stride=2, pad=(0, 1, 1, 2))
conv("conv_dilated", (2, 3, 7, 7), (4, 3, 3, 3), dilation=2, pad=(2, 2, 2, 2))
conv("conv_groups", (2, 8, 6, 6), (12, 4, 3, 3), groups=2, pad=(1, 1, 1, 1))
conv("conv_depthwise", (2, 6, 6, 6), (6, 1, 3, 3), groups=6, pad=(1, 1, 1, 1))
conv("conv_depthwise16", (2, 16, 5, 5), (16, 1, 3, 3), bias=False, groups=16, stride=2,
     pad=(1, 1, 1, 1))
conv("conv_1x1", (2, 16, 4, 4), (8, 16, 1, 1), stride=2)

case("norm", (3, 6, 3, 3), {"scale": (6,), "bias": (6,)}, norm, stats(6))
case("norm_relu", (3, 6, 3, 3), {"scale": (6,), "bias": (6,)},
     lambda v, p: F.relu(norm(v, p)), stats(6))
case("norm_flat", (8, 5), {"scale": (5,), "bias": (5,)}, norm, stats(5))
case("norm_eval", (3, 6, 3, 3), {"scale": (6,), "bias": (6,)},
     lambda v, p: norm(v, p, training=False), stats(6))
case("conv_norm_relu", (2, 3, 6, 6), {"w": (10, 3, 3, 3), "scale": (10,), "bias": (10,)},
     lambda v, p: F.relu(norm(F.conv2d(v, p["w"]), p)), stats(10))

unary("relu", F.relu)
unary("leaky_relu", lambda v: F.leaky_relu(v, 0.1))
unary("clip", lambda v: F.hardtanh(v, 0, 0.75))
unary("sigmoid", torch.sigmoid)
unary("tanh", torch.tanh)
# Channel padding of the blocked layout must stay zero through a function with f(0) != 0.
case("padding", (2, 3, 6, 6), {"w": (5, 3, 3, 3), "w2": (4, 5, 3, 3)},
     lambda v, p: F.conv2d(torch.sigmoid(F.conv2d(v, p["w"])), p["w2"]))

unary("max_pool", lambda v: F.max_pool2d(v, 3, 2, 1), (2, 3, 7, 7))
unary("max_pool_ceil", lambda v: F.max_pool2d(v, 2, 2, ceil_mode=True), (2, 3, 7, 7))
unary("average_pool", lambda v: F.avg_pool2d(v, 3, 2, 1, count_include_pad=False),
      (2, 3, 7, 7))
unary("average_pool_padded", lambda v: F.avg_pool2d(v, 3, 2, 1), (2, 3, 7, 7))
unary("global_pool", lambda v: v.mean((2, 3), keepdim=True), (2, 3, 7, 7))
unary("reduce_mean", lambda v: v.mean((2, 3)), (2, 3, 2, 4))
case("conv_mean", (2, 3, 6, 6), {"w": (20, 3, 3, 3)},
     lambda v, p: F.conv2d(v, p["w"]).mean((2, 3)))

case("gemm", (4, 7), {"w": (5, 7), "b": (5,)}, lambda v, p: F.linear(v, p["w"], p["b"]))
case("gemm_plain", (4, 7), {"w": (7, 5), "b": (5,)}, lambda v, p: v @ p["w"] + p["b"])
case("mat_mul_bias", (4, 7), {"w": (7, 5), "b": (5,)}, lambda v, p: v @ p["w"] + p["b"])
case("gemm_twice", (4, 6), {"w": (6, 6)},
     lambda v, p: F.linear(torch.tanh(F.linear(v, p["w"])), p["w"]))

for op, fn in (("add", torch.add), ("sub", torch.sub), ("mul", torch.mul),
               ("div", torch.div)):
    def case_of(kind, shape, fn=fn, op=op):
        other = torch.randn(shape)
        other = other + 2 * other.sign()  # away from zero, for div
        case(f"{op}_{kind}", (2, 3, 2, 4), {"o": other}, lambda v, p: fn(v, p["o"]))
    case_of("full", (2, 3, 2, 4))
    case_of("channel", (3, 1, 1))
    case_of("scalar", (1,))
    case_of("general", (2, 1))
case("conv_div_channel", (2, 3, 6, 6), {"w": (5, 3, 3, 3), "o": torch.rand(1, 5, 1, 1) + 1},
     lambda v, p: F.conv2d(v, p["w"]) / p["o"])
case("add_self", (2, 5), {}, lambda v, p: v + v)
case("residual", (1, 16, 4, 4), {"w": (16, 16, 3, 3)},
     lambda v, p: F.relu(F.conv2d(v, p["w"], padding=1) + v))

case("concat", (2, 3, 4, 4), {"w": (5, 3, 1, 1)},
     lambda v, p: torch.cat([v, F.conv2d(v, p["w"]), v], 1))
case("concat_blocked", (1, 3, 4, 4), {"w": (16, 3, 1, 1), "w2": (32, 3, 3, 3)},
     lambda v, p: torch.cat([F.conv2d(v, p["w"]), F.conv2d(v, p["w2"], padding=1)], 1))
case("flatten", (2, 3, 4, 4), {"w": (5, 3, 1, 1), "v": (6, 80)},
     lambda v, p: F.linear(F.conv2d(v, p["w"]).flatten(1), p["v"]))
case("reshape", (2, 12), {"w": (4, 3, 2, 2)},
     lambda v, p: F.conv2d(v.reshape(2, 3, 2, 2), p["w"]))
case("pad", (2, 3, 4, 4), {"w": (5, 3, 1, 1)},
     lambda v, p: F.pad(F.conv2d(v, p["w"]), (2, 0, 1, 3)))

state = torch.get_rng_state()  # what follows draws as it did before this was here


def grouped(v, p):
    """oneDNN has channels in blocks of four here."""
    y = F.conv2d(F.conv2d(v, p["w"]), p["w2"], stride=2, padding=1, groups=2)
    return F.pad(norm(y, p), (1, 0, 1, 0)).mean((2, 3)) + y.mean((2, 3))


case("grouped", (2, 3, 8, 8), {"w": torch.randn(24, 3, 1, 1) / 2, "w2": torch.randn(64, 12, 3, 3) / 8, "scale": (64,),
                               "bias": (64,)}, grouped, stats(64))
torch.set_rng_state(state)

os.makedirs("tests/engine/data", exist_ok=True)
save_file({k: v.contiguous() for k, v in OUT.items()},
          "tests/engine/data/kernels.safetensors")

# A whole small network: residual, depthwise, relu6, concat, pooling, dropout left out.
OUT.clear()


def network(v, p):
    a = F.relu(norm(F.conv2d(v, p["stem"], padding=1), p, suffix="0"))
    b = norm(F.conv2d(a, p["body"], padding=1), p, suffix="1")
    c = F.relu(b + a)
    d = F.relu6(norm(F.conv2d(c, p["depthwise"], padding=1, groups=16), p, suffix="2"))
    e = F.max_pool2d(torch.cat([d, c], 1), 2)
    f = F.relu(norm(F.conv2d(e, p["reduce"], stride=2), p, suffix="3"))
    return F.linear(f.mean((2, 3)), p["head"], p["head_bias"])


weights = {"stem": torch.randn(16, 3, 3, 3) / 5, "body": torch.randn(16, 16, 3, 3) / 12,
           "depthwise": torch.randn(16, 1, 3, 3) / 3, "reduce": torch.randn(24, 32, 1, 1) / 5,
           "head": torch.randn(10, 24) / 5, "head_bias": torch.randn(10)}
buffers = {}
for i, c in enumerate((16, 16, 16, 24)):
    weights[f"scale{i}"] = torch.rand(c) + 0.5
    weights[f"bias{i}"] = torch.randn(c) / 3
    buffers[f"mean{i}"] = torch.zeros(c)
    buffers[f"var{i}"] = torch.ones(c)
case("network", (4, 3, 16, 16), weights, network, buffers)
save_file({k: v.contiguous() for k, v in OUT.items()},
          "tests/engine/data/network.safetensors")
