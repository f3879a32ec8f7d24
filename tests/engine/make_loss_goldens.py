"""Makes loss_goldens.h: torch.nn.CrossEntropyLoss, its gradient and top-k counts, over
outputs [N, C], [N, C, d1, d2 ...] and, classes last, [N, d1, d2 ..., C], some labels
ignored, some with class weights; the losses that compare numbers, and BCEWithLogitsLoss.

    python tests/engine/make_loss_goldens.py > tests/engine/loss_goldens.h
"""
import math

import torch

IGNORE = -100
CROSS_ENTROPY = [  # shape of the logits, label smoothing, scale, classes last, ignored
    ((4, 3), 0.0, 1.0, False, 0),
    ((5, 10), 0.1, 3.0, False, 0),
    ((3, 7), 0.3, 100.0, False, 0),
    ((2, 2), 1.0, 1.0, False, 0),
    ((2, 7, 3), 0.2, 2.0, False, 0),
    ((2, 3, 2, 4), 0.0, 1.0, False, 0),
    ((1, 6, 5, 2), 0.1, 30.0, False, 0),
    ((2, 7, 4), 0.0, 2.0, True, 0),
    ((2, 7, 4), 0.1, 2.0, True, 3),
    ((2, 21), 0.0, 5.0, True, 1),
    ((1, 5, 6), 0.2, 3.0, False, 2),
]
WEIGHTED = [
    ((5, 4), 0.0, 2.0, False, 0),
    ((6, 5), 0.1, 3.0, False, 0),
    ((2, 4, 6), 0.3, 2.0, False, 3),
    ((2, 7, 4), 0.1, 2.0, True, 2),
]
MSE = [  # shape, scale
    ((4, 1), 1.0),
    ((3, 5), 10.0),
    ((2, 3, 2, 4), 0.1),
]


def floats(values):
    return ", ".join(f"{v:.9e}f" for v in values)


def cross_entropy(shape, smoothing, scale, classes_last, ignored, weighted=False):
    samples, classes = shape[:2]
    positions = math.prod(shape[2:])
    x = (torch.randn(shape) * scale).requires_grad_()
    y = torch.randint(classes, (samples, *shape[2:]))
    y.flatten()[torch.randperm(y.numel())[:ignored]] = IGNORE
    # The double-precision reference: what both float implementations approximate.
    x64 = x.detach().double().requires_grad_()
    weights = torch.rand(classes) * 3 if weighted else None
    if weighted:
        weights[0] = 0
    loss = torch.nn.CrossEntropyLoss(weights if weights is None else weights.double(),
                                     label_smoothing=smoothing, ignore_index=IGNORE)(x64, y)
    loss.backward()
    top = x.topk(min(5, classes), dim=1).indices
    top1 = int((top[:, 0] == y).sum())
    top5 = int((top == y.unsqueeze(1)).any(1).sum())
    print("    {%d, %d, %d, %d, %d, %.9ef, %.17e, %d, %d,"
          % (samples, classes, positions, classes_last, y.numel() - ignored, smoothing,
             loss.item(), top1, top5))
    x, dx = x.detach(), x64.grad
    if classes_last:
        x, dx = x.movedim(1, -1), dx.movedim(1, -1)
    print("     {%s}," % floats(x.flatten().tolist()))
    print("     {%s}," % ", ".join(map(str, y.flatten().tolist())))
    print("     {%s}%s" % (floats(dx.flatten().tolist()), "," if weighted else "},"))
    if weighted:
        print("     {%s}}," % floats(weights.tolist()))


def mse(shape, scale):
    x, y = torch.randn(2, *shape) * scale
    x64 = x.double().requires_grad_()
    loss = torch.nn.MSELoss()(x64, y.double())
    loss.backward()
    print("    {%d, %d, %.17e," % (shape[0], math.prod(shape[1:]), loss.item()))
    for values in (x, y, x64.grad):
        print("     {%s}%s" % (floats(values.flatten().tolist()),
                               "}," if values is x64.grad else ","))


def elements(name, loss, shape, scale):
    x, y = torch.randn(2, *shape) * scale
    if name == "BCE":
        y = torch.rand(shape)
        y = torch.where(torch.rand(shape) < 0.7, y.round(), y)
    else:
        y.flatten()[0] = x.flatten()[0]     # an error of 0
    x64 = x.double().requires_grad_()
    value = loss(x64, y.double())
    value.backward()
    hits = int(((x > 0) == (y >= 0.5)).sum()) if name == "BCE" else 0
    delta = getattr(loss, "delta", getattr(loss, "beta", 0))
    print("    {AMG_LOSS_%s, %.9ef, %d, %d, %.17e, %d,"
          % (name, delta, shape[0], math.prod(shape[1:]), value.item(), hits))
    for values in (x, y, x64.grad):
        print("     {%s}%s" % (floats(values.flatten().tolist()),
                               "}," if values is x64.grad else ","))


print("/* Made by make_loss_goldens.py with PyTorch %s. */" % torch.__version__.split("+")[0])
torch.manual_seed(1)
print("static const loss_golden goldens[] = {")
for case in CROSS_ENTROPY:
    cross_entropy(*case)
print("};")
print("static const mse_golden mse_goldens[] = {")
for case in MSE:
    mse(*case)
print("};")
print("static const loss_golden weighted_goldens[] = {")
for case in WEIGHTED:
    cross_entropy(*case, weighted=True)
print("};")
print("static const element_golden element_goldens[] = {")
for shape, scale in MSE:
    elements("L1", torch.nn.L1Loss(), shape, scale)
    delta, beta = torch.tensor([0.5 * scale, 2 * scale]).tolist()       # as float32 has them
    elements("HUBER", torch.nn.HuberLoss(delta=delta), shape, scale)
    elements("SMOOTH_L1", torch.nn.SmoothL1Loss(beta=beta), shape, scale)
    elements("BCE", torch.nn.BCEWithLogitsLoss(), shape, 10 * scale)
print("};")
