"""Writes tests/engine/data/windows.safetensors: convolutions and pools of one, two and three
dims as PyTorch computes them, for test_kernels_window.c. Run it from the repository's root with
PyTorch 2.13 and onnx:

    python tests/engine/make_window_goldens.py
"""
import torch
import torch.nn.functional as F

from goldens import Goldens

G = Goldens(20261123)
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
MEAN = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def torch_pads(pads):
    """ONNX's pads as F.pad has them: the last dim first."""
    half = len(pads) // 2
    return [p for i in reversed(range(half)) for p in (pads[i], pads[half + i])]


def conv(name, x, w, bias=True, pads=None, explicit=None, **attrs):
    """explicit: the pads that auto_pad stands for."""
    dims = len(x) - 2
    params = {"w": w, **({"b": (w[0],)} if bias else {})}
    if pads:
        attrs["pads"] = pads
    padding = explicit or pads or [0] * 2 * dims

    def fn(v, p):
        return CONV[dims](F.pad(v, torch_pads(padding)), p["w"], p.get("b"),
                          stride=attrs.get("strides", 1), dilation=attrs.get("dilations", 1),
                          groups=attrs.get("group", 1))
    G.case(name, x, params, [("Conv", "v,w,b" if bias else "v,w", "y", attrs)], fn)


conv("conv1", (2, 3, 11), (5, 3, 3))
conv("conv1_wide", (3, 32, 20), (32, 32, 5), pads=[2, 2], strides=[2])
conv("conv1_uneven", (2, 20, 9), (18, 20, 4), pads=[0, 3], bias=False)
conv("conv1_dilated", (2, 16, 17), (16, 16, 3), dilations=[3], pads=[3, 3])
conv("conv1_groups", (2, 8, 9), (12, 4, 3), group=2)
conv("conv1_depthwise", (2, 32, 9), (32, 1, 3), group=32, pads=[1, 1])
conv("conv1_one", (2, 7, 9), (4, 7, 1), strides=[2])
conv("conv2_same_upper", (2, 3, 7, 6), (4, 3, 2, 3), auto_pad="SAME_UPPER", strides=[2, 2],
     explicit=[0, 0, 1, 1])
conv("conv2_same_lower", (2, 3, 7, 6), (4, 3, 2, 3), auto_pad="SAME_LOWER", strides=[2, 2],
     explicit=[1, 1, 0, 0])
conv("conv2_valid", (2, 3, 7, 6), (4, 3, 3, 3), auto_pad="VALID")
conv("conv3", (2, 3, 5, 6, 7), (4, 3, 3, 3, 3), pads=[1, 1, 1, 1, 1, 1])
conv("conv3_wide", (2, 16, 4, 5, 6), (16, 16, 3, 3, 3), pads=[1, 0, 1, 1, 2, 1],
     strides=[1, 2, 2])
conv("conv3_dilated", (1, 4, 7, 7, 7), (6, 4, 2, 2, 2), dilations=[2, 1, 3], bias=False)
conv("conv3_groups", (2, 8, 4, 4, 4), (8, 4, 3, 3, 3), group=2, pads=[1] * 6)
conv("conv3_depthwise", (2, 16, 4, 4, 4), (16, 1, 3, 3, 3), group=16, pads=[1] * 6)


def computed(name, x, w, **attrs):
    """Weights that the network computes: e^w of a parameter."""
    G.case(name, x, {"w": w, "b": (w[0],)},
           [("Exp", "w", "e", {}), ("Conv", "v,e,b", "y", attrs)],
           lambda v, p: CONV[len(x) - 2](v, p["w"].exp(), p["b"],
                                         groups=attrs.get("group", 1)))


computed("conv_computed", (2, 16, 6, 5), (32, 16, 3, 3))
computed("conv_computed_groups", (2, 8, 7), (8, 4, 3), group=2)


