"""Models that people bring (models.py), end to end: PyTorch's exporters, the engine, a job.

    python test_models.py BUILD [all] [model ...]
    python test_models.py BUILD page        # docs/models.md, of what runs with "all" have found

losses    each module is written by both exporters, TorchScript's and dynamo's, in training
          form: through the Python package, which keeps the batch open and checks the file, and
          by torch.onnx.export itself with the batch fixed, at another number of samples than
          it is trained with. The engine trains each file for 20 steps with the weights and batches of a plain PyTorch loop; the losses are
          within 1e-4 of PyTorch's. Where PyTorch's float32 ones are themselves farther than
          that from its float64 ones, float64's are the measure (as in test_pytorch.py). Where
          the limit is not held and PyTorch's own distance is more than a tenth of it, rounding
          has grown too far at that learning rate to say anything, and the next smaller one of
          RATES is tried. Files whose losses are the same bits as those of a file before are
          compared once
updates   what those steps changed in all parameters together, relative L2 <= 1e-3, by the same
          rule: the losses hardly feel a parameter of little weight. Not of those that the
          folded graph has under other names (an LSTM's gates): test_exact.py has them
decisions of networks with ReLU or max pooling, the engine's are imposed on PyTorch, as
          test_pytorch.py says; those of the first step differ from PyTorch's own only within
          1e-4 of the edge
learned   the losses moved by a hundred times the limit, so that those of other weights would
          be noticed
bits      the package's file, obfuscated with one decoy, trained by amalgam-train and extracted,
          is the file that `amalgam train` trains alone, bit for bit
decoys    of three decoys by a walk of WALK steps, how many architectures there are among the four
          sub-networks: more than one
train.py  of the models of TRAIN_PY, with "all" of all: the job, trained by train.py
          --deterministic and extracted, is the module that a plain loop trained, bit for bit
          (as in test_exact.py), and those of OTHER_SUMS within SUMS of it

Without "all" the families whose networks are large are there in short forms: one block or two
of each kind, narrower, on 64 x 64 pixels. "all" adds the full ones of HEAVY and dynamo's files
with a fixed batch, and leaves what it has found in BUILD/models for the page.
"""

import contextlib
import importlib
import json
import os
import shutil
import warnings

import numpy as np
import onnx
import torch
from torch import nn

import harness
import model_page
import models
import modules
import more_models
from decisions import Imposed, listed, with_decisions
from harness import relative
from jobs import Jobs, distance, equal, flags, secret

STEPS, LOSS, UPDATE, LEARNED, EDGE, SURE = 20, 1e-4, 1e-3, 1e-2, 1e-4, 0.1
BATCH, FIXED, SAMPLES, VAL, WALK = 8, (1, 3), 48, 8, 8
RATES = (1e-2, 1e-3, 1e-4, 1e-5)
SGD = {"lr": RATES[0], "momentum": 0.9, "weight_decay": 5e-4}
RECIPE = {"batch": BATCH, "epochs": 4, "optimizer": "sgd", "schedule": "cosine", "seed": 5, **SGD}

HEAVY = {"resnet18", "resnet34", "resnet50", "vgg16_bn", "densenet121", "mobilenet_v2",
         "mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2", "googlenet", "convnext_tiny",
         "vit_b_32", "unet_full"}
# No decisions to impose; MobileNetV3 has hard swishes beside its ReLUs, which are not known.
SMOOTH = {*more_models.SMOOTH, "mobilenet_v3_small", "mobilenet_v3_short", "efficientnet_b0", "efficientnet_short",
          "convnext_tiny", "convnext_small", "vit_b_32", "vit_small", "lstm", "tabular",
          "autoencoder", "shared", "numbers"}
# Batch norms of rows, which PyTorch does not train with one.
NO_ROW = {"tabular", "arcface"}
TRAIN_PY = {"detector", "counted_text", "shufflenet_v2_small", "mobilenet_v3_short", "convnext_small", "numbers"}
# Their files have other sums: a variance written out; branches in the order in which they are
# joined (docs/pitfalls.md).
OTHER_SUMS, SUMS = {"patch_tst", "deeplab", "deep_fm"}, 1e-6
# By the other, torch.export or TorchScript, they are not written, or not as ONNX has it.
BY_ONE = {"translator": ("torchscript",), "video": ("torchscript",), "gcn": ("dynamo",),
          "packed_text": ("torchscript",), "counted_text": ("torchscript",), "packed_signal": ("torchscript",)}
# Not by torch.onnx.export itself, which fails, writes a loop, or leaves x.detach() or a padding_idx out.
BY_PACKAGE = {("packed_text", "torchscript"), ("counted_text", "torchscript"), ("stopped", "torchscript"),
              ("codebook", "torchscript"), ("bag", "torchscript"), ("bag", "dynamo"),
              ("padded_text", "torchscript")}
