"""What is trained, and for what, where a user of PyTorch chooses it: frozen parameters, losses
and class weights. Jobs of a small network with batch norm, trained by train.py --deterministic and by amalgam-train, beside a
plain PyTorch loop over the module.

    python test_tuning.py BUILD [case ...]

freeze   requires_grad=False and freeze=...; running statistics that go on, and that stay:
         train.py's bits are the plain loop's, amalgam-train's parameters within 1e-4 of them
augment  crops and mirroring: amalgam-train's weights are train.py's within 1e-4, with micro-batches
         too; without them they are farther away
losses   l1, huber, smooth_l1, several labels (bce), class weights: likewise
outputs  a class, a map of classes, a box and labels from one trunk, their losses summed: likewise
"""

import fnmatch
import warnings

import numpy as np
import onnx
import torch
from torch import nn

import harness
from jobs import Jobs, distance, equal, flags, import_script, lines, load
from test_exact import old_python

SAMPLES, STEPS, NATIVE = 64, 16, 1e-4
SGD = {"batch": 8, "epochs": 2, "optimizer": "sgd", "lr": 0.02, "momentum": 0.9,
       "weight_decay": 5e-4, "clip": 0.5, "seed": 5}


class Net(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8 * 2 * 2, outputs)

    def forward(self, x):
        return self.head(self.second(self.first(x)).flatten(1))


def build(outputs):
    torch.manual_seed(3)
    return Net(outputs)


def images(count, seed):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 1, 12, 12),
                                                                 dtype=np.uint8))


def plain(train, net, x, loss, frozen=(), keep_stats=False):
    """The state after STEPS steps of a loop as a user writes it. loss(output, rows) of a batch."""
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    for name, p in net.named_parameters():
        p.requires_grad_(not any(fnmatch.fnmatch(name, pattern) for pattern in frozen))
    trained = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, SGD["lr"], SGD["momentum"],
                                weight_decay=SGD["weight_decay"])
    net.train()
    for m in net.modules():
        if keep_stats and isinstance(m, nn.BatchNorm2d) and not m.weight.requires_grad:
            m.eval()
    batch, per_epoch = SGD["batch"], len(x) // SGD["batch"]
    for step in range(STEPS):
        epoch, place = divmod(step, per_epoch)
        order = train.epoch_order(SGD["seed"], epoch, len(x))
        rows = order[place * batch:(place + 1) * batch]
        torch.manual_seed(train.step_seed(SGD["seed"], step))
        optimizer.zero_grad()
        loss(net(x[rows].float() * (1 / 255)), rows).backward()
        torch.nn.utils.clip_grad_norm_(trained, SGD["clip"])
        optimizer.step()
    return {k: v.numpy() for k, v in net.state_dict().items()}


def floats(state):
    return {k: v for k, v in state.items() if v.dtype == np.float32}


class Tried:
    """One job, trained by both trainers."""

    def __init__(self, h, jobs, net, data, cover, training=None, **options):
        self.h, self.package = h, jobs.package()
        self.job, self.key = h.path(".job"), h.path(".key")
        self.package.obfuscate(net, data, decoys_from=cover, key=self.key, out=self.job, decoys=1,
                               keep_classes=True, progress=False, **options)
        more = self.options(training or {})
        self.out = jobs.train(self.job, [*more, *flags({}, deterministic=True,
                                                       class_order="natural")])
        h.program("amalgam-train", self.job, *more)

    @staticmethod
    def options(more):
        return flags(SGD, max_steps=STEPS, threads=2, quiet=True, **more)

    def state(self, folder):
        state = self.package.extract(self.key, folder / "weights.safetensors")
        return {k: v.numpy() for k, v in state.items()}

    def compare(self, title, expected, start):
        h, found = self.h, self.state(self.out)
        h.expect(f"{title}: the plain loop's bits", equal(found, expected),
                 f"(distance {distance(floats(found), floats(expected)):.1e})")
        native = floats(self.state(self.job / "out"))
        h.check(f"{title}: amalgam-train", distance(native, floats(expected)), NATIVE)
        h.above(f"{title}: before training", distance(floats(start), floats(expected)),
                10 * NATIVE)
        return found, native


