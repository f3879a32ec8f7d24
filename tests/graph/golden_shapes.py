"""Writes golden_shapes.h: output shapes of convolutions and poolings, from PyTorch.

    python tests/graph/golden_shapes.py > tests/graph/golden_shapes.h
"""
import itertools
import torch
import torch.nn.functional as F

print("/* Made by golden_shapes.py with PyTorch. H, W in; kernel, stride, padding,")
print(" * dilation (1 for pools), ceil_mode; H, W out. */")
print("/* clang-format off */")


def table(name, rows):
    print(f"static const golden_shape {name}[] = {{")
    for row in rows:
        print("    {" + ", ".join(str(int(v)) for v in row) + "},")
    print("};")


def rows_of(run, dilations, ceils):
    for (h, w), k, s, p, d, ceil in itertools.product(
            [(7, 10), (32, 32), (5, 6)], [1, 2, 3, 5], [1, 2, 3], [0, 1, 2],
            dilations, ceils):
        try:
            out = run(torch.zeros(1, 1, h, w), k, s, p, d, ceil)
        except RuntimeError:
            continue
        yield h, w, k, s, p, d, ceil, out.shape[2], out.shape[3]


table("conv_shapes", rows_of(
    lambda x, k, s, p, d, c: F.conv2d(x, torch.zeros(1, 1, k, k), None, s, p, d),
    [1, 2], [0]))
table("pool_shapes", rows_of(
    lambda x, k, s, p, d, c: F.max_pool2d(x, k, s, p, 1, bool(c)), [1], [0, 1]))