# Of more_models.py, without "all".
IN_CI = {"llama", "siamese", "detector", "packed_signal", "stopped", "padded_text"}


def as_input(x):
    """What the module takes, as the package gives it."""
    if x.dtype == torch.uint8:
        return x.float() * np.float32(1 / 255)
    return x.long() if x.dtype == torch.int32 else x


def loss_of(output, inputs, y, windows, terms):
    if y is None:
        return nn.functional.mse_loss(output, inputs[0])
    if terms:
        return modules.sum_of_losses(terms, output, y)
    if windows:
        output, y = output.flatten(0, -2), y.flatten()
    return nn.functional.cross_entropy(output, y)


def in_batches(t):
    return torch.cat([t] * 4)[:STEPS * BATCH].reshape(STEPS, BATCH, *t.shape[1:])


class Model:
    """A module with its batches, and what PyTorch makes of both. found: for the page."""

    def __init__(self, name):
        self.name, self.found = name, {"files": []}
        self.raw = models.samples(name, SAMPLES, 1)
        self.windows, self.loss = models.KINDS[name].windows, models.KINDS[name].loss
        x, y = self.raw
        if self.windows:  # a language model's: the tokens, and the next ones
            x, y = x[:, :-1], x[:, 1:]
        self.inputs = [in_batches(as_input(t)) for t in (x if isinstance(x, tuple) else (x,))]
        if self.loss:
            self.ys = [in_batches(t) for t in y]
        else:
            self.ys = None if y is None else in_batches(y.long())
        self.before = {n: p.detach().numpy().copy()
                       for n, p in self.module().named_parameters()}

    def module(self, dtype=torch.float32):
        return models.build(self.name).to(dtype)

    def batch(self, i, dtype=torch.float32):
        """What the module takes."""
        return [x[i].to(dtype) if x.is_floating_point() else x[i] for x in self.inputs]

    def xs(self):
        """What the engine takes: several inputs as one vector (src/graph/merged_inputs.h)."""
        if len(self.inputs) == 1:
            return self.inputs[0].numpy()
        return torch.cat([x.reshape(STEPS, BATCH, -1).float() for x in self.inputs], 2).numpy()

    def targets(self, i):
        if self.loss:
            return [y[i] for y in self.ys]
        return None if self.ys is None else self.ys[i]

    def train(self, dtype, rate, steps=STEPS):
        """(losses, {parameter: what changed}) in that type."""
        module, losses = self.module(dtype).train(), []
        optimizer = torch.optim.SGD(module.parameters(), **{**SGD, "lr": rate})
        for i in range(steps):
            inputs = self.batch(i, dtype)
            loss = loss_of(module(*inputs), inputs, self.targets(i), self.windows, self.loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return np.array(losses), {n: p.detach().double().numpy() - self.before[n]
                                  for n, p in module.named_parameters()}

    def labels(self):
        """As engine_dump takes them."""
        if self.loss:
            return torch.cat([y.reshape(STEPS, BATCH, -1).float() for y in self.ys], 2).numpy()
        return self.xs() if self.ys is None else self.ys.numpy().astype(np.int32)


# ---- files ----

def by_package(model, exporter, path):
    """As amalgam.obfuscate makes its file, by one of the exporters."""
    export = importlib.import_module("amalgam._export")
    module, batches = model.module(), [model.batch(0), model.batch(1)]
    with export.plain(module, None) as outputs:
        seen = export.observe(module, batches[0], names=outputs)
        export._export_by(getattr(export, f"_export_{exporter}"), module, batches, names_of(model), seen,
                          str(path))
    return path


def names_of(model):
    return [f"x{i + 1}" for i in range(len(model.inputs))]


def by_hand(model, exporter, path, fixed):
    """With a fixed batch, as anybody would, and not the one that it is trained with."""
    choice = {"optimize": False, "verbose": False} if exporter == "dynamo" else {
        "training": torch.onnx.TrainingMode.TRAINING, "do_constant_folding": False,
        "opset_version": 20}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.module().train(), tuple(x[:fixed] for x in model.batch(0)), path,
                          input_names=names_of(model), output_names=[f"y{i}" for i in range(len(model.ys))] if model.loss
                          else ["y"],
                          dynamo=exporter == "dynamo", **choice)
    return path


# ---- checks ----

def imposing(found, steps):
    """The engine's decisions, to be entered; nothing where there are none."""
    decided = listed(found, steps)
    return Imposed(decided) if decided else contextlib.nullcontext()


def changed(model, found):
    """As Model.train gives it, of parameters that the graph has under their names."""
    return {n: found[f"after.{n}"].astype(np.float64) - p for n, p in model.before.items()
            if f"after.{n}" in found}


