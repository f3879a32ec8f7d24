"""The engine against PyTorch: same initial weights, same batches, dropout off.

    python test_pytorch.py BUILD [model ...]

Per model, the zoo's ONNX (the vision transformer's: PyTorch's own export, in two opsets)
and its PyTorch twin (twins.py) with the ONNX's weights:

  forward    logits in training mode and in evaluation mode, relative L2 <= 1e-5
  gradients  of every parameter at step 0, batch 4, relative L2 per tensor <= 1e-4
  losses     of ten optimizer steps, largest relative difference <= 1e-4
  updates    what those steps changed in all parameters together, relative L2 <= 1e-3 (the
             losses hardly feel a weight decay of 5e-4; this does)

The engine runs as it trains: Winograd on. The reference is PyTorch in float32; beside the
worst tensor stand both programs' distances from PyTorch in float64, to tell our rounding
from PyTorch's.

Decisions. Behind batch norm, a few of some million ReLU inputs lie within rounding of zero,
and two inputs of a max pooling within rounding of each other. Each program decides them its
own way, and one decision moves gradients by 1e-3 (PyTorch in float32 is as far from itself in
float64), from where the losses drift apart. So networks with batch norm are checked in two
parts:

  decisions  the engine's, of every Relu, Clip and MaxPool in the first step, differ from
             PyTorch's only where PyTorch's input is within 1e-4 of the edge (of the largest,
             in a pooling), in units of the root mean square of that layer's inputs; the
             number of those is printed, and that of all steps, whose weights are no longer
             the same bits
  the rest   as above, with the engine's decisions imposed on PyTorch: y = x where the engine
             let x through, else the constant; of a pooling the x that it took. Nothing else
             of PyTorch's is changed.

Gradients that nearly cancel (the bias of a convolution whose constant the next norm takes
away; the scale of a norm ahead of another norm) are rounding noise in both programs, so a
relative error of them means nothing. Rule: where PyTorch's float32 gradient of a tensor is
itself farther than 1e-4 from its float64 one, the error is |ours - PyTorch's| / |largest of
its layer|, under the same limit; how many these are is printed.

Losses likewise: where PyTorch's float32 ones are themselves farther than 1e-4 from its float64
ones (mobilenet_v2 at the tenth step, on some processors), ours are held to float64's, under the
same limit.

bf16, of vgg16 and resnet18: the distance of all gradients of step 0 from PyTorch's in float64 is
at most 1.25 times that of PyTorch's own autocast to bf16 (both are decisions taken otherwise, which
differ by so much); and larger than float32's limit, or it would not be bf16.

VGG's and DenseNet's forms are in test_models.py. The last cases here are wrong on purpose, and must
be noticed.
"""

import contextlib
import os
import warnings

import numpy as np
import onnx
import torch
from torch import nn

import harness
import twins
from decisions import Imposed, with_decisions
from harness import relative

FORWARD, GRADIENT, LOSS, UPDATE, EDGE = 1e-5, 1e-4, 1e-4, 1e-3, 1e-4
STEPS, CLASSES = 10, 10
SMALL, LARGE = (3, 32, 32), (3, 224, 224)
SGD = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 5e-4}
ADAMW = {"lr": 1e-3, "weight_decay": 5e-4}
SMOOTHING = 0.1

# Step 0 is compared at a small batch; the losses of most networks as well. mobilenet_v2's
# initial gradient has norm 70 at batch 4 (batch norm over few values), and every step makes a
# difference seven times larger, decisions imposed or not; at 32 it trains as it should.
FEW = 4
#        model, sample, batch, steps, optimizer
CASES = [("lenet", SMALL, FEW, STEPS, torch.optim.SGD, SGD),
         ("lenet", SMALL, FEW, STEPS, torch.optim.AdamW, ADAMW),
         ("resnet18", SMALL, FEW, STEPS, torch.optim.SGD, SGD),
         ("mobilenet_v2", SMALL, 32, STEPS, torch.optim.SGD, SGD),
         ("resnet18", LARGE, 2, 2, torch.optim.SGD, SGD),
         # Not AdamW: a bias of the keys changes no attention, so its gradient is rounding
         # noise, which Adam would blow up to whole steps.
         ("vit", SMALL, FEW, STEPS, torch.optim.SGD, SGD)]
EXPORTED = {"vit": (17, 20)}  # LayerNormalization is younger than 16, Gelu than 19
NORMED = {"resnet18", "mobilenet_v2"}
NORMED_CONTROL = 2  # the case whose decisions are spoilt on purpose


