"""Makes sum_loss_goldens.h: a weighted sum of PyTorch's losses over the parts of a row of outputs,
its gradient, and each part's own loss and hits.

    python tests/engine/make_sum_loss_goldens.py > tests/engine/sum_loss_goldens.h
"""
import math

import torch
import torch.nn.functional as F

SAMPLES, SMOOTHING = 5, 0.1
PARTS = [  # the loss, its threshold, its weight, dims of the output of one sample
    ("CROSS_ENTROPY", 0, 1, (4,)),
    ("HUBER", 0.5, 0.5, (2, 3)),
    ("CROSS_ENTROPY", 0, 0.75, (3, 2)),
    ("BCE", 0, 2, (3,)),
    ("SMOOTH_L1", 2, 0.25, (1,)),
    ("L1", 0, 0.125, (2,)),
    ("MSE", 0, 3, ()),
]


def loss_of(name, delta, x, y):
    return {"CROSS_ENTROPY": lambda: F.cross_entropy(x, y, label_smoothing=SMOOTHING),
            "HUBER": lambda: F.huber_loss(x, y, delta=delta),
            "SMOOTH_L1": lambda: F.smooth_l1_loss(x, y, beta=delta),
            "BCE": lambda: F.binary_cross_entropy_with_logits(x, y),
            "L1": lambda: F.l1_loss(x, y),
            "MSE": lambda: F.mse_loss(x, y)}[name]()


def hits_of(name, x, y):
    if name == "CROSS_ENTROPY":
        return int((x.argmax(1) == y).sum())
    return int(((x > 0) == (y >= 0.5)).sum()) if name == "BCE" else 0


def target_of(name, x):
    if name == "CROSS_ENTROPY":
        return torch.randint(x.shape[1], x.shape[:1] + x.shape[2:])
    return torch.rand(x.shape) if name == "BCE" else torch.randn(x.shape)


def floats(rows):
    return ",\n     ".join(", ".join(f"{v:.9e}f" for v in row) for row in rows.tolist())


torch.manual_seed(3)
outputs, targets, losses, hits, total = [], [], [], [], 0
for name, delta, weight, dims in PARTS:
    x = torch.randn(SAMPLES, *dims)
    y = target_of(name, x)
    x64 = x.double().requires_grad_()
    loss = loss_of(name, delta, x64, y if name == "CROSS_ENTROPY" else y.double())
    total = total + weight * loss
    outputs.append((x, x64))
    targets.append(y.float())
    losses.append(loss.item())
    hits.append(hits_of(name, x, y))
total.backward()
rows = [torch.cat([t.reshape(SAMPLES, -1) for t in ts], 1) for ts in
        ([x for x, _ in outputs], targets, [x64.grad for _, x64 in outputs])]

print("/* Made by make_sum_loss_goldens.py with PyTorch %s. */" % torch.__version__.split("+")[0])
print("enum { SAMPLES = %d, OUTPUTS = %d, TARGETS = %d, PARTS = %d };"
      % (SAMPLES, rows[0].shape[1], rows[1].shape[1], len(PARTS)))
print("static const float smoothing = %.9ef;" % SMOOTHING)
print("static const amg_loss_part parts[PARTS] = {")
for name, delta, weight, dims in PARTS:
    print("    {AMG_LOSS_%s, %.9ef, %.9ef, %d, {%s}},"
          % (name, delta, weight, len(dims), ", ".join(map(str, dims)) or "0"))
print("};")
print("static const double sum_loss = %.17e;" % total.item())
print("static const double part_losses[PARTS] = {%s};" % ", ".join("%.17e" % v for v in losses))
print("static const int part_hits[PARTS] = {%s};" % ", ".join(map(str, hits)))
print("static const int part_counts[PARTS] = {%s};"
      % ", ".join(str(t.numel()) for t in targets))
for name, values, width in (("x", rows[0], "OUTPUTS"), ("y", rows[1], "TARGETS"),
                            ("dx", rows[2], "OUTPUTS")):
    print("static const float golden_%s[SAMPLES * %s] =\n    {%s};" % (name, width, floats(values)))