def apart(ours, theirs):
    """Of (losses, changes): the largest relative difference of a loss, the relative L2 of all
    changes that ours has."""
    a, b = (np.concatenate([found[1][n].ravel() for n in ours[1]]) for found in (ours, theirs))
    return np.abs(ours[0] / theirs[0] - 1).max(), relative(a, b)


def run_engine(h, model, path, rate):
    loss = {"loss": model.loss} if model.loss else {}
    options = [f"--{k.replace('_', '-')}={v}" for k, v in {**SGD, "lr": rate, **loss}.items()]
    return h.engine(path, model.xs(), model.labels(), options)


def compare(model, found, rate):
    """(PyTorch's losses, how far those and the changes of found are from them or from float64's, PyTorch's own
    distance from those or None, what was imposed)."""
    ours = found["losses"], changed(model, found)
    with imposing(found, STEPS) as imposed:
        single = model.train(torch.float32, rate)
    errors = apart(ours, single)
    if errors[0] <= LOSS and errors[1] <= UPDATE:
        return single[0], errors, None, imposed
    with imposing(found, STEPS):
        exact = model.train(torch.float64, rate)
    drift, far = apart(single, exact), apart(ours, exact)
    errors = [b if d > limit else a for a, b, d, limit in zip(errors, far, drift, (LOSS, UPDATE))]
    return single[0], errors, drift, imposed


def check_training(h, model, path, title, found):
    """found: engine_dump's at the first rate, with decisions if they are to be imposed."""
    for rate in RATES:
        if rate != RATES[0]:
            found = run_engine(h, model, path, rate)
        losses, errors, drift, imposed = compare(model, found, rate)
        unsure = drift and (drift[0] > SURE * LOSS or drift[1] > SURE * UPDATE)
        good = errors[0] <= LOSS and errors[1] <= UPDATE
        note = f"; PyTorch is {drift[0]:.1e} and {drift[1]:.1e} from float64" if drift else ""
        if good or not unsure or rate == RATES[-1]:
            break
        print(f"     {title}: rate {rate:g}: {errors[0]:.1e} and {errors[1]:.1e}{note}", flush=True)
    off = f"; {imposed.flips} of {imposed.values} decisions off" if imposed else ""
    h.check(f"{title}: {STEPS} losses at rate {rate:g}", errors[0], LOSS,
            f"({losses[0]:.4f} .. {losses[-1]:.4f}{off}{note})")
    named = changed(model, found)
    h.check(f"{title}: updates of {len(named)} of {len(model.before)}", errors[1], UPDATE)
    h.above(f"{title}: losses that moved", np.ptp(losses / losses[0]), LEARNED)
    if imposed:
        with imposing(found, 1) as first:
            model.train(torch.float32, rate, 1)
        h.check(f"{title}: decisions off PyTorch's", first.farthest, EDGE,
                f"({first.flips} of {first.values})")
    model.found.update(rate=rate, loss=max(errors[0], model.found.get("loss", 0)),
                       update=max(errors[1], model.found.get("update", 0)), exact=bool(drift))


def check_file(h, model, path, title, known):
    """known: titles of other files by the bytes of their losses."""
    found = run_engine(h, model, path, RATES[0])
    same = known.setdefault(found["losses"].tobytes(), title)
    model.found["files"].append(title)
    if same != title:
        h.expect(f"{title}: the losses of {same}", True)
        return
    if model.name not in SMOOTH:
        decided = h.path(".onnx")
        shutil.copy(path, decided)
        with_decisions(decided)
        path, found = decided, run_engine(h, model, decided, RATES[0])
    check_training(h, model, path, title, found)


def specs(jobs, model):
    """DATA of the samples and of covers for three decoys, as the programs read them."""
    out = []
    for x, y in (model.raw, models.samples(model.name, 4 * SAMPLES, 2)):
        several = isinstance(x, tuple)  # a row of numbers each, as a vector is made of them anyway
        arrays = [t.reshape(len(t), -1) for t in x] if several else [x]
        targets = list(y) if model.loss else [] if y is None else [y]
        paths = [*map(str, jobs.store(*(t.numpy() for t in (*arrays, *targets))))]
        sides = paths[:len(arrays)], paths[len(arrays):]
        out.append(",".join("+".join(side) for side in sides if side))
    return out


def task_flags(model):
    if model.loss:
        return ["--loss", model.loss]
    return ["--task", "lm" if model.windows else "reconstruction" if model.ys is None else "classify"]


def obfuscate(h, model, path, data, decoys, *options):
    job, key = h.path(".job"), h.path(".key")
    h.program("amalgam", "obfuscate", "--model", path, "--train", data[0], "--decoys-from", data[1],
              "--decoys", decoys, "--decoy-arch", "walk", "--key", key, "--quiet", "-o", job,
              "--seed-hex", secret(model.name, decoys), *task_flags(model), *options)
    return job, key


