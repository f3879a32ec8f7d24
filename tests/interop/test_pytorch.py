"""The engine against PyTorch: same initial weights, same batches, dropout off.

    python test_pytorch.py BUILD [model ...]

Per model, the zoo's ONNX and its PyTorch twin (twins.py) with the ONNX's weights:

  forward    logits in training mode and in evaluation mode, relative L2 <= 1e-5
  gradients  of every parameter at step 0, relative L2 per tensor <= 1e-4
  losses     of ten optimizer steps, largest relative difference <= 1e-4
  updates    what those steps changed in all parameters together, relative L2 <= 1e-3 (the
             losses hardly feel a weight decay of 5e-4; this does)

The engine runs as it trains: Winograd on. The reference is PyTorch in float32; beside the
worst tensor stand both programs' distances from PyTorch in float64, to tell our rounding
from PyTorch's.

Weights. Networks with batch norm run twice. With the zoo's own weights ("zoo"), forward is
checked and gradients are only shown: a few of some million ReLU inputs lie within rounding
of zero, each program decides them its own way, and one decision moves gradients by 1e-3
(PyTorch in float32 is as far from itself in float64, and losses drift apart from there).
With steady weights ("steady", see steady()), where few values come near a decision,
everything is checked.

Gradients that are zero in exact arithmetic (the bias of a convolution or norm whose
constant the next norm takes away) are rounding noise in both programs, so a relative error
of them means nothing. Rule: where the float64 gradient of a tensor is below 1e-9 of that
of its layer's largest tensor, the error is |ours| / |largest|, under the same limit.

The last cases are wrong on purpose, and must be noticed.
"""

import os

import numpy as np
import onnx
import torch
from torch import nn

import harness
import twins
from harness import relative

FORWARD, GRADIENT, LOSS, UPDATE = 1e-5, 1e-4, 1e-4, 1e-3
STEPS, CLASSES = 10, 10
SMALL, LARGE = (3, 32, 32), (3, 224, 224)
SGD = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 5e-4}
ADAMW = {"lr": 1e-3, "weight_decay": 5e-4}
SMOOTHING = 0.1

#        model, sample, batch, steps, optimizer
CASES = [("lenet", SMALL, 4, STEPS, torch.optim.SGD, SGD),
         ("lenet", SMALL, 4, STEPS, torch.optim.AdamW, ADAMW),
         ("vgg16", SMALL, 4, STEPS, torch.optim.SGD, SGD)]
NORMED = [("resnet18", SMALL, 4, STEPS, torch.optim.SGD, SGD),
          ("vgg16_bn", SMALL, 4, STEPS, torch.optim.SGD, SGD),
          ("densenet121", SMALL, 4, STEPS, torch.optim.SGD, SGD),
          ("mobilenet_v2", SMALL, 4, STEPS, torch.optim.SGD, SGD),
          ("resnet18", LARGE, 2, 2, torch.optim.SGD, SGD)]

# Zoo weights whose gradients are checked as they are, at batch 2 and the harness's seed. Of
# resnet18's seeds 1 to 8, five gave 9e-6 against PyTorch's float32 (in one of them both are
# 1e-2 from float64), three 1e-3 to 4e-3. vgg16_bn at batch 2 was tried and is not here: 4e-3
# (ours 2e-5 from float64, PyTorch 4e-3). For mobilenet_v2 and densenet121 PyTorch's float32
# is 3e-4 to 5e-2 from float64 with each of the seeds. Flips of ReLUs were not counted.
ZOO_GRADIENTS = [("resnet18", SMALL)]


def without_dropout(path):
    """Sets every Dropout's ratio, an initializer, to 0."""
    model = onnx.load(path)
    ratios = {n.input[1] for n in model.graph.node if n.op_type == "Dropout"}
    for t in model.graph.initializer:
        if t.name in ratios:
            t.CopyFrom(onnx.numpy_helper.from_array(np.float32(0), t.name))
    onnx.save(model, path)


