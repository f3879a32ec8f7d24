"""Writes tests/engine/data/attention.safetensors: what PyTorch computes for the cases of
test_kernels_attention.c. Run it from the repository's root with PyTorch 2.13:

    python tests/engine/make_attention_goldens.py

Values are computed in float64 and stored as float32; names are those of make_goldens.py.
"""
import math

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20261123)
OUT = {}


def case(name, x, params, fn):
    """fn(x, p) -> y; x and params are shapes. p holds params by name."""
    x = torch.randn(x)
    tensors = {"shift": torch.zeros(x.shape), **{k: torch.randn(v) for k, v in params.items()}}
    p = {k: v.double().requires_grad_() for k, v in tensors.items()}
    y = fn(x.double() + p["shift"], p)
    dy = torch.randn(y.shape)
    y.backward(dy.double())
    OUT[name + ".x"], OUT[name + ".y"], OUT[name + ".dy"] = x, y.detach().float(), dy
    for key, value in tensors.items():
        if key != "shift":
            OUT[f"{name}.{key}"] = value
        OUT[f"{name}.d_{key}"] = p[key].grad.float()


def attention(q, k, v, mask=0):
    return F.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + mask, -1) @ v


def heads(v, count):
    return v.unflatten(-1, (count, -1)).transpose(1, 2)


def joined(v):
    return v.transpose(1, 2).flatten(2)


def packed(x, p):
    """Tokens before samples, and a causal mask, as nn.MultiheadAttention has it."""
    length = x.shape[0]
    q, k, v = (heads(part, 2) for part in (x @ p["qkv"]).transpose(0, 1).chunk(3, -1))
    y = attention(q, k, v, torch.full((length, length), -math.inf).triu(1))
    return joined(y).transpose(0, 1) @ p["out"]


def crossed(x, p):
    """Values of another width, of fewer tokens than ask, some of them masked by the data."""
    memory = torch.tanh(x[:, :3])
    mask = torch.where(memory[:, :, 0] > 0, 0.0, -2.0)[:, None, None]
    q, k, v = heads(x @ p["q"], 2), heads(memory @ p["k"], 2), heads(memory @ p["v"], 2)
    return joined(attention(q, k, v, mask))


def parts(x, p, at):
    """Slices of what lies side by side."""
    q, k, v = (heads((x @ p["w"])[..., i:i + 4], 2) for i in at)
    return joined(attention(q, k, v))


def chosen(x, p, choose, hide=lambda w: w):
    """Scores that give way to numbers, and weights that do."""
    q, k, v = heads(x @ p["q"], 2), heads(x @ p["k"], 2), heads(x @ p["v"], 2)
    scores = choose(q @ k.transpose(-1, -2) / 2)
    return joined(hide(F.softmax(scores, -1)) @ v)


BEFORE = torch.ones(5, 5).tril().bool()
SOME = BEFORE.expand(2, 1, 5, 5).clone()
SOME[1] = (torch.arange(5) != 3)[:, None] & (torch.arange(5) != 1)
LOW = torch.finfo(torch.float32).min


def causal(x, p):
    return chosen(x, p, lambda s: torch.where(BEFORE, s, -1e4))


def hidden(x, p):
    seen = (x[:, :, 0] >= 0)[:, None, None]
    return chosen(x, p, lambda s: torch.where(seen, s, -0.5) - torch.arange(5) / 4)


def unseen(x, p, scores=SOME, weights=SOME):
    return chosen(x, p, lambda s: torch.where(scores, s, LOW),
                  lambda w: torch.where(weights, w, 0.0))


case("packed", (5, 3, 8), {"qkv": (8, 24), "out": (8, 8)}, packed)
case("crossed", (2, 5, 6), {"q": (6, 8), "k": (6, 8), "v": (6, 6)}, crossed)
case("apart", (2, 5, 6), {"w": (6, 16)}, lambda x, p: parts(x, p, (8, 0, 4)))
case("tied", (2, 5, 6), {"w": (6, 16)}, lambda x, p: parts(x, p, (4, 4, 12)))
case("overlapping", (2, 5, 6), {"w": (6, 16)}, lambda x, p: parts(x, p, (0, 2, 4)))
SELF = {"q": (6, 8), "k": (6, 8), "v": (6, 6)}
case("causal", (2, 5, 6), SELF, causal)
case("hidden", (2, 5, 6), SELF, hidden)
case("unseen", (2, 5, 6), SELF, unseen)
case("half_hidden", (2, 5, 6), SELF, lambda x, p: unseen(x, p, BEFORE, SOME))
case("biased", (2, 5, 6), SELF,
     lambda x, p: chosen(x, p, lambda s: torch.where(SOME, s - torch.arange(5) / 4, -0.75)))

save_file({k: v.contiguous() for k, v in OUT.items()}, "tests/engine/data/attention.safetensors")
