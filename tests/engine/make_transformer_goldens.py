"""Writes tests/engine/data/transformer.safetensors: what PyTorch computes for the cases of
test_kernels_transformer.c. Run it from the repository's root with PyTorch 2.13:

    python tests/engine/make_transformer_goldens.py

Values are computed in float64 and stored as float32; names are those of make_goldens.py.
A case whose input is whole numbers (tokens) has no gradient of it.
"""
import math

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20240917)
OUT = {}


def case(name, x, params, fn):
    """fn(x, p) -> y; x and params are shapes or tensors. p holds params by name."""
    x = x if torch.is_tensor(x) else torch.randn(x)
    floats = x.is_floating_point()
    tensors = {"shift": torch.zeros(x.shape)} if floats else {}
    for key, value in params.items():
        tensors[key] = value if torch.is_tensor(value) else torch.randn(value)
    p = {k: v.double().requires_grad_() for k, v in tensors.items()}
    y = fn(x.double() + p["shift"] if floats else x.long(), p)
    dy = torch.randn(y.shape)
    y.backward(dy.double())
    OUT[name + ".x"] = x.clone()
    OUT[name + ".y"] = y.detach().float()
    OUT[name + ".dy"] = dy
    for key, value in tensors.items():
        if key != "shift":
            OUT[f"{name}.{key}"] = value
        OUT[f"{name}.d_{key}"] = p[key].grad.float()


def positive(*shape):
    return torch.rand(shape) * 3 + 0.3


# ---- matrices
case("mat_mul", (2, 3, 4, 5), {},
     lambda v, p: v @ torch.tanh(v).transpose(2, 3))
case("mat_mul_flat", (4, 5), {}, lambda v, p: v @ torch.tanh(v).t())
case("mat_mul_tall", (2, 3, 4, 5), {"w": (5, 6)}, lambda v, p: v @ p["w"])
case("mat_mul_broadcast_b", (2, 3, 4, 5), {"w": (3, 5, 6)}, lambda v, p: v @ p["w"])
case("mat_mul_broadcast_both", (2, 1, 4, 5), {"w": (3, 5, 6)}, lambda v, p: v @ p["w"])
case("mat_mul_broadcast_a", (2, 5, 6), {"w": (4, 5)}, lambda v, p: p["w"] @ v)

# ---- rows
case("layer_norm", (2, 7, 19), {"scale": (19,), "bias": (19,)},
     lambda v, p: F.layer_norm(v, (19,), p["scale"], p["bias"]))
case("layer_norm_wide", (3, 4, 5), {"scale": (4, 5)},
     lambda v, p: F.layer_norm(v, (4, 5), p["scale"], None, 1e-3))
case("layer_norm_far", torch.randn(2, 70) + 100, {"scale": (70,), "bias": (70,)},
     lambda v, p: F.layer_norm(v, (70,), p["scale"], p["bias"]))
case("softmax", (2, 3, 4, 5), {}, lambda v, p: F.softmax(3 * v, -1))
case("softmax_middle", (2, 3, 4), {}, lambda v, p: F.softmax(v, 1))
case("softmax_dropped", (2, 6), {}, lambda v, p: torch.sigmoid(F.softmax(v, 1)))
case("log_softmax", (4, 9), {}, lambda v, p: F.log_softmax(v + 50, -1))
case("log_softmax_middle", (2, 3, 4), {}, lambda v, p: F.log_softmax(v, 1))
case("conv_softmax", (2, 3, 4, 4), {"w": (5, 3, 1, 1)},
     lambda v, p: F.softmax(F.conv2d(v, p["w"]), 1))

# ---- functions
for name, fn, x in (
        ("gelu", F.gelu, torch.linspace(-5, 5, 60).reshape(3, 20)),
        ("gelu_tanh", lambda v: F.gelu(v, approximate="tanh"),
         torch.linspace(-5, 5, 60).reshape(3, 20)),
        ("erf", torch.erf, (3, 7)), ("exp", torch.exp, (3, 7)),
        ("log", torch.log, positive(3, 7)), ("sqrt", torch.sqrt, positive(3, 7)),
        ("neg", torch.neg, (3, 7)), ("abs", torch.abs, (3, 7)),
        ("reciprocal", torch.reciprocal, positive(3, 7)),
        ("pow_2", lambda v: v ** 2, (3, 7)), ("pow_3", lambda v: v ** 3, (3, 7)),
        ("pow_half", lambda v: v ** 0.5, positive(3, 7)),
        ("pow_negative", lambda v: v ** -1.5, positive(3, 7))):
    case(name, x, {}, lambda v, p, fn=fn: fn(v))