def decides(node, readers):
    """The Relu or Clip that decides on node's output, through an Add too; else None."""
    after = readers[node.output[0]][0]
    if after.op_type == "Add":
        after = next((n for n in readers[after.output[0]] if n.op_type == "Relu"), after)
    return after if after.op_type in ("Relu", "Clip") else None


def steady(path):
    """Moves the zero of every ReLU to 2 standard deviations from the mean of its inputs: the
    norm before it gets the bias +2, in every fourth channel -2, so that most units are on,
    some off, and 2 % of the values on the other side. Ahead of a ReLU6, +3 at a deviation of
    1.5 puts both 0 and 6 there; ahead of a depthwise convolution no channel is off, since the
    next norm would divide by the deviation of a channel that is nearly always 0."""
    model = onnx.load(path)
    readers = {}
    for n in model.graph.node:
        for value in n.input:
            readers.setdefault(value, []).append(n)
    arrays = {t.name: t for t in model.graph.initializer}
    for norm in model.graph.node:
        after = norm.op_type == "BatchNormalization" and decides(norm, readers)
        if not after:
            continue
        depthwise = any(a.name == "group" and a.i > 1
                        for n in readers[after.output[0]] for a in n.attribute)
        count = arrays[norm.input[1]].dims[0]
        weight = np.full(count, 1.5 if after.op_type == "Clip" else 1, np.float32)
        bias = 2 * weight
        if not depthwise:
            bias[3::4] *= -1
        for name, values in ((norm.input[1], weight), (norm.input[2], bias)):
            arrays[name].CopyFrom(onnx.numpy_helper.from_array(values, name))
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
    """The losses of len(x) steps, and {parameter: array} after them."""
    model.train()
    optimizer = make(model.parameters(), **options)
    losses = []
    for batch, target in zip(x, labels):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(batch), target, label_smoothing=SMOOTHING)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses), {n: p.detach().numpy() for n, p in model.named_parameters()}


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


class Case:
    """One model with its data, and what the engine computes for it."""

    def __init__(self, h, kind, name, shape, batch, steps, make, options):
        size = "x".join(map(str, shape))
        self.h, self.name, self.shape = h, name, shape
        self.title = f"{name} {kind} {size} {make.__name__}"
        self.steps, self.make, self.options = steps, make, options
        self.path = h.zoo(name, shape, CLASSES)
        without_dropout(self.path)
        if kind == "steady":
            steady(self.path)
        self.arrays = harness.initializers(self.path)
        x, labels = harness.images_of(shape, steps * batch)
        self.x = x.reshape(steps, batch, *shape)
        self.labels = labels.reshape(steps, batch)
        self.xs = torch.from_numpy(self.x)
        self.ys = torch.from_numpy(self.labels.astype(np.int64))
        self.found = self.engine()

    def engine(self, **changes):
        """engine_dump's results, with changed options if asked."""
        options = {**self.options, "label_smoothing": SMOOTHING, **changes}
        flags = [f"--{k.replace('_', '-')}={v}" for k, v in options.items()]
        if self.make is torch.optim.AdamW:
            flags.append("--adamw")
        return self.h.engine(self.path, self.x, self.labels, flags)

    def twin(self, dtype=torch.float32):
        return twin(self.name, self.shape, self.arrays, dtype)

    def reference(self):
        """Step 0 in float32 and float64."""
        self.logits, self.grads = step0(self.twin(), self.xs[0], self.ys[0])
        self.exact_logits, self.exact = step0(self.twin(torch.float64),
                                              self.xs[0].double(), self.ys[0])

    def evaluation_error(self, found):
        with torch.no_grad():
            expected = self.twin().eval()(self.xs[0]).numpy()
        return relative(found["eval.logits"], expected)

    def gradient_errors(self, found):
        """{parameter: error}; infinite for one that is missing."""
        return {n: gradient_error(n, found[f"grad.{n}"], g, self.exact)
                if f"grad.{n}" in found else np.inf for n, g in self.grads.items()}

    def train(self):
        self.losses, self.after = train(self.twin(), self.xs, self.ys, self.make,
                                        self.options)

    def loss_error(self, found):
        return np.max(np.abs(found["losses"] / self.losses - 1))

    def update_error(self, found):
        ours, theirs = (np.concatenate([(a[p + n] - self.arrays[n]).ravel()
                                        for n in self.after])
                        for a, p in ((found, "after."), (self.after, "")))
        return relative(ours, theirs)

    def to_exact(self, n):
        errors = [gradient_error(n, g, self.exact[n], self.exact)
                  for g in (self.found[f"grad.{n}"], self.grads[n])]
        return f"(to float64: ours {errors[0]:.1e}, PyTorch's {errors[1]:.1e}; {n})"


