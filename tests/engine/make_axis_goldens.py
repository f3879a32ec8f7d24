"""Writes tests/engine/data/axis.safetensors: what PyTorch computes for the cases of
test_kernels_axis.c. Run it from the repository's root with PyTorch 2.13:

    python tests/engine/make_axis_goldens.py

Values are computed in float64 and stored as float32; names are those of make_goldens.py.
"""
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20261123)
OUT = {}


def case(name, x, params, fn):
    """fn(x, p) -> y; x and params are shapes or tensors. p holds params by name."""
    x = x if torch.is_tensor(x) else torch.randn(x)
    tensors = {"shift": torch.zeros(x.shape)}
    for key, value in params.items():
        tensors[key] = value if torch.is_tensor(value) else torch.randn(value)
    p = {k: v.double().requires_grad_() for k, v in tensors.items()}
    y = fn(x.double() + p["shift"], p)
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


def prod(v, axes, keep):
    for axis in sorted(axes, reverse=True):
        v = v.prod(axis, keepdim=keep)
    return v


# ---- reductions: the last axis, a middle one kept, two outer ones, many side by side
REDUCTIONS = {
    "max": lambda v, a, k: v.amax(a, k), "min": lambda v, a, k: v.amin(a, k), "prod": prod,
    "l1": lambda v, a, k: v.abs().sum(a, k),
    "l2": lambda v, a, k: torch.linalg.vector_norm(v, 2, a, k),
    "log_sum": lambda v, a, k: v.sum(a, k).log(),
    "log_sum_exp": lambda v, a, k: torch.logsumexp(v, a, k),
    "sum_square": lambda v, a, k: v.square().sum(a, k)}
for name, fn in REDUCTIONS.items():
    make = positive if name == "log_sum" else torch.randn
    small = name == "prod"
    for kind, shape, axes, keep in (
            ("last", (2, 3, 7) if small else (2, 3, 150), (2,), False),
            ("middle", (2, 5, 4), (1,), True), ("outer", (3, 4, 5), (0, 2), False),
            ("wide", (4, 3, 90), (1,), False), ("all", (2, 3, 2), (0, 1, 2), True)):
        case(f"{name}_{kind}", make(*shape), {},
             lambda v, p, fn=fn, axes=axes, keep=keep: fn(v, axes, keep))

# Numbers that are often equal, and zeros: none, one and two in a row.
ties = torch.randint(-2, 3, (6, 40)).float() / 2
case("max_ties", ties, {}, lambda v, p: v.amax(1))
case("min_ties", ties, {}, lambda v, p: v.amin(0))
zeros = torch.tensor([[1.5, -2, 3, 0.5], [1.5, 0, -3, 2], [0, 2, 0, 3], [-1, 2, 4, 0]])
case("prod_zeros", zeros, {}, lambda v, p: v.prod(1))
case("l1_zeros", zeros, {}, lambda v, p: v.abs().sum(1))
case("l2_zeros", torch.cat([zeros, torch.zeros(1, 4)]), {},
     lambda v, p: torch.linalg.vector_norm(v, 2, 1))
case("log_sum_exp_far", torch.randn(3, 9) * 30 + 500, {}, lambda v, p: torch.logsumexp(v, 1))
case("max_conv", (2, 3, 4, 4), {"w": (5, 3, 1, 1)},
     lambda v, p: F.conv2d(v, p["w"]).amax((2, 3)))

# ---- along an axis
case("cum_sum", (2, 5, 4), {}, lambda v, p: v.cumsum(1))
case("cum_sum_last", (3, 70), {}, lambda v, p: v.cumsum(-1))
case("cum_sum_reverse", (2, 5, 4), {}, lambda v, p: v.flip(1).cumsum(1).flip(1))
case("cum_sum_exclusive", (2, 5, 4), {}, lambda v, p: v.cumsum(1) - v)
case("cum_sum_both", (5, 4), {}, lambda v, p: v.flip(0).cumsum(0).flip(0) - v)
case("cum_prod", (2, 5, 4), {}, lambda v, p: v.cumprod(1))
case("cum_prod_reverse", (2, 5, 4), {}, lambda v, p: v.flip(1).cumprod(1).flip(1))
case("cum_prod_exclusive", (2, 5, 4), {},
     lambda v, p: F.pad(v, (0, 0, 1, -1), value=1).cumprod(1))
case("cum_prod_both", (5, 4), {},
     lambda v, p: F.pad(v.flip(0), (0, 0, 1, -1), value=1).cumprod(0).flip(0))
