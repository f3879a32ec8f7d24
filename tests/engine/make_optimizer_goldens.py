"""Makes optimizer_goldens.h: ten steps of torch.optim, and of Lion as its paper states it, on
two small parameters.

    python tests/engine/make_optimizer_goldens.py > tests/engine/optimizer_goldens.h

Gradients follow a fixed law of (step, element), so that the test computes them itself.
"""
import torch

STEPS = 10
SIZES = (5, 3)


def gradient(step, offset, n):
    i = torch.arange(offset, offset + n, dtype=torch.float64)
    return ((i * 7 + step * 5) % 11 - 5).div(8).float()  # exact in float32


class Lion:
    """Algorithm 2 of Chen et al., 2023 (arXiv 2302.06675), in float32."""

    def __init__(self, params, lr, betas=(0.9, 0.99), weight_decay=0.0):
        self.lr, self.betas, self.weight_decay = lr, betas, weight_decay
        self.params, self.means = params, [torch.zeros_like(p) for p in params]

    def step(self):
        b1, b2 = self.betas
        for p, m in zip(self.params, self.means):
            c = b1 * m + (1 - b1) * p.grad
            p.data = p.data - self.lr * (torch.sign(c) + self.weight_decay * p.data)
            m.copy_(b2 * m + (1 - b2) * p.grad)


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
    ("rmsprop", "{.kind = AMG_OPT_RMSPROP, .lr = 0.01, .weight_decay = 0.1}",
     torch.optim.RMSprop, dict(lr=0.01, weight_decay=0.1), 0),
    ("rmsprop with momentum",
     "{.kind = AMG_OPT_RMSPROP, .lr = 0.01, .alpha = 0.9, .epsilon = 1e-3, .momentum = 0.8}",
     torch.optim.RMSprop, dict(lr=0.01, alpha=0.9, eps=1e-3, momentum=0.8), 0),
    ("rmsprop, centered", "{.kind = AMG_OPT_RMSPROP, .lr = 0.01, .centered = true}",
     torch.optim.RMSprop, dict(lr=0.01, centered=True), 0),
    ("rmsprop, centered, with momentum",
     "{.kind = AMG_OPT_RMSPROP, .lr = 0.01, .momentum = 0.9, .centered = true, .clip_norm = 0.9}",
     torch.optim.RMSprop, dict(lr=0.01, momentum=0.9, centered=True), 0.9),
    ("adagrad", "{.kind = AMG_OPT_ADAGRAD, .lr = 0.1, .weight_decay = 0.01}",
     torch.optim.Adagrad, dict(lr=0.1, weight_decay=0.01), 0),
    ("adagrad, own constants",
     "{.kind = AMG_OPT_ADAGRAD, .lr = 0.1, .lr_decay = 0.2, .initial_accumulator = 0.3,"
     " .epsilon = 1e-2}",
     torch.optim.Adagrad,
     dict(lr=0.1, lr_decay=0.2, initial_accumulator_value=0.3, eps=1e-2), 0),
    ("lion", "{.kind = AMG_OPT_LION, .lr = 0.01, .weight_decay = 0.1}",
     Lion, dict(lr=0.01, weight_decay=0.1), 0),
    ("lion, own constants", "{.kind = AMG_OPT_LION, .lr = 0.01, .beta1 = 0.7, .beta2 = 0.8}",
     Lion, dict(lr=0.01, betas=(0.7, 0.8)), 0),
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