def check_forward(case):
    h, t = case.h, case.title
    case.reference()
    h.check(f"{t}: evaluation forward", case.evaluation_error(case.found), FORWARD)
    ours = relative(case.found["logits"], case.exact_logits)
    theirs = relative(case.logits, case.exact_logits)
    h.check(f"{t}: training forward", relative(case.found["logits"], case.logits), FORWARD,
            f"(to float64: ours {ours:.1e}, PyTorch's {theirs:.1e})")


def check_gradients(case):
    errors = case.gradient_errors(case.found)
    far = max(errors, key=errors.get)
    case.h.check(f"{case.title}: {len(errors)} gradients", errors[far], GRADIENT,
                 case.to_exact(far) if np.isfinite(errors[far]) else far)


def check_training(case):
    h, t = case.h, case.title
    check_gradients(case)
    case.train()
    h.check(f"{t}: {case.steps} losses", case.loss_error(case.found), LOSS,
            f"({case.losses[0]:.4f} .. {case.losses[-1]:.4f})")
    h.check(f"{t}: updates of {case.steps} steps", case.update_error(case.found), UPDATE)


def show_gradients(case):
    errors = case.gradient_errors(case.found)
    print(f"     {case.title}: gradients, median {np.median(list(errors.values())):.1e}, "
          f"worst {case.to_exact(max(errors, key=errors.get))}")


def check_controls(h):
    """Other options than PyTorch has and a wrong weight must be noticed."""
    case = Case(h, "zoo", *CASES[0])
    case.reference()
    case.train()
    for change in ({"momentum": 0.89}, {"weight_decay": 0}, {"label_smoothing": 0.11},
                   {"lr": 1.01e-3}):
        h.above(f"control: updates with {change}", case.update_error(case.engine(**change)),
                UPDATE)
    h.above("control: losses with label smoothing 0.11",
            case.loss_error(case.engine(label_smoothing=0.11)), LOSS)
    model = onnx.load(case.path)
    weight = next(t for t in model.graph.initializer if t.name == "conv2.weight")
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[7] *= 1.01
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, case.path)
    found = case.engine()
    h.above("control: evaluation forward, one weight 1 % off",
            case.evaluation_error(found), FORWARD)
    h.above("control: gradients, one weight 1 % off",
            max(case.gradient_errors(found).values()), GRADIENT)


def main(h):
    torch.set_num_threads(os.cpu_count())
    for args in CASES + NORMED:
        if not h.wants(args[0]):
            continue
        normed = args in NORMED
        if normed:
            fixed = args[:2] in ZOO_GRADIENTS
            zoo = Case(h, "zoo", *args[:2], 2 if fixed else args[2], 1, *args[4:])
            check_forward(zoo)
            if fixed:
                check_gradients(zoo)
            else:
                show_gradients(zoo)
        case = Case(h, "steady" if normed else "zoo", *args)
        check_forward(case)
        check_training(case)
    if h.wants("control"):
        check_controls(h)


harness.run(main)