case("conv_exp", (2, 3, 4, 4), {"w": (5, 3, 1, 1), "w2": (4, 5, 3, 3)},
     lambda v, p: F.conv2d(torch.exp(F.conv2d(v, p["w"]) / 4), p["w2"]))

# ---- broadcasting
for op, fn in (("add", torch.add), ("sub", torch.sub), ("mul", torch.mul),
               ("div", torch.div)):
    for kind, shape in (("samples", (1, 3, 4)), ("positions", (2, 1, 4)),
                        ("vector", (4,)), ("column", (3, 1)), ("scalar", ())):
        other = torch.randn(shape)
        case(f"{op}_{kind}", (2, 3, 4), {"o": other + 2 * other.sign()},
             lambda v, p, fn=fn: fn(v, p["o"]))
    case(f"{op}_grows", positive(3, 1), {"o": positive(2, 1, 4)},
         lambda v, p, fn=fn: fn(v, p["o"]))
    case(f"{op}_activations", positive(2, 3, 4), {},
         lambda v, p, fn=fn: fn(v, v.mean(1, keepdim=True)))
    case(f"{op}_left", positive(2, 3, 4), {"o": positive(4)},
         lambda v, p, fn=fn: fn(p["o"], v))

# ---- moving
case("transpose", (2, 3, 4, 5), {}, lambda v, p: v.permute(0, 2, 3, 1))
case("transpose_reversed", (2, 3, 4), {}, lambda v, p: v.permute(2, 1, 0))
case("slice", (2, 7, 6), {}, lambda v, p: v[:, 1:6:2, 3:])
case("slice_backward", (2, 7, 6), {}, lambda v, p: v[:, 1:6].flip(1)[:, ::2])
case("split", (2, 7, 3), {}, lambda v, p: v[:, :2] * v[:, 5:])
case("split_equal", (2, 3, 6), {},
     lambda v, p: v[..., :2] * torch.tanh(v[..., 2:4]) + v[..., 4:])
case("concat_last", (2, 3, 4), {"w": (1, 1, 5)},
     lambda v, p: torch.cat([v, p["w"].expand(2, 3, 5), torch.tanh(v)], -1))
case("concat_first", (2, 3), {"w": (4, 3)}, lambda v, p: torch.cat([p["w"], v], 0))
case("expand", (2, 1, 4), {"w": (3, 1)},
     lambda v, p: v.expand(2, 3, 4) * p["w"].expand(2, 3, 4))
case("tile", (2, 3, 2), {}, lambda v, p: v.repeat(1, 2, 3))
case("class_token", (2, 3, 4), {"token": (1, 1, 4), "position": (1, 4, 4)},
     lambda v, p: torch.cat([p["token"].expand(2, -1, -1), v], 1) + p["position"])
case("gather_one", (2, 5, 4), {}, lambda v, p: v[:, 0])
case("gather_several", (2, 5, 4), {}, lambda v, p: v[:, :, [3, 0, 3, 1]])
case("gather_columns", (2, 5), {}, lambda v, p: v[:, [3, 0, 3, 1]])
tokens = torch.tensor([[3, 1, 3, 0, 6], [6, 6, 2, 3, 5]], dtype=torch.int32)
case("embedding", tokens, {"w": (7, 4)}, lambda v, p: F.embedding(v, p["w"]))
case("embedding_tied", tokens, {"w": (7, 4)},
     lambda v, p: F.linear(torch.tanh(F.embedding(v, p["w"])).mean(1), p["w"]))

# ---- summing
case("mean_last", (2, 3, 4), {}, lambda v, p: v.mean(-1))
case("mean_middle_kept", (2, 3, 4), {}, lambda v, p: v.mean(1, keepdim=True) * v)
case("mean_outer", (2, 3, 4), {}, lambda v, p: v.mean((0, 2)))
case("mean_channels", (2, 3, 4, 4), {"w": (5, 3, 1, 1)},
     lambda v, p: F.conv2d(v, p["w"]).mean(1))
case("sum_all_kept", (2, 3, 4), {}, lambda v, p: v.sum((0, 1, 2), keepdim=True) * v)
case("sum_positions", (2, 3, 70), {}, lambda v, p: (v * v).sum(1))

# ---- from channel blocks to positions, as a patch embedding does
case("patches", (2, 3, 8, 8), {"w": (20, 3, 2, 2), "b": (20,), "position": (1, 16, 20),
                               "scale": (20,), "bias": (20,)},
     lambda v, p: F.layer_norm(
         F.conv2d(v, p["w"], p["b"], stride=2).flatten(2).transpose(1, 2) + p["position"],
         (20,), p["scale"], p["bias"]))
