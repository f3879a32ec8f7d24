"""Makes loss_goldens.h: torch.nn.CrossEntropyLoss, its gradient and top-k counts.

    python tests/engine/make_loss_goldens.py > tests/engine/loss_goldens.h
"""
import torch

CASES = [  # rows, classes, label smoothing, scale of the logits
    (4, 3, 0.0, 1.0),
    (5, 10, 0.1, 3.0),
    (3, 7, 0.3, 100.0),
    (2, 2, 1.0, 1.0),
]


def floats(values):
    return ", ".join(f"{v:.9e}f" for v in values)


print("/* Made by make_loss_goldens.py with PyTorch %s. */" % torch.__version__.split("+")[0])
print("static const loss_golden goldens[] = {")
torch.manual_seed(1)
for rows, classes, smoothing, scale in CASES:
    x = (torch.randn(rows, classes) * scale).requires_grad_()
    y = torch.randint(classes, (rows,))
    # The double-precision reference: what both float implementations approximate.
    x64 = x.detach().double().requires_grad_()
    loss = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(x64, y)
    loss.backward()
    top = x.topk(min(5, classes)).indices
    top1 = int((top[:, 0] == y).sum())
    top5 = int((top == y[:, None]).any(1).sum())
    print("    {%d, %d, %.9ef, %.17e, %d, %d," % (rows, classes, smoothing, loss.item(), top1, top5))
    print("     {%s}," % floats(x.detach().flatten().tolist()))
    print("     {%s}," % ", ".join(map(str, y.tolist())))
    print("     {%s}}," % floats(x64.grad.flatten().tolist()))
print("};")
