"""Writes tests/engine/data/images.safetensors: operators that are read in parts (lower_image.c,
lower_mask.c, lower_rotary.c) and those on images that have no window, as PyTorch computes them,
for test_kernels_image.c. Run it from the repository's root with PyTorch 2.13 and onnx:

    python tests/engine/make_image_goldens.py
"""
import numpy as np
import torch
import torch.nn.functional as F

from goldens import Goldens

G = Goldens(20261124)


def one(name, x, fn, *, op, inputs="v", params=None, constants=None, opset=22, smooth=True,
        **attrs):
    """A node of one operator, from "v" and what inputs names."""
    G.case(name, x, params or {}, [(op, inputs, "y", attrs)], fn, constants=constants,
           opset=opset, smooth=smooth)


# ---- pools of norms; all numbers away from 0, where |x| has a kink
def away(*shape):
    return torch.randn(shape).sign() * (torch.rand(shape) + 0.2)


def windows(v, kernel, stride=1, dilation=1, pads=(0, 0, 0, 0)):
    v = F.pad(v, pads)
    for d in range(2):
        last = v.shape[2 + d] - dilation * (kernel - 1)
        v = torch.stack([v.narrow(2 + d, k * dilation, last) for k in range(kernel)], -1)
        v = v[(slice(None),) * (2 + d) + (slice(None, None, stride),)]
    return v


one("lp_pool", away(2, 3, 7, 6), lambda v, p: F.lp_pool2d(v.abs(), 2, 3, 2),
    op="LpPool", kernel_shape=[3, 3], strides=[2, 2])
one("lp_pool_cubes", away(2, 3, 6, 6),
    lambda v, p: windows(v, 2, pads=(1, 0, 1, 0)).abs().pow(3).sum((-2, -1)).pow(1 / 3),
    op="LpPool", p=3, kernel_shape=[2, 2], pads=[1, 1, 0, 0])
one("lp_pool_sums", away(2, 3, 7, 7),
    lambda v, p: windows(v, 2, 2, 2).abs().sum((-2, -1)),
    op="LpPool", p=1, kernel_shape=[2, 2], strides=[2, 2], dilations=[2, 2])