def check_freeze(h, jobs, train):
    x, y = images(SAMPLES, 1), torch.arange(SAMPLES) % 4
    cover = (images(SAMPLES, 2), torch.arange(SAMPLES) % 4)

    def loss(output, rows):
        return nn.functional.cross_entropy(output, y[rows])

    for title, frozen, keep in (("first layers frozen", ("first.*",), False),
                                ("layers between frozen", ("second.*",), False),
                                ("statistics of the first frozen", ("first.*",), True),
                                ("statistics between frozen", ("second.*", "head.bias"), True)):
        net = build(4)
        start = {k: v.clone().numpy() for k, v in net.state_dict().items()}
        net.get_parameter("head.bias").requires_grad_("head.bias" not in frozen)
        tried = Tried(h, jobs, net, (x, y), cover, freeze_norm_stats=keep,
                      freeze=[f for f in frozen if f != "head.bias"])
        expected = plain(train, build(4), x, loss, frozen, keep)
        for state in tried.compare(title, expected, start):
            stays = {k for k in floats(start) if np.array_equal(start[k], state[k])}
            wanted = {k for k in floats(start) if any(fnmatch.fnmatch(k, f) for f in frozen) and
                      (keep or "running" not in k)}
            h.expect(f"{title}: those stay, and no others", stays == wanted, stays ^ wanted or "")


def check_losses(h, jobs, train):
    rng, classes = np.random.default_rng(4), 4
    x, cover_x = images(SAMPLES, 1), images(SAMPLES, 2)

    def numbers(which):
        y = rng.normal(size=(2, SAMPLES, classes)).astype(np.float32)[which]
        return torch.from_numpy(y)

    labels = [(numbers(i) > 0.3).float() for i in (0, 1)]
    rare = [torch.from_numpy(rng.choice(classes, SAMPLES, p=(0.1, 0.2, 0.3, 0.4)))
            for _ in (0, 1)]
    weights = torch.tensor([3, 0.5, 1, 0.25])
    even = SAMPLES / (classes * rare[0].bincount(minlength=classes).double())
    targets, functional = numbers(0), nn.functional
    for title, y, cover_y, loss, options in (
            ("l1", targets, numbers(1), functional.l1_loss, {"loss": "l1"}),
            ("huber", targets, numbers(1), nn.HuberLoss(delta=0.25), {"loss": "huber:0.25"}),
            ("smooth_l1", targets, numbers(1), functional.smooth_l1_loss, {"loss": "smooth_l1"}),
            ("several labels", labels[0], labels[1], functional.binary_cross_entropy_with_logits,
             {"task": "multi_label"}),
            ("class weights", rare[0], rare[1], nn.CrossEntropyLoss(weights),
             {"class_weights": weights.tolist()}),
            ("balanced classes", rare[0], rare[1], nn.CrossEntropyLoss(even.float()),
             {"class_weights": "balanced"})):
        net = build(classes)
        start = {k: v.clone().numpy() for k, v in net.state_dict().items()}
        tried = Tried(h, jobs, net, (x, y), (cover_x, cover_y), **options)
        expected = plain(train, build(classes), x, lambda out, rows: loss(out, y[rows]))
        tried.compare(title, expected, start)
        for a, b in zip(lines(tried.out), lines(tried.job / "out")):
            h.expect(f"{title}: metrics of step {a['step']}",
                     [[*v] for v in a["heads"]] == [[*v] for v in b["heads"]] and
                     all(np.allclose([*v.values()], [*w.values()], rtol=1e-4)
                         for v, w in zip(a["heads"], b["heads"])))


class Heads(Net):
    """Four outputs of a trunk, one of them a map."""

    def __init__(self):
        super().__init__(4)
        self.map = nn.Conv2d(6, 3, 1)
        self.box, self.labels = nn.Linear(8 * 2 * 2, 6), nn.Linear(8 * 2 * 2, 5)

    def forward(self, x):
        wide = self.first(x)
        row = self.second(wide).flatten(1)
        return self.head(row), self.map(wide), self.box(row).view(-1, 2, 3), self.labels(row)


def export(net, x, path, outputs):
    """As anybody would; but tracing moves running statistics, which stay here."""
    before = {k: v.clone().numpy() for k, v in net.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (x,), path, input_names=["x"], output_names=outputs, dynamo=False,
                          training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False,
                          dynamic_axes={k: {0: "N"} for k in ["x", *outputs]})
    made = onnx.load(path)
    for t in made.graph.initializer:
        if t.name in before:
            t.CopyFrom(onnx.numpy_helper.from_array(before[t.name], t.name))
    onnx.save(made, path)