case("cum_prod_zeros", zeros, {}, lambda v, p: v.cumprod(1))
# What is chosen by an index that has no gradient itself: the first, or last, of equals.
case("arg_max", ties, {}, lambda v, p: v * v.argmax(1, keepdim=True))
case("arg_min_outer", ties, {}, lambda v, p: v * v.argmin(0))
case("arg_max_last", ties, {}, lambda v, p: v * (39 - v.flip(1).argmax(1, keepdim=True)))

# ---- padding: rows, channels and samples, by a number, and by the modes
case("pad_number", (2, 3, 4), {}, lambda v, p: F.pad(v, (1, 2, 0, 1, 2, 0), value=-1.5))
case("pad_last", (2, 5), {}, lambda v, p: F.pad(v, (3, 1)))
case("pad_reflect", (2, 3, 4, 5), {}, lambda v, p: F.pad(v, (2, 1, 3, 0), mode="reflect"))
case("pad_edge", (2, 3, 4, 5), {}, lambda v, p: F.pad(v, (2, 1, 3, 0), mode="replicate"))
case("pad_wrap", (2, 3, 4, 5), {}, lambda v, p: F.pad(v, (2, 1, 3, 0), mode="circular"))
case("pad_reflect_rows", (2, 3, 6), {}, lambda v, p: F.pad(v, (5, 2), mode="reflect"))

# ---- what is lowered to others
case("pad_cut", (2, 3, 6), {}, lambda v, p: F.pad(v, (-2, 1, 1, -1), value=0.5))
case("pad_wrap_far", (2, 3), {}, lambda v, p: v[:, [2, 0, 1, 2, 0, 1, 2, 0, 1]])
case("pad_reflect_samples", (3, 4), {}, lambda v, p: v[[2, 1, 0, 1, 2]])
case("depth_to_space", (2, 12, 2, 3), {}, lambda v, p: F.pixel_shuffle(v, 2))
case("space_to_depth", (2, 3, 4, 6), {}, lambda v, p: F.pixel_unshuffle(v, 2)
     .reshape(2, 3, 4, 2, 3).transpose(1, 2).reshape(2, 12, 2, 3))
case("gemm_all", (5, 4), {"b": (6, 5), "c": (4, 1)},
     lambda v, p: 0.5 * v.t() @ p["b"].t() + 3 * p["c"])
case("gemm_activations", (4, 5), {}, lambda v, p: v @ torch.tanh(v).t() - v[:, :1])
case("mat_mul_vector", (3, 4, 5), {"w": (5,)}, lambda v, p: v @ torch.tanh(p["w"]))
case("mat_mul_left_vector", (3, 4, 5), {"w": (4,)}, lambda v, p: torch.tanh(p["w"]) @ v)
for name, equation in (
        ("heads", "bqhd,bkhd->bhqk"), ("outer", "bqhd,bkhd->bqkhd"), ("summed", "bqhd,bkhd->"),
        ("implicit", "zyxw,zvxw"), ("rows", "...d,...d->..."), ("batch", "bqhd,bqhe->de")):
    case(f"einsum_{name}", (2, 3, 2, 4), {},
         lambda v, p, equation=equation: torch.einsum(equation, v, torch.tanh(v)))
case("einsum_weight", (2, 3, 4), {"w": (4, 5)}, lambda v, p: torch.einsum("bsd,dh->bsh", v, p["w"]))
case("einsum_weight_left", (2, 3, 4), {"w": (5, 4)},
     lambda v, p: torch.einsum("hd,bsd->bhs", p["w"], v))
case("einsum_diagonal", (2, 3, 3), {}, lambda v, p: torch.einsum("bii->bi", v))
case("einsum_trace", (2, 3, 3), {}, lambda v, p: torch.einsum("bii->b", v))
case("einsum_three", (2, 3, 4), {"u": (4, 5), "w": (5, 6)},
     lambda v, p: torch.einsum("bsd,de,ef->bsf", v, p["u"], p["w"]))

# ---- by index, constant and computed; entries that count from the end, and twice
at = torch.tensor([[[0, 2], [1, 1]], [[2, 0], [-1, 1]]])
case("gather_elements", (2, 2, 3), {}, lambda v, p: torch.gather(v, 2, at.remainder(3)))
case("gather_elements_middle", (2, 3, 2), {},
     lambda v, p: torch.gather(v, 1, v.argmax(1, keepdim=True)))
pairs = torch.tensor([[1, 2], [0, -1], [1, 2]])
case("gather_nd", (2, 3, 4), {}, lambda v, p: v[pairs.unbind(-1)])
case("gather_nd_batch", (2, 3, 4), {},
     lambda v, p: v[torch.arange(2).unsqueeze(1), torch.tensor([[1, 0], [2, 2]])])
case("scatter_elements", (2, 3), {"u": (2, 2)},
     lambda v, p: v.scatter(1, torch.tensor([[2, 0], [1, 2]]), p["u"]))
