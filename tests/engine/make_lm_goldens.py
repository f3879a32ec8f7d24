"""Makes lm_goldens.h: twenty losses of small language models in PyTorch.

    python tests/engine/make_lm_goldens.py > tests/engine/lm_goldens.h

Weights and tokens follow fixed laws that lm_fixture.h repeats. One full batch a step:
AdamW, clipping, warm-up in a line, then a cosine; no dropout.
"""
import torch
import torch.nn.functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

VOCAB, SEQ, WIDTH, WINDOWS, STEPS, WARMUP = 13, 6, 8, 12, 20, 4


def parameter(number, *dims):
    i = torch.arange(torch.Size(dims).numel(), dtype=torch.int64)
    law = (i * 37 + i * i * 11 + number * 53) % 251 - 125
    return (law.double() / 512).float().reshape(dims).requires_grad_()  # exact in float32


def windows():
    i = torch.arange(WINDOWS).reshape(-1, 1)
    j = torch.arange(SEQ + 1).reshape(1, -1)
    return (i * i * 7 + j * j * 3 + i * j * 5 + (i % 3) * j) % VOCAB


def losses(tied, ignore, smoothing):
    wte, wpe = parameter(1, VOCAB, WIDTH), parameter(2, SEQ, WIDTH)
    w, b = parameter(3, WIDTH, WIDTH), parameter(4, WIDTH)
    head = wte if tied else parameter(5, VOCAB, WIDTH)
    bias = None if tied else parameter(6, VOCAB)
    params = [wte, wpe, w, b] + ([] if tied else [head, bias])
    optimizer = torch.optim.AdamW(params, lr=0.05, weight_decay=0.1)
    schedule = SequentialLR(optimizer, [LinearLR(optimizer, 1 / WARMUP, total_iters=WARMUP - 1),
                                        CosineAnnealingLR(optimizer, STEPS - WARMUP)], [WARMUP])
    x = windows()
    found = []
    for _ in range(STEPS):
        h = torch.tanh((F.embedding(x[:, :-1], wte) + wpe) @ w + b)
        logits = F.linear(h.reshape(-1, WIDTH), head, bias)
        loss = F.cross_entropy(logits, x[:, 1:].reshape(-1), label_smoothing=smoothing,
                               ignore_index=-100 if ignore is None else ignore)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 0.2)
        optimizer.step()
        schedule.step()
        found.append(loss.item())
    return found


CASES = [("untied", False, None, 0), ("untied, smoothed", False, None, 0.1), ("tied, ignoring token 3", True, 3, 0)]

print("/* Made by make_lm_goldens.py with PyTorch %s. */" % torch.__version__.split("+")[0])
print("static const lm_golden lm_goldens[] = {")
for name, tied, ignore, smoothing in CASES:
    values = ", ".join(f"{v:.8f}" for v in losses(tied, ignore, smoothing))
    print('    {"%s", %s, %s, %d, %.1ff,\n     {%s}},' % (name, "true" if tied else "false",
          "false" if ignore is None else "true", ignore or 0, smoothing, values))
print("};")