def export(h, name, shape, opset):
    """Path of PyTorch's own export of a fresh model, as its users would make it."""
    torch.manual_seed(7)
    path = h.path(".onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is the old one
        torch.onnx.export(twins.build(name, shape, CLASSES).train(), torch.zeros(4, *shape),
                          path, opset_version=opset, dynamo=False,
                          training=torch.onnx.TrainingMode.TRAINING,
                          do_constant_folding=False, input_names=["x"],
                          output_names=["logits"], dynamic_axes={"x": {0: "n"}})
    return path


def twin(name, shape, arrays, dtype=torch.float32):
    model = twins.load_weights(twins.build(name, shape, CLASSES), arrays)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.to(dtype)


def step0(model, x, labels):
    """{parameter: gradient} of the first batch in training mode."""
    loss = nn.functional.cross_entropy(model.train()(x), labels, label_smoothing=SMOOTHING)
    loss.backward()
    return {n: p.grad.numpy().copy() for n, p in model.named_parameters()}


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


def cancels(name, grads, exact):
    """Whether name falls under the header's rule; {name: gradient} in float32 and 64."""
    return not relative(grads[name], exact[name]) <= GRADIENT


def gradient_error(name, found, grads, exact):
    """Of found by the header's rule."""
    if not cancels(name, grads, exact):
        return relative(found, grads[name])
    return np.linalg.norm(found - grads[name]) / layer_scale(name, exact)


class Case:
    """One model with its data, and what the engine computes for it."""

    def __init__(self, h, name, shape, batch, steps, make, options, opset=None):
        size = "x".join(map(str, shape))
        self.h, self.name, self.shape = h, name, shape
        self.title = (f"{name} {size} {make.__name__} batch {batch}"
                      + (f" opset {opset}" if opset else ""))
        self.batch, self.steps, self.make, self.options = batch, steps, make, options
        self.path = export(h, name, shape, opset) if opset else h.zoo(name, shape, CLASSES)
        harness.without_dropout(self.path)
        self.arrays = harness.initializers(self.path)
        self.imposed = name in NORMED
        if self.imposed:
            with_decisions(self.path)
        x, labels = harness.images_of(shape, steps * batch)
        self.x = x.reshape(steps, batch, *shape)
        self.labels = labels.reshape(steps, batch)
        self.xs = torch.from_numpy(self.x)
        self.ys = torch.from_numpy(self.labels.astype(np.int64))
        self.found = self.engine()
        self.decisions = [self.found[n] for n in sorted(self.found) if n.startswith("decide.")]

    def first_step(self, batch):
        """The same case with a batch of its own and one step."""
        return Case(self.h, self.name, self.shape, batch, 1, self.make, self.options)

    def engine(self, **changes):
        """engine_dump's results, with changed options if asked."""
        options = {**self.options, "label_smoothing": SMOOTHING, **changes}
        flags = [f"--{k.replace('_', '-')}={v}" for k, v in options.items()]
        if self.make is torch.optim.AdamW:
            flags.append("--adamw")
        return self.h.engine(self.path, self.x, self.labels, flags)

    def twin(self, dtype=torch.float32):
        return twin(self.name, self.shape, self.arrays, dtype)

    def imposing(self, steps):
        """The engine's decisions of these steps, to be entered; nothing where none are
        imposed."""
        if not self.imposed:
            return contextlib.nullcontext()
        return Imposed([d[step] for step in range(steps) for d in self.decisions])

    def reference(self):
        """Step 0 in float32 and float64."""
        with torch.no_grad():
            self.logits = self.twin().train()(self.xs[0]).numpy()
            self.exact_logits = self.twin(torch.float64).train()(self.xs[0].double()).numpy()
        with self.imposing(1) as self.imposed_once:
            self.grads = step0(self.twin(), self.xs[0], self.ys[0])
        with self.imposing(1):
            self.exact = step0(self.twin(torch.float64), self.xs[0].double(), self.ys[0])

    def evaluation_error(self, found):
        with torch.no_grad():
            expected = self.twin().eval()(self.xs[0]).numpy()
        return relative(found["eval.logits"], expected)

    def gradient_errors(self, found):
        """{parameter: error}; infinite for one that is missing."""
        return {n: gradient_error(n, found[f"grad.{n}"], self.grads, self.exact)
                if f"grad.{n}" in found else np.inf for n in self.grads}

    def train(self):
        """The steps in float32; returns what was imposed."""
        with self.imposing(self.steps) as imposed:
            self.losses, self.after = train(self.twin(), self.xs, self.ys, self.make,
                                            self.options)
        return imposed

    def loss_error(self, found):
        """By the header's rule; and what it was taken to, for people."""
        error = np.max(np.abs(found["losses"] / self.losses - 1))
        if error <= LOSS:
            return error, ""
        with self.imposing(self.steps):
            exact, _ = train(self.twin(torch.float64), self.xs.double(), self.ys, self.make, self.options)
        drift = np.max(np.abs(self.losses / exact - 1))
        if drift <= LOSS:
            return error, ""
        return (np.max(np.abs(found["losses"] / exact - 1)),
                f"; to float64, from which PyTorch's are {drift:.1e}")

    def update_error(self, found):
        ours, theirs = (np.concatenate([(a[p + n] - self.arrays[n]).ravel()
                                        for n in self.after])
                        for a, p in ((found, "after."), (self.after, "")))
        return relative(ours, theirs)

    def to_exact(self, n):
        ours, theirs = (relative(g, self.exact[n])
                        for g in (self.found[f"grad.{n}"], self.grads[n]))
        cancelling = sum(cancels(m, self.grads, self.exact) for m in self.grads)
        return (f"(to float64: ours {ours:.1e}, PyTorch's {theirs:.1e}; {n}; "
                f"{cancelling} cancel)")


def check_forward(case):
    h, t = case.h, case.title
    case.reference()
    h.check(f"{t}: evaluation forward", case.evaluation_error(case.found), FORWARD)
    ours = relative(case.found["logits"], case.exact_logits)
    theirs = relative(case.logits, case.exact_logits)
    h.check(f"{t}: training forward", relative(case.found["logits"], case.logits), FORWARD,
            f"(to float64: ours {ours:.1e}, PyTorch's {theirs:.1e})")


def check_gradients(case):
    h, t = case.h, case.title
    errors = case.gradient_errors(case.found)
    far = max(errors, key=errors.get)
    h.check(f"{t}: {len(errors)} gradients", errors[far], GRADIENT,
            case.to_exact(far) if np.isfinite(errors[far]) else far)
    if case.imposed:
        first = case.imposed_once
        h.check(f"{t}: decisions off PyTorch's", first.farthest, EDGE,
                f"({first.flips} of {first.values})")


def check_training(case):
    h, t = case.h, case.title
    imposed = case.train()
    off = f"; {imposed.flips} of {imposed.values} decisions off" if imposed else ""
    error, against = case.loss_error(case.found)
    h.check(f"{t}: {case.steps} losses", error, LOSS,
            f"({case.losses[0]:.4f} .. {case.losses[-1]:.4f}{off}{against})")
    h.check(f"{t}: updates of {case.steps} steps", case.update_error(case.found), UPDATE)


def all_gradients(grads):
    return np.concatenate([grads[n].reshape(-1).astype(np.float64) for n in sorted(grads)])


def check_bf16(h, name):
    case = Case(h, name, SMALL, 16, 1, torch.optim.SGD, SGD)
    flags = ["--bf16", f"--label-smoothing={SMOOTHING}"]
    found = h.engine(case.path, case.x, case.labels, flags)
    exact = all_gradients(step0(case.twin(torch.float64), case.xs[0].double(), case.ys[0]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        auto = all_gradients(step0(case.twin(), case.xs[0], case.ys[0]))
    ours = all_gradients({n[5:]: g for n, g in found.items() if n.startswith("grad.")})
    h.check(f"{name}: bf16 gradients", relative(ours, exact), 1.25 * relative(auto, exact))
    h.above(f"{name}: bf16 is not float32", relative(ours, exact), GRADIENT)


def check_controls(h):
    """Other options than PyTorch has and a wrong weight must be noticed."""
    case = Case(h, *CASES[0])
    case.reference()
    case.train()
    for change in ({"momentum": 0.89}, {"weight_decay": 0}, {"label_smoothing": 0.11},
                   {"lr": 1.01e-3}):
        h.above(f"control: updates with {change}", case.update_error(case.engine(**change)),
                UPDATE)
    h.above("control: losses with label smoothing 0.11",
            case.loss_error(case.engine(label_smoothing=0.11))[0], LOSS)
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


def check_decision_control(h):
    """One decision in a hundred thousand taken the other way must be noticed."""
    case = Case(h, *CASES[NORMED_CONTROL])
    rng = np.random.default_rng(3)
    for d in (d for d in case.decisions if d.dtype == np.uint8):
        wrong = rng.random(d.shape) < 1e-5
        d[wrong] = 1 - np.minimum(d[wrong], 1)
    case.reference()
    h.above("control: distance of wrong decisions", case.imposed_once.farthest, EDGE)
    h.above("control: gradients with wrong decisions",
            max(case.gradient_errors(case.found).values()), GRADIENT)


def main(h):
    torch.set_num_threads(os.cpu_count())
    for args in CASES:
        if h.wants(args[0]):
            for opset in EXPORTED.get(args[0], (None,)):
                case = Case(h, *args, opset=opset)
                first = case if case.batch <= FEW else case.first_step(FEW)
                check_forward(first)
                check_gradients(first)
                check_training(case)
    if h.wants("bf16"):
        for name in ("vgg16", "resnet18"):
            check_bf16(h, name)
    if h.wants("control"):
        check_controls(h)
        check_decision_control(h)


harness.run(main)