case("scatter_elements_add", (2, 3), {"u": (2, 2)},
     lambda v, p: v.square().scatter_add(1, torch.tensor([[2, 2], [1, 2]]), p["u"]))
case("scatter_nd", (4, 3), {"u": (2, 3)},
     lambda v, p: v.square().index_put((torch.tensor([3, 1]),), p["u"]))
case("scatter_nd_add", (4, 3), {"u": (3, 3)}, lambda v, p: v.index_put(
    (torch.tensor([3, 1, 3]),), p["u"], accumulate=True))
case("triu", (2, 3, 4), {}, lambda v, p: v.triu(1))
case("tril", (2, 4, 3), {}, lambda v, p: v.tril(-1))

# ---- norms and attention
case("rms_norm", (2, 7, 19), {"scale": (19,)}, lambda v, p: F.rms_norm(v, (19,), p["scale"], 1e-5))
case("rms_norm_wide", (3, 4, 5), {"scale": (4, 5)},
     lambda v, p: F.rms_norm(v, (4, 5), p["scale"], 1e-3))
case("lp_norm", (2, 3, 4), {}, lambda v, p: v / torch.linalg.vector_norm(v, 2, 1, True))
case("lp_norm_1", torch.cat([torch.randn(3, 4), torch.zeros(1, 4)]), {},
     lambda v, p: torch.cat([v[:3] / v[:3].abs().sum(1, True), v[3:]]))
case("mean_variance", (3, 4, 5, 2), {}, lambda v, p: F.batch_norm(
    v, None, None, training=True, eps=1e-30))
case("layer_norm_statistics", (2, 3, 9), {"scale": (9,)}, lambda v, p: (
    F.layer_norm(v, (9,), p["scale"]) * v.mean(-1, keepdim=True)
    / (v.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()))


def heads(v, count):
    return v.unflatten(-1, (count, -1)).transpose(1, 2)


def flat(y):
    return y.transpose(1, 2).flatten(2)


case("attention", (2, 5, 12), {}, lambda v, p: flat(F.scaled_dot_product_attention(
    heads(v, 3), heads(torch.tanh(v), 3), heads(v.square(), 3))))
case("attention_causal", (2, 5, 12), {}, lambda v, p: flat(F.scaled_dot_product_attention(
    heads(v, 3), heads(torch.tanh(v), 3), heads(v.square(), 3), is_causal=True, scale=0.3)))
case("attention_mask", (2, 3, 5, 4), {"mask": (3, 5, 5)},
     lambda v, p: F.scaled_dot_product_attention(v, torch.tanh(v), v.square(), p["mask"]))
case("attention_shared", (2, 4, 5, 6), {}, lambda v, p: F.scaled_dot_product_attention(
    v, torch.tanh(v[:, :2]).repeat_interleave(2, 1), v[:, 2:].repeat_interleave(2, 1)))
# The third query sees nothing: zeros.
seen = (torch.arange(5) != 2).unsqueeze(1) & (torch.arange(5) > 0)
case("attention_bools", (2, 3, 5, 4), {}, lambda v, p: F.scaled_dot_product_attention(
    v, torch.tanh(v), v.square(), seen | (torch.arange(5) == 2).unsqueeze(1))
    * (torch.arange(5) != 2).unsqueeze(1))

# ---- the largest and the smallest, in their order
case("top_k", (3, 2, 9), {}, lambda v, p: v.topk(3)[0])


def weighed(found):
    return found[0] * found[1]


case("top_k_least", (3, 7, 4), {}, lambda v, p: weighed(v.topk(2, 1, largest=False)))
case("top_k_sorted", (5, 40), {}, lambda v, p: weighed(v.sort(1, descending=True)))
# ---- whole numbers
case("sum_whole", (3, 2, 9), {}, lambda v, p: v * (v > 0).sum(1, keepdim=True))
case("sum_whole_outer", (3, 2, 5), {}, lambda v, p: v * (v > 0).sum((0, 2)).unsqueeze(1))

# ---- of whole numbers and bools, which scale what trains
steps = torch.randn(3, 4, 5) * 4
case("whole_prod", steps, {}, lambda v, p: v * v.int().prod(0))
case("whole_least", steps, {}, lambda v, p: v * v.long().amin((0, 2), keepdim=True))
case("whole_any", steps, {}, lambda v, p: v * (v > 5).any(2, keepdim=True))
case("whole_pad", steps, {},
     lambda v, p: F.pad(v, (1, 2), value=2) * F.pad(v.long(), (2, 1), value=7))
case("whole_top", steps, {}, lambda v, p: v[:, :, :2] * v.int().topk(2, 2)[0])

save_file({k: v.contiguous() for k, v in OUT.items()}, "tests/engine/data/axis.safetensors")