class TriedFile(Tried):
    """The same of an ONNX file and arrays, by the programs. data and so on: x, then targets."""

    def __init__(self, h, jobs, net, data, cover, val, val_cover, loss):
        self.h, self.job, self.key = h, h.path(".job"), h.path(".key")
        self.model = h.path(".onnx")
        export(net, data[0][:2].float(), self.model, ["class", "map", "box", "labels"])
        train, pool, val, val_pool = (
            ",".join((str(files[0]), "+".join(map(str, files[1:]))))
            for files in (jobs.store(*(a.numpy() for a in arrays))
                          for arrays in (data, cover, val, val_cover)))
        h.program("amalgam", "obfuscate", "--model", self.model, "--train", train, "--decoys-from",
                  pool, "--val", val, "--val-decoys-from", val_pool, "--decoys", 1, "--loss", loss,
                  "--key", self.key, "--quiet", "-o", self.job)
        more = self.options({"label_smoothing": 0.1})
        self.out = jobs.train(self.job, [*more, *flags({}, deterministic=True)])
        h.program("amalgam-train", self.job, *more)

    def state(self, folder):
        onnx, tensors = self.h.path(".onnx"), self.h.path(".safetensors")
        self.h.program("amalgam", "extract", "--key", self.key, "--weights",
                       folder / "weights.safetensors", "-o", onnx, "--safetensors", tensors)
        return load(tensors)


def check_outputs(h, jobs, train):
    rng, functional = np.random.default_rng(6), nn.functional

    def draw(seed):
        return (images(SAMPLES, seed), torch.from_numpy(rng.integers(0, 4, SAMPLES)),
                torch.from_numpy(rng.integers(0, 3, (SAMPLES, 5, 5))),
                torch.from_numpy(rng.normal(size=(SAMPLES, 2, 3)).astype(np.float32)),
                torch.from_numpy(rng.integers(0, 2, (SAMPLES, 5)).astype(np.uint8)))

    def make():
        torch.manual_seed(3)
        return Heads()

    def loss(output, rows):
        a, b, c, d = output
        return (functional.cross_entropy(a, data[1][rows], label_smoothing=0.1)
                + 0.25 * functional.cross_entropy(b, data[2][rows], label_smoothing=0.1)
                + 0.5 * functional.huber_loss(c, data[3][rows], delta=0.75)
                + 2 * functional.binary_cross_entropy_with_logits(d, data[4][rows].float()))

    data, cover, val, val_cover = draw(1), draw(2), draw(3), draw(4)
    start = {k: v.clone().numpy() for k, v in make().state_dict().items()}
    start = {k: v for k, v in start.items() if "num_batches" not in k}
    tried = TriedFile(h, jobs, make(), data, cover, val, val_cover,
                      "cross_entropy+0.25*cross_entropy+0.5*huber:0.75+2*bce")
    expected = plain(train, make(), data[0], loss)
    tried.compare("four outputs", {k: v for k, v in expected.items() if k in start}, start)
    for a, b in zip(lines(tried.out), lines(tried.job / "out")):
        h.expect(f"four outputs: metrics of step {a['step']}",
                 [[*v] for v in a["heads"]] == [[*v] for v in b["heads"]] and
                 all(np.allclose([*v.values()], [*w.values()], rtol=1e-4)
                     for v, w in zip(a["heads"], b["heads"])))
    old = old_python()
    if old:
        out = jobs.train(tried.job, [*tried.options({"label_smoothing": 0.1}),
                                     *flags({}, deterministic=True)], python=old)
        h.check("four outputs: train.py, PyTorch 1.13", distance(tried.state(out), {
            k: v for k, v in expected.items() if k in start}), NATIVE)
    last = lines(tried.out)[-1]["heads"]
    weights = (1, 0.25, 0.5, 2)
    h.expect("four outputs: the loss is the sum of its parts", all(
        np.isclose(v["val_loss"], sum(w * v[f"val_{i}_loss"] for i, w in enumerate(weights)))
        and [k for k in v if k.endswith("top1")] == [f"val_{i}_top1" for i in (0, 1, 3)]
        for v in last))


def check_augment(h, jobs, train):
    x, y = images(SAMPLES, 1), torch.arange(SAMPLES) % 4
    cover = (images(SAMPLES, 2), torch.arange(SAMPLES) % 4)
    for kinds, more in (("crop4,hflip", {}), ("crop4", {}), ("hflip", {"accumulate": 2})):
        title = f"augment {kinds}" + "".join(f", {k} {v}" for k, v in more.items())
        tried = Tried(h, jobs, build(4), (x, y), cover, training={"augment": kinds, **more})
        ours, theirs = (floats(tried.state(folder)) for folder in (tried.job / "out", tried.out))
        h.check(f"{title}: amalgam-train", distance(ours, theirs), NATIVE)
        h.program("amalgam-train", tried.job, *tried.options({**more}))
        h.above(f"{title}: without it", distance(floats(tried.state(tried.job / "out")), theirs),
                10 * NATIVE)


CASES = {"augment": check_augment, "freeze": check_freeze, "losses": check_losses,
         "outputs": check_outputs}


def main(h):
    jobs, train = Jobs(h, 4, 2), import_script()
    for name, check in CASES.items():
        if h.wants(name):
            check(h, jobs, train)


if __name__ == "__main__":
    harness.run(main)