def transpose(name, x, w, bias=True, pads=None, cut=None, extra=None, **attrs):
    """cut: pads that auto_pad and output_shape stand for; extra: the longer end likewise."""
    dims, group = len(x) - 2, attrs.get("group", 1)
    params = {"w": w, **({"b": (w[1] * group,)} if bias else {})}
    if pads:
        attrs["pads"] = pads
    cut = cut or pads or [0] * 2 * dims
    extra = extra or attrs.get("output_padding", [0] * dims)

    def fn(v, p):
        y = TRANSPOSE[dims](v, p["w"], stride=attrs.get("strides", 1), groups=group,
                            dilation=attrs.get("dilations", 1))
        ends = [e - c for e, c in zip(extra, cut[dims:])]
        y = F.pad(y, torch_pads([-c for c in cut[:dims]] + ends))
        return y + p["b"].reshape(-1, *[1] * dims) if bias else y
    G.case(name, x, params, [("ConvTranspose", "v,w,b" if bias else "v,w", "y", attrs)], fn)


transpose("transpose1", (2, 3, 7), (3, 5, 4), strides=[2], pads=[1, 1])
transpose("transpose1_wide", (2, 32, 6), (32, 16, 3), strides=[2], pads=[1, 1],
          output_padding=[1])
transpose("transpose1_groups", (2, 8, 5), (8, 3, 3), group=2, bias=False, dilations=[2])
transpose("transpose2_uneven", (2, 4, 5, 4), (4, 6, 3, 3), strides=[2, 2], pads=[0, 1, 1, 0])
transpose("transpose2_shape", (2, 3, 3, 3), (3, 2, 3, 3), strides=[3, 2], output_shape=[10, 8],
          extra=[1, 1])
transpose("transpose2_shape_cut", (2, 3, 3, 3), (3, 2, 3, 4), strides=[3, 2],
          output_shape=[8, 5], cut=[1, 2, 0, 1])
transpose("transpose2_same_upper", (2, 3, 3, 4), (3, 2, 4, 3), strides=[2, 2],
          auto_pad="SAME_UPPER", cut=[1, 0, 1, 1])
transpose("transpose2_same_lower", (2, 3, 3, 4), (3, 2, 4, 3), strides=[2, 2],
          auto_pad="SAME_LOWER", cut=[1, 1, 1, 0])
transpose("transpose3", (2, 4, 3, 4, 3), (4, 5, 3, 2, 3), strides=[2, 2, 1],
          pads=[1, 0, 1, 1, 0, 1], output_padding=[1, 1, 0])
transpose("transpose3_wide", (1, 32, 3, 3, 3), (32, 16, 2, 2, 2), strides=[2, 2, 2])


def maximum(name, x, kernel, pads=None, explicit=None, **attrs):
    dims = len(x) - 2
    padding = explicit or pads or [0] * 2 * dims
    if pads:
        attrs["pads"] = pads

    def fn(v, p):
        return MAX[dims](F.pad(v, torch_pads(padding), value=-1e30), kernel,
                         attrs.get("strides", [1] * dims), 0, attrs.get("dilations", 1),
                         bool(attrs.get("ceil_mode", 0)))
    G.case(name, x, {}, [("MaxPool", "v", "y", {"kernel_shape": kernel, **attrs})], fn,
           smooth=False)


maximum("max1", (2, 3, 11), [3], strides=[2])
maximum("max1_wide", (2, 32, 12), [2], strides=[2])
maximum("max1_dilated", (2, 20, 13), [3], dilations=[2], pads=[1, 1])
maximum("max1_ceil", (2, 3, 10), [3], strides=[2], ceil_mode=1)
maximum("max2_dilated", (2, 18, 9, 8), [3, 2], dilations=[2, 3], strides=[1, 2])
maximum("max2_same", (2, 3, 7, 6), [3, 2], strides=[2, 2], auto_pad="SAME_LOWER",
        explicit=[1, 0, 1, 0])
maximum("max3", (2, 3, 5, 6, 7), [2, 3, 2], strides=[1, 2, 2], pads=[1, 0, 0, 0, 1, 1])
maximum("max3_wide", (2, 16, 4, 4, 4), [2, 2, 2], strides=[2, 2, 2])
maximum("max3_dilated", (2, 3, 7, 6, 5), [2, 2, 2], dilations=[3, 2, 1])