case("channels", (2, 3, 4, 4), {"w": (32, 3, 1, 1), "w2": (16, 8, 1, 1)},
     lambda v, p: F.conv2d(F.gelu(F.conv2d(v, p["w"])[:, 4:20])
                           .reshape(2, 2, 8, 4, 4).sum(1), p["w2"]))


# ---- a block of a transformer: two heads over five positions of eight
def block(v, p):
    n, t, d = v.shape
    x = F.layer_norm(v, (d,), p["scale0"], p["bias0"])
    qkv = (x @ p["qkv"] + p["qkv_bias"]).reshape(n, t, 3, 2, d // 2).permute(2, 0, 3, 1, 4)
    q, k, value = qkv[0], qkv[1], qkv[2]
    a = F.softmax(q @ k.transpose(2, 3) / math.sqrt(d // 2), -1) @ value
    v = v + (a.transpose(1, 2).reshape(n, t, d) @ p["out"] + p["out_bias"])
    x = F.layer_norm(v, (d,), p["scale1"], p["bias1"])
    return v + F.gelu(x @ p["up"] + p["up_bias"]) @ p["down"]


case("block", (3, 5, 8), {
    "qkv": torch.randn(8, 24) / 3, "qkv_bias": (24,), "out": torch.randn(8, 8) / 3,
    "out_bias": (8,), "scale0": torch.rand(8) + 0.5, "bias0": (8,),
    "scale1": torch.rand(8) + 0.5, "bias1": (8,), "up": torch.randn(8, 16) / 3,
    "up_bias": (16,), "down": torch.randn(16, 8) / 3}, block)

# ---- a language model: causal attention, and a table that is its output layer too
def language_model(v, p):
    x = F.embedding(v, p["w"]) * 2
    t = x.shape[1]
    mask = torch.full((t, t), -math.inf).triu(1)
    a = F.softmax(x @ x.transpose(1, 2) / math.sqrt(x.shape[2]) + mask, -1)
    return F.layer_norm(x + a @ x, (x.shape[2],), p["scale"], p["bias"]) @ p["w"].t()


case("language_model", tokens, {"w": (7, 4), "scale": torch.rand(4) + 0.5, "bias": (4,)},
     language_model)
# Tails, and both sides of where the approximations change hands.
far = torch.linspace(-9, 9, 210).reshape(2, 3, 35)
case("gelu_far", far, {}, lambda v, p: F.gelu(v))
case("gelu_tanh_far", far, {}, lambda v, p: F.gelu(v, approximate="tanh"))
case("tanh_far", far, {}, lambda v, p: torch.tanh(v))
case("sigmoid_far", far, {}, lambda v, p: torch.sigmoid(v))

# ---- bools: comparisons of numbers that are often equal, and what is chosen by them
grid = torch.randint(-2, 3, (2, 3, 4)).float() / 2
for name, fn in (("equal", torch.eq), ("greater", torch.gt), ("less", torch.lt),
                 ("greater_or_equal", torch.ge), ("less_or_equal", torch.le)):
    case(name, grid, {"o": torch.tensor([[-0.5], [0.0], [0.5]])},
         lambda v, p, fn=fn: torch.where(fn(v, p["o"]), 3 * v, v - p["o"]))
case("where_parameters", (2, 3, 4), {"a": (4,), "b": (3, 1)},
     lambda v, p: torch.where(v > 0, p["a"], p["b"]) + v)
case("where_samples", torch.tensor([[[1.0, 2, 3]], [[-1, 4, 5]]]), {"o": (3,)},
     lambda v, p: torch.where(v[:, :, :1] > 0, v * p["o"], p["o"]))
case("where_same", (2, 5), {}, lambda v, p: torch.where(v > 0, v, v))
case("masked_fill", (2, 3, 4, 4), {},
     lambda v, p: (v * v).masked_fill(torch.ones(4, 4).triu(1).bool(), -1.5))
case("logic", grid, {},
     lambda v, p: torch.where((v > -1) & torch.tensor([[True], [False], [True]])
                              | ~(v <= 0.5), v * v, 3 * v))
case("conv_where", (2, 3, 4, 4), {"w": (5, 3, 1, 1), "w2": (4, 5, 3, 3)},
     lambda v, p: F.conv2d((lambda y: torch.where(y > 0, y, y * y))(F.conv2d(v, p["w"])),
                           p["w2"]))
case("padding_left_out", tokens, {"w": (7, 4)},
     lambda v, p: F.embedding(v, p["w"]) * (v != 3).unsqueeze(-1))
case("mask_token", tokens, {"w": (7, 4), "token": (4,)},
     lambda v, p: torch.where((v == 3).unsqueeze(-1), p["token"], F.embedding(v, p["w"])))

save_file({k: v.contiguous() for k, v in OUT.items()},
          "tests/engine/data/transformer.safetensors")