def check_bits(h, model, path, data):
    job, key = obfuscate(h, model, path, data, 1)
    recipe = flags(RECIPE, max_steps=STEPS, threads=2, quiet=True)
    alone, back = h.path(".onnx"), h.path(".onnx")
    h.program("amalgam-train", job, *recipe)
    h.program("amalgam", "extract", "--key", key, "--weights", job / "out" / "weights.safetensors",
              "-o", back)
    h.program("amalgam", "train", "--model", path, "--train", data[0], "-o", alone, *recipe,
              *task_flags(model))
    found, expected, before = (harness.initializers(p) for p in (back, alone, path))
    h.expect(f"{model.name}: the job's bits", equal(found, expected),
             f"(distance {distance(found, expected):.1e})")
    changed = [n for n in model.before if n in found and not np.array_equal(found[n], before[n])]
    h.expect(f"{model.name}: of {len(model.before)} parameters {len(changed)} trained",
             len(changed) == len(model.before))
    model.found["parameters"] = sum(before[n].size for n in changed)


def architectures(path):
    """One text for each sub-network of a job's graph: its operators and their weights' shapes."""
    graph = onnx.load(path, load_external_data=False).graph
    shapes = {t.name: tuple(t.dims) for t in graph.initializer}
    producer = {o: n for n in graph.node for o in n.output}
    found = []
    for output in graph.output:
        waiting, seen, rows = [output.name], set(), []
        while waiting:
            node = producer.get(waiting.pop())
            if node is None or node.output[0] in seen:
                continue
            seen.add(node.output[0])
            rows.append(f"{node.op_type} {[shapes[i] for i in node.input if i in shapes]}")
            waiting += node.input
        found.append("\n".join(sorted(rows)))
    return found


def check_decoys(h, model, path, data):
    job, _ = obfuscate(h, model, path, data, 3, "--walk-steps", WALK)
    kinds = len(set(architectures(job / "model.onnx")))
    h.expect(f"{model.name}: {kinds} architectures of 4", kinds > 1)
    model.found["architectures"] = kinds


def check_train_py(h, jobs, model):
    """Sets found: whether the bits are the module's."""
    made = jobs.module(model.name, 0.0, file="models")
    out = jobs.train(made.job, flags(RECIPE, max_steps=STEPS, threads=2, quiet=True,
                                     deterministic=True, class_order="natural"))
    found = jobs.extract(made, out / "weights.safetensors")
    plain = jobs.plain(made, None, RECIPE, STEPS)
    far = distance(found, plain)
    if model.name in OTHER_SUMS:
        h.check(f"{model.name}: train.py beside the plain module", far, SUMS)
        return
    h.expect(f"{model.name}: train.py gives the plain module's bits", equal(found, plain), f"(distance {far:.1e})")
    model.found["train_py"] = True


def check(h, jobs, name, everything):
    jobs.package()
    model, known, path = Model(name), {}, None
    for exporter in BY_ONE.get(name, ("torchscript", "dynamo")):
        made = by_package(model, exporter, h.path(".onnx"))
        path = path or made
        check_file(h, model, made, f"{name}, {exporter}", known)
        if (name, exporter) not in BY_PACKAGE and (exporter == "torchscript" or everything):
            for fixed in FIXED[name in NO_ROW:]:
                made = by_hand(model, exporter, h.path(".onnx"), fixed)
                check_file(h, model, made, f"{name}, {exporter}, fixed batch of {fixed}", known)
    data = specs(jobs, model)
    check_bits(h, model, path, data)
    check_decoys(h, model, path, data)
    if (name in TRAIN_PY or everything) and len(model.inputs) == 1:
        check_train_py(h, jobs, model)
    return model.found


def check_recorded(h, jobs, name):
    """With all checks; what was found is kept for the page unless one fails."""
    record, failed = model_page.record(h.build, name), h.failed
    record.unlink(missing_ok=True)
    found = check(h, jobs, name, True)
    if h.failed == failed:
        record.parent.mkdir(exist_ok=True)
        record.write_text(json.dumps({**found, "torch": torch.__version__}))


def main(h):
    torch.set_num_threads(os.cpu_count())
    if "page" in h.only:
        model_page.write(h)
        return
    jobs = Jobs(h, SAMPLES, VAL)
    names, everything = set(h.only) - {"all"}, "all" in h.only
    for name in models.KINDS:
        left_out = name in HEAVY or name in more_models.KINDS and name not in IN_CI
        if not (name in names if names else everything or not left_out):
            continue
        if everything:
            check_recorded(h, jobs, name)
        else:
            check(h, jobs, name, False)


if __name__ == "__main__":
    harness.run(main)
