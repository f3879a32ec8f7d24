"""The engine against PyTorch: same initial weights, same batches, dropout off.

    python test_pytorch.py BUILD [model ...]

Per model, the zoo's ONNX and its PyTorch twin (twins.py) with the ONNX's weights:

  forward    logits in training mode and in evaluation mode, relative L2 <= 1e-5
  gradients  of every parameter at step 0, relative L2 per tensor <= 1e-4
  losses     of ten optimizer steps, largest relative difference <= 1e-4

The engine runs as it trains: Winograd on. The reference is PyTorch in float32; beside the
worst tensor stand both programs' distances from PyTorch in float64, to tell our rounding
from PyTorch's.

Gradients that are zero in exact arithmetic (the bias of a convolution ahead of a batch
norm: the norm takes every constant away) are rounding noise in both programs, so a relative
error of them means nothing. Rule: where the float64 gradient of a tensor is below 1e-9 of
that of its layer's largest tensor, the error is |ours| / |largest|, under the same limit.
"""

import numpy as np
import onnx
import torch
from torch import nn

import harness
import twins
from harness import relative

FORWARD, GRADIENT, LOSS = 1e-5, 1e-4, 1e-4
STEPS, CLASSES = 10, 10
SMALL, LARGE = (3, 32, 32), (3, 224, 224)
SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
ADAMW = {"lr": 1e-3, "weight_decay": 5e-4}
SMOOTHING = 0.1

#        model, sample, batch, steps, optimizer
CASES = [("lenet", SMALL, 4, STEPS, torch.optim.SGD, SGD),
         ("lenet", SMALL, 4, STEPS, torch.optim.AdamW, ADAMW),
         ("resnet18", SMALL, 4, STEPS, torch.optim.SGD, SGD),
         ("vgg16", SMALL, 4, STEPS, torch.optim.SGD, SGD),
         ("vgg16_bn", SMALL, 4, STEPS, torch.optim.SGD, SGD),
         ("densenet121", SMALL, 4, STEPS, torch.optim.SGD, SGD),
         ("mobilenet_v2", SMALL, 4, STEPS, torch.optim.SGD, SGD),
         ("resnet18", LARGE, 2, 2, torch.optim.SGD, SGD)]


def without_dropout(path):
    """Sets every Dropout's ratio, an initializer, to 0."""
    model = onnx.load(path)
    ratios = {n.input[1] for n in model.graph.node if n.op_type == "Dropout"}
    for t in model.graph.initializer:
        if t.name in ratios:
            t.CopyFrom(onnx.numpy_helper.from_array(np.float32(0), t.name))
    onnx.save(model, path)


def twin(name, shape, arrays, dtype=torch.float32):
    model = twins.load_weights(twins.build(name, shape, CLASSES), arrays)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.to(dtype)


def step0(model, x, labels):
    """Logits and {parameter: gradient} of the first batch in training mode."""
    model.train()
    logits = model(x)
    nn.functional.cross_entropy(logits, labels, label_smoothing=SMOOTHING).backward()
    grads = {n: p.grad.numpy().copy() for n, p in model.named_parameters()}
    return logits.detach().numpy(), grads


def train(model, x, labels, make, options):
    """The losses of len(x) steps."""
    model.train()
    optimizer = make(model.parameters(), **options)
    losses = []
    for batch, target in zip(x, labels):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(batch), target, label_smoothing=SMOOTHING)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


def layer_scale(name, exact):
    """Norm of the largest gradient in name's layer."""
    layer = name.rsplit(".", 1)[0]
    return max(np.linalg.norm(g) for n, g in exact.items() if n.rsplit(".", 1)[0] == layer)


def gradient_error(name, found, expected, exact):
    """By the header's rule; found against expected, exact {name: float64 gradient}."""
    scale = layer_scale(name, exact)
    if np.linalg.norm(exact[name]) < 1e-9 * scale:
        return np.linalg.norm(found) / scale
    return relative(found, expected)


def check_gradients(h, case, ours, theirs, exact):
    if not h.expect(f"{case}: a gradient for every parameter", set(ours) == set(theirs),
                    f"({len(theirs)})"):
        return
    errors = {n: gradient_error(n, ours[n], theirs[n], exact) for n in theirs}
    far = sorted(errors, key=errors.get, reverse=True)

    def note(n):
        to64 = [gradient_error(n, g[n], exact[n], exact) for g in (ours, theirs)]
        return f"(to float64: ours {to64[0]:.1e}, PyTorch's {to64[1]:.1e}; {n})"

    good = h.check(f"{case}: gradients, worst of {len(far)}", errors[far[0]], GRADIENT,
                   note(far[0]))
    if not good:
        for n in far[1:]:
            if not errors[n] <= GRADIENT:
                print(f"       {errors[n]:.2e} {note(n)}")


def check_case(h, name, shape, batch, steps, make, options):
    case = f"{name} {'x'.join(map(str, shape))} {make.__name__}"
    path = h.zoo(name, shape, CLASSES)
    without_dropout(path)
    arrays = harness.initializers(path)
    x, labels = harness.images_of(shape, steps * batch)
    x = x.reshape(steps, batch, *shape)
    labels = labels.reshape(steps, batch)
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in options.items()]
    if make is torch.optim.AdamW:
        flags.append("--adamw")
    found = h.engine(path, x, labels, [*flags, f"--label-smoothing={SMOOTHING}"])
    xs, ys = torch.from_numpy(x), torch.from_numpy(labels.astype(np.int64))

    model = twin(name, shape, arrays).eval()
    with torch.no_grad():
        evaluated = model(xs[0]).numpy()
    h.check(f"{case}: evaluation forward", relative(found["eval.logits"], evaluated),
            FORWARD)
    logits, grads = step0(model, xs[0], ys[0])
    exact_logits, exact = step0(twin(name, shape, arrays, torch.float64), xs[0].double(),
                                ys[0])
    h.check(f"{case}: training forward", relative(found["logits"], logits), FORWARD,
            f"(to float64: ours {relative(found['logits'], exact_logits):.1e}, "
            f"PyTorch's {relative(logits, exact_logits):.1e})")
    check_gradients(h, case, {n[5:]: a for n, a in found.items() if n.startswith("grad.")},
                    grads, exact)
    losses = train(twin(name, shape, arrays), xs, ys, make, options)
    h.check(f"{case}: {steps} losses", np.max(np.abs(found["losses"] / losses - 1)), LOSS,
            f"({losses[0]:.4f} .. {losses[-1]:.4f})")


def main(h):
    torch.manual_seed(0)
    for case in CASES:
        if h.wants(case[0]):
            check_case(h, *case)


harness.run(main)
