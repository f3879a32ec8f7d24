"""What is trained, and for what, where a user of PyTorch chooses it: frozen parameters, losses
and class weights. Jobs of a small network with batch norm, trained by train.py --deterministic and by amalgam-train, beside a
plain PyTorch loop over the module.

    python test_tuning.py BUILD [case ...]

freeze   requires_grad=False and freeze=...; running statistics that go on, and that stay:
         train.py's bits are the plain loop's, amalgam-train's parameters within 1e-4 of them
augment  crops and mirroring: amalgam-train's weights are train.py's within 1e-4, with micro-batches
         too; without them they are farther away
losses   l1, huber, smooth_l1, several labels (bce), class weights: likewise
"""

import fnmatch

import numpy as np
import torch
from torch import nn

import harness
from jobs import Jobs, distance, equal, flags, import_script, lines

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


CASES = {"augment": check_augment, "freeze": check_freeze, "losses": check_losses}


def main(h):
    jobs, train = Jobs(h, 4, 2), import_script()
    for name, check in CASES.items():
        if h.wants(name):
            check(h, jobs, train)


if __name__ == "__main__":
    harness.run(main)