one("lp_pool_ceil", away(2, 3, 6, 6),
    lambda v, p: windows(v, 3, 2, pads=(0, 1, 0, 1)).square().sum((-2, -1)).sqrt(),
    op="LpPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
one("global_lp_pool", away(2, 3, 4, 5),
    lambda v, p: torch.linalg.vector_norm(v, 2, (2, 3), True), op="GlobalLpPool")
one("global_lp_pool_cubes", away(2, 3, 5),
    lambda v, p: torch.linalg.vector_norm(v, 3, 2, True), op="GlobalLpPool", p=3)

# ---- cut in the middle, or zeros around
one("center_crop", (2, 3, 7, 9), lambda v, p: v[:, :, 1:6, 3:6], op="CenterCropPad",
    inputs="v,s", constants={"s": np.array([5, 3])}, axes=[2, -1])
one("center_pad", (2, 3, 4, 5), lambda v, p: F.pad(v[:, :, :, 1:4], (0, 0, 1, 2, 0, 1)),
    op="CenterCropPad", inputs="v,s", constants={"s": np.array([2, 4, 7, 3])})


# ---- positions as angles
def halves(v):
    a, b = v.chunk(2, -1)
    return torch.cat((-b, a), -1)


T = 9
ANGLES = torch.arange(T).unsqueeze(1) * torch.tensor([1.0, 0.3, 0.1])
COS, SIN = ANGLES.cos(), ANGLES.sin()
IDS = torch.tensor([[5, 4, 8, 0]])  # of all samples
TABLES = {"cos": COS, "sin": SIN}


def turned(v, cos, sin):
    """As transformers have it: v [N,H,S,R], cos and sin [N,1,S,R/2]."""
    return v * torch.cat((cos, cos), -1) + halves(v) * torch.cat((sin, sin), -1)


def by_ids(table, dim):
    return table.double()[IDS].unsqueeze(dim)


one("rotary", (2, 3, 4, 6), lambda v, p: turned(v, by_ids(COS, 1), by_ids(SIN, 1)),
    op="RotaryEmbedding", inputs="v,cos,sin,ids", constants={**TABLES, "ids": IDS}, opset=23)
one("rotary_part", (2, 3, 4, 8),
    lambda v, p: torch.cat((turned(v[..., :6], by_ids(COS, 1), by_ids(SIN, 1)), v[..., 6:]), -1),
    op="RotaryEmbedding", inputs="v,cos,sin,ids", constants={**TABLES, "ids": IDS}, opset=23,
    rotary_embedding_dim=6)
one("rotary_flat", (2, 4, 18), lambda v, p: turned(
    v.unflatten(-1, (3, 6)), by_ids(COS, 2), by_ids(SIN, 2)).flatten(2),
    op="RotaryEmbedding", inputs="v,cos,sin,ids", constants={**TABLES, "ids": IDS}, opset=23,
    num_heads=3)


def complexly(v, cos, sin):
    """As Llama's first form has it: pairs are complex numbers."""
    pairs = torch.view_as_complex(v.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.complex(cos, sin)).flatten(-2)


one("rotary_pairs", (2, 3, 4, 6), lambda v, p: complexly(
    v, COS[:4].double().expand(2, 3, 4, 3), SIN[:4].double().expand(2, 3, 4, 3)),
    op="RotaryEmbedding", inputs="v,cos,sin", opset=23, interleaved=1,
    constants={k: t[:4].unsqueeze(0) for k, t in TABLES.items()})

# ---- places in an image, inside and around it, which the image itself decides
def sample(name, x, mode, ours, outside, align):
    dims = len(x) - 2
    shape = [-1, *x[2:-1], x[-1] * x[1] // dims, dims]
    G.case(name, x, {}, [
        ("Reshape", "v,s", "r", {}), ("Sin", "r", "t", {}), ("Mul", "t,k", "g", {}),
        ("GridSample", "v,g", "y", {"mode": mode, "padding_mode": outside, "align_corners": align})],
        lambda v, p: F.grid_sample(v, v.reshape(shape).sin() * 1.4, mode=ours, padding_mode=outside,
                                   align_corners=bool(align)),
        constants={"s": np.array(shape), "k": np.array(1.4, np.float32)}, opset=20, smooth=False)


for mode, ours in (("linear", "bilinear"), ("nearest", "nearest"), ("cubic", "bicubic")):
    for outside in ("zeros", "border", "reflection"):
        for align in (0, 1):
            sample(f"grid_{mode}_{outside}_{align}", (2, 4, 5, 6), mode, ours, outside, align)
            if mode != "cubic":
                sample(f"grid_3d_{mode}_{outside}_{align}", (2, 3, 3, 4, 5), mode, ours, outside, align)
for name, shape, align in (("affine", (2, 3, 4, 5), 0), ("affine_corners", (2, 3, 4, 5), 1),
                           ("affine_3d", (2, 3, 3, 4, 5), 0)):
    d = len(shape) - 2
    G.case(name, (2, d, d + 1), {}, [("AffineGrid", "v,s", "y", {"align_corners": align})],
           lambda v, p, shape=shape, align=align: F.affine_grid(v, list(shape), bool(align)),
           constants={"s": np.array(shape)}, opset=20)

# ---- scattered by a product, the largest or the smallest; ties, and zeros: none, one and two
TIES = torch.randint(-2, 3, (1, 4, 5)).float()
AT = torch.tensor([[0, 2, 2, 1, 4], [3, 3, 3, 0, 1], [1, 1, 0, 0, 4]])
UPDATES = torch.tensor([[2, 0, 1, -1, 2], [0, 0, 1, 2, 1], [1, 1, -2, 2, 0.0]])
for how, name in (("mul", "prod"), ("max", "amax"), ("min", "amin")):
    for kind, x, u in (("", torch.randn(2, 4, 5), torch.randn(3, 5)), ("_ties", TIES, UPDATES)):
        G.case(f"scatter_{how}{kind}", x, {"u": u}, [
            ("ReduceSum", "v,first", "s", {"keepdims": 0}),
            ("ScatterElements", "s,at,u", "y", {"axis": 1, "reduction": how})],
            lambda v, p, name=name: v.sum(0).scatter_reduce(1, AT, p["u"], name),
            constants={"at": AT.numpy(), "first": np.array([0])}, opset=18, smooth=not kind)
    G.case(f"scatter_nd_{how}", (5, 2, 3), {"u": (4, 3)}, [
        ("ScatterND", "v,at,u", "y", {"reduction": how})],
        lambda v, p, name=name: v.flatten(0, 1).scatter_reduce(
            0, torch.tensor([7, 0, 7, 3]).unsqueeze(1).expand(4, 3), p["u"], name).reshape(v.shape),
        constants={"at": np.array([[3, 1], [0, 0], [3, -1], [1, 1]])}, opset=18)

# ---- windows put back
for name, image, kernel, kw, attrs in (
        ("", (5, 6), (2, 3), {}, {}),
        ("_apart", (7, 6), (3, 2), {"stride": 2, "dilation": (1, 2), "padding": (1, 2)},
         {"strides": [2, 2], "dilations": [1, 2], "pads": [1, 2, 1, 2]})):
    columns = F.unfold(torch.zeros(1, 2, *image), kernel, **kw).shape[1:]
    one(f"fold{name}", (2, *columns), lambda v, p, image=image, kernel=kernel, kw=kw: F.fold(
        v, image, kernel, **kw), op="Col2Im", inputs="v,i,b", opset=18,
        constants={"i": np.array(image), "b": np.array(kernel)}, **attrs)

# ---- attention to what came before, and all that an Attention gives
def attended(v, causal):
    key, value = torch.cat((v.sin(), v), 2), torch.cat((v.cos(), v.tanh()), 2)
    scores = v @ key.transpose(-1, -2) / 6 ** 0.5
    scores = (scores / 2).tanh() * 2
    if causal:
        scores = scores.masked_fill(torch.ones(4, 8).tril(4) == 0, -torch.inf)
    return scores.softmax(-1) @ value + scores.softmax(-1) @ value.square() + key[:, :, 4:]


for causal in (0, 1):
    G.case(f"attention_past_{causal}", (2, 3, 4, 6), {}, [
        ("Sin", "v", "past", {}), ("Cos", "v", "past_v", {}), ("Tanh", "v", "t", {}),
        ("Attention", "v,v,t,,past,past_v", "a,key,value,qk",
         {"is_causal": causal, "softcap": 2.0, "qk_matmul_output_mode": 2}),
        ("Mul", "value,value", "square", {}), ("Softmax", "qk", "p", {}),
        ("MatMul", "p,square", "m", {}), ("Slice", "key,from,to,axis", "k", {}),
        ("Add", "a,m", "s", {}), ("Add", "s,k", "y", {})],
        lambda v, p, causal=causal: attended(v, causal), opset=23,
        constants={"from": np.array([4]), "to": np.array([8]), "axis": np.array([2])})

# ---- what has no gradient itself, and constants that are made
G.case("hardmax", (3, 4, 5), {}, [("Hardmax", "v", "h", {"axis": 1}), ("Mul", "v,h", "y", {})],
       lambda v, p: v * (v == v.amax(1, keepdim=True)))
G.case("dropout_mask", (3, 4), {}, [
    ("Dropout", "v,r", "d,m", {}), ("Cast", "m", "f", {"to": 1}), ("Mul", "d,f", "y", {})],
    lambda v, p: v, constants={"r": np.array(0, np.float32)})
G.case("eye_like", (2, 3, 5), {"w": (3, 5)}, [
    ("EyeLike", "w", "e", {"k": 1}), ("Add", "v,e", "s", {}), ("Mul", "s,w", "y", {})],
    lambda v, p: (v + torch.eye(5, dtype=torch.float64)[1:4]) * p["w"])

G.save("tests/engine/data/images.safetensors")
