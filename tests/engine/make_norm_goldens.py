"""Writes tests/engine/data/norms.safetensors: normalisations as PyTorch computes them, for
test_kernels_norm.c. Run it from the repository's root with PyTorch 2.13 and onnx:

    python tests/engine/make_norm_goldens.py
"""
import torch
import torch.nn.functional as F

from goldens import Goldens

G = Goldens(20261124)
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def batch_norm(name, x, channels=None, first=(), run=lambda v, p: v, relu=False, params=None):
    """first: nodes from "v" to "a", which run computes."""
    c = channels or x[1]
    nodes = [*first, ("BatchNormalization", f"{'a' if first else 'v'},scale,bias,mean,var",
                      "n" if relu else "y", {"momentum": 0.8, "epsilon": 1e-3})]
    if relu:
        nodes.append(("Relu", "n", "y", {}))

    def fn(v, p):
        y = F.batch_norm(run(v, p), p["mean"], p["var"], p["scale"], p["bias"], True, 0.2, 1e-3)
        return F.relu(y) if relu else y
    G.case(name, x, {"scale": (c,), "bias": (c,), **(params or {})}, nodes, fn, smooth=not relu,
           buffers={"mean": torch.randn(c), "var": torch.rand(c) + 0.5})


batch_norm("batch1", (4, 5, 7))
batch_norm("batch3", (3, 4, 3, 4, 5), relu=True)
for dims, size in ((1, (9,)), (3, (4, 3, 5))):
    w = (32, 3, *[3] * dims)
    batch_norm(f"batch{dims}_blocked", (3, 3, *size), 32, relu=True, params={"w": w},
               first=[("Conv", "v,w", "a", {"pads": [1] * 2 * dims})],
               run=lambda v, p, d=dims: CONV[d](v, p["w"], padding=1))

for name, x in (("instance1", (3, 5, 7)), ("instance3", (2, 3, 4, 3, 5))):
    G.case(name, x, {"scale": (x[1],), "bias": (x[1],)},
           [("InstanceNormalization", "v,scale,bias", "y", {"epsilon": 1e-3})],
           lambda v, p: F.instance_norm(v, weight=p["scale"], bias=p["bias"], eps=1e-3))

G.save("tests/engine/data/norms.safetensors")
