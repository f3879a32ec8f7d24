"""Makes optimizer_goldens.h: ten steps of torch.optim on two small parameters.

    python tests/engine/make_optimizer_goldens.py > tests/engine/optimizer_goldens.h

Gradients follow a fixed law of (step, element), so that the test computes them itself.
"""
import torch

STEPS = 10
SIZES = (5, 3)


def gradient(step, offset, n):
    i = torch.arange(offset, offset + n, dtype=torch.float64)
    return ((i * 7 + step * 5) % 11 - 5).div(8).float()  # exact in float32


CASES = [
    ("sgd", "{.kind = AMG_OPT_SGD, .lr = 0.1}", torch.optim.SGD, dict(lr=0.1), 0),
    ("momentum and weight decay",
     "{.kind = AMG_OPT_SGD, .lr = 0.05, .momentum = 0.9, .weight_decay = 5e-4}",
     torch.optim.SGD, dict(lr=0.05, momentum=0.9, weight_decay=5e-4), 0),
    ("nesterov",
     "{.kind = AMG_OPT_SGD, .lr = 0.05, .momentum = 0.8, .weight_decay = 0.01, .nesterov = true}",
     torch.optim.SGD, dict(lr=0.05, momentum=0.8, weight_decay=0.01, nesterov=True), 0),
    ("adam", "{.kind = AMG_OPT_ADAM, .lr = 0.01, .weight_decay = 0.1}",
     torch.optim.Adam, dict(lr=0.01, weight_decay=0.1), 0),
    ("adam, own constants",
     "{.kind = AMG_OPT_ADAM, .lr = 0.01, .beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3}",
     torch.optim.Adam, dict(lr=0.01, betas=(0.8, 0.95), eps=1e-3), 0),
    ("adamw", "{.kind = AMG_OPT_ADAMW, .lr = 0.01, .weight_decay = 0.1}",
     torch.optim.AdamW, dict(lr=0.01, weight_decay=0.1), 0),
    ("clipped", "{.kind = AMG_OPT_SGD, .lr = 0.1, .momentum = 0.9, .clip_norm = 0.9}",
     torch.optim.SGD, dict(lr=0.1, momentum=0.9), 0.9),
]

print("/* Made by make_optimizer_goldens.py with PyTorch %s. */" % torch.__version__.split("+")[0])
print("static const optimizer_golden goldens[] = {")
for name, options, make, kwargs, clip in CASES:
    params = []
    offset = 0
    for n in SIZES:
        start = (torch.arange(offset, offset + n) - 3.5) / 4
        params.append(start.clone().requires_grad_())
        offset += n
    optimizer = make(params, **kwargs)
    for step in range(STEPS):
        offset = 0
        for p in params:
            p.grad = gradient(step, offset, p.numel())
            offset += p.numel()
        if clip:
            torch.nn.utils.clip_grad_norm_(params, clip)
        optimizer.step()
    values = ", ".join(f"{v:.9e}f" for p in params for v in p.tolist())
    print('    {"%s",\n     %s,\n     {%s}},' % (name, options, values))
print("};")
