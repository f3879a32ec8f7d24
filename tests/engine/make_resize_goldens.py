"""Writes tests/engine/data/resize.safetensors: resized signals, images and volumes as PyTorch
computes them, for test_kernels_resize.c. Run it from the repository's root with PyTorch 2.13 and
onnx:

    python tests/engine/make_resize_goldens.py
"""
import numpy as np
import torch
import torch.nn.functional as F

from goldens import Goldens

G = Goldens(20261126)
SIGNAL, IMAGE, VOLUME = (2, 3, 7), (2, 20, 5, 4), (2, 3, 3, 4, 5)
HALF, CORNERS, POINTS = "half_pixel", "align_corners", "asymmetric"


def resize(name, x, mode, torch_mode, place, sizes=None, scales=None, nearest="floor", opset=18,
           **attrs):
    """sizes, scales: of the spatial dims, by the input `axes`."""
    dims = len(x) - 2
    how = {} if place == POINTS else {"align_corners": place == CORNERS}
    if torch_mode == "nearest-exact":
        how = {}
    if attrs.get("antialias"):
        how["antialias"] = True
    values = np.array(sizes, np.int64) if sizes else np.array(scales, np.float32)
    key = "sizes" if sizes else "scales"
    nodes = [("Resize", "v,,,sizes" if sizes else "v,,scales", "y", {
        "mode": mode, "coordinate_transformation_mode": place, "nearest_mode": nearest,
        "axes": list(range(2, 2 + dims)), **attrs})]
    G.case(name, x, {}, nodes, lambda v, p: F.interpolate(
        v, size=sizes, scale_factor=scales, mode=torch_mode, **how), constants={key: values},
        opset=opset)


for dims, x, linear in ((1, SIGNAL, "linear"), (2, IMAGE, "bilinear"), (3, VOLUME, "trilinear")):
    resize(f"nearest{dims}", x, "nearest", "nearest", POINTS, scales=(2.0,) * dims)
    resize(f"exact{dims}", x, "nearest", "nearest-exact", HALF, sizes=(9, 3, 4)[:dims],
           nearest="round_prefer_ceil")
    resize(f"linear{dims}", x, "linear", linear, HALF, sizes=(9, 3, 7)[:dims])
    resize(f"linear_scale{dims}", x, "linear", linear, HALF, scales=(1.7,) * dims)
    resize(f"linear_corners{dims}", x, "linear", linear, CORNERS, sizes=(9, 3, 7)[:dims])
resize("cubic", IMAGE, "cubic", "bicubic", HALF, scales=(2.0, 1.5))
resize("cubic_corners", IMAGE, "cubic", "bicubic", CORNERS, sizes=(9, 3))
G.case("upsample", IMAGE, {}, [("Upsample", "v,scales", "y", {"mode": "nearest"})],
       lambda v, p: F.interpolate(v, scale_factor=(2.0, 3.0)),
       constants={"scales": np.array([1, 1, 2, 3], np.float32)}, opset=9)
G.case("resize10", SIGNAL, {}, [("Resize", "v,scales", "y", {"mode": "nearest"})],
       lambda v, p: F.interpolate(v, scale_factor=2.0),
       constants={"scales": np.array([1, 1, 2], np.float32)}, opset=10)
AA = {"antialias": 1, "exclude_outside": 1}
resize("antialias", (2, 20, 9, 11), "linear", "bilinear", HALF, sizes=(4, 5), **AA)
resize("antialias_larger", IMAGE, "linear", "bilinear", HALF, sizes=(3, 9), **AA)
resize("antialias_cubic", (2, 3, 9, 11), "cubic", "bicubic", HALF, sizes=(4, 3), cubic_coeff_a=-0.5, **AA)

G.save("tests/engine/data/resize.safetensors")