def mean(name, x, kernel, pad=0, **attrs):
    """pad: on both sides of every dim, as PyTorch has it."""
    dims = len(x) - 2
    if pad:
        attrs["pads"] = [pad] * 2 * dims

    def fn(v, p):
        return MEAN[dims](v, kernel, attrs.get("strides", [1] * dims), pad,
                          bool(attrs.get("ceil_mode", 0)),
                          bool(attrs.get("count_include_pad", 0)))
    G.case(name, x, {}, [("AveragePool", "v", "y", {"kernel_shape": kernel, **attrs})], fn)


mean("mean1", (2, 3, 11), [3], strides=[2])
mean("mean1_wide", (2, 32, 12), [4], strides=[4])
mean("mean1_counted", (2, 3, 11), [3], pad=1, count_include_pad=1)
mean("mean1_ceil_counted", (2, 20, 10), [3], pad=1, strides=[2], ceil_mode=1,
     count_include_pad=1)
mean("mean2_ceil_counted", (2, 20, 10, 9), [3, 4], pad=1, strides=[2, 3], ceil_mode=1,
     count_include_pad=1)
mean("mean2_ceil", (2, 3, 10, 9), [3, 4], pad=1, strides=[2, 3], ceil_mode=1)
mean("mean3", (2, 3, 5, 6, 7), [2, 3, 2], strides=[1, 2, 2])
mean("mean3_wide", (2, 16, 4, 4, 4), [2, 2, 2], pad=1, strides=[2, 2, 2])


def dilated(name, x, kernel, dilations, pads, count):
    """A mean of dilated windows, which PyTorch has as a convolution with ones."""
    dims, ones = len(x) - 2, torch.ones(x[1], 1, *kernel, dtype=torch.float64)

    def total(v):
        return CONV[dims](v, ones, dilation=dilations, groups=x[1])

    def fn(v, p):
        counts = torch.ones_like(v) if not count else F.pad(torch.ones_like(v), torch_pads(pads),
                                                            value=1)
        counts = counts if count else F.pad(counts, torch_pads(pads))
        return total(F.pad(v, torch_pads(pads))) / total(counts)
    G.case(name, x, {}, [("AveragePool", "v", "y", {
        "kernel_shape": kernel, "dilations": dilations, "pads": pads,
        "count_include_pad": count})], fn, opset=19)


dilated("mean1_dilated", (2, 3, 11), [3], [2], [1, 2], 0)
dilated("mean2_dilated", (2, 16, 8, 9), [2, 3], [3, 2], [1, 0, 0, 2], 1)
for dims, x in ((1, (2, 20, 7)), (2, (2, 3, 4, 5)), (3, (2, 16, 3, 4, 2))):
    spatial = tuple(range(2, 2 + dims))
    G.case(f"global_mean{dims}", x, {}, [("GlobalAveragePool", "v", "y", {})],
           lambda v, p, s=spatial: v.mean(s, keepdim=True))
    G.case(f"global_max{dims}", x, {}, [("GlobalMaxPool", "v", "y", {})],
           lambda v, p, s=spatial: v.amax(s, keepdim=True), smooth=False)

# Layouts of one and three dims pass from layer to layer, a Relu, sums and joins between them.
for dims, x, w in ((1, (2, 3, 12), (3,)), (3, (2, 3, 6, 5, 4), (3, 3, 3))):
    pads = [1] * 2 * dims
    G.case(f"chain{dims}", x, {"w": (16, 3, *w), "u": (16, 16, *w), "c": (5, 32, *w),
                               "k": (16, 16, *w)},
           [("Conv", "v,w", "a", {"pads": pads}), ("Relu", "a", "r", {}),
            ("Conv", "r,u", "b", {"pads": pads}), ("Add", "b,r", "s", {}),
            ("Conv", "s,k", "d", {"pads": pads}), ("Concat", "s,d", "t", {"axis": 1}),
            ("MaxPool", "t", "m", {"kernel_shape": [2] * dims, "strides": [2] * dims}),
            ("Conv", "m,c", "y", {"pads": pads})],
           lambda v, p, d=dims: CONV[d](MAX[d](torch.cat((
               (s := CONV[d]((r := F.relu(CONV[d](v, p["w"], padding=1))), p["u"], padding=1) + r),
               CONV[d](s, p["k"], padding=1)), 1), 2), p["c"], padding=1), smooth=False)

G.save("tests/engine/data/windows.safetensors")
