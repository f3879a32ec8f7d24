"""Obfuscated jobs, trained by train.py and extracted, before the plain modules trained alone
with the same recipe (plain_loop.py).

    python test_exact.py BUILD [all] [old] [case ...]

Every model of the zoo and the modules of modules.py, 20 steps of train.py --deterministic
--threads 2 with one decoy, in processes that can import nothing but torch:

  bits     parameters and buffers are the plain module's, bit for bit, on this PyTorch and,
           where $AMALGAM_OLD_PYTHON (python3 of /usr/bin if unset) has one, on PyTorch 1.13:
           the cases of OLD; with the argument "old" on that one alone, all that are asked for
  amalgam  amalgam-train trains the same job, dropout at 0, to the same parameters within 1e-4
           (relative L2 of all together), running statistics likewise; and by then training has
           changed them by ten times that limit or, in the zoo's networks with batch norm, by
           ten times the distance found
  mixed    the networks of MIXED once more, with symmetry=True, then rotate=True (SGD alone): the plain
           module's parameters
           within 1e-4. Not where Adam meets gradients that are nothing but rounding, as of
           the bias ahead of a batch norm (tabular: 6e-4)
  engine   amalgam verify of the networks of RANDOM: masks and noise of amalgam-train are the same
           alone and in the job
  drift    the networks whose running statistics hold 1e-4 for fewer than 20 steps: after 20,
           parameters still do, and the statistics are within three times what train.py is
           away from itself when every weight of the start is moved by one unit in its last
           place (one nudge at the start, where two programs round apart in every operation)

CI leaves out the networks of HEAVY, which take minutes each: "all", or their names.

Through batch norms over few values, and at ReLUs near zero, rounding grows with every step:
a start that is one last bit off takes PyTorch 2e-3 away from itself in 20 steps of resnet34.
So the zoo's networks with batch norm train at a small rate, which changes their weights by
less than 1e-3 in 20 steps, and the table says whose statistics hold 1e-4 for how many steps.

Clipping adds the norms of parameters in the order in which model.py registers them, that of
their first use. Modules that register theirs in another order (nn.TransformerEncoderLayer,
its norms last) may be clipped by a factor that differs in its last bit; no case here does.
"""

import os
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import safetensors.numpy

import harness
from jobs import Jobs, distance, equal, flags, lines, load

STEPS, NATIVE, DRIFTS = 20, 1e-4, 3
SAMPLES, VAL = 48, 8    # 12 steps an epoch: the second one begins on the way
SGD = {"batch": 4, "epochs": 2, "optimizer": "sgd", "lr": 1e-3, "momentum": 0.9,
       "weight_decay": 5e-4, "label_smoothing": 0.1, "schedule": "cosine", "seed": 5}
ADAMW = {"batch": 4, "epochs": 2, "optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-2,
         "clip": 0.5, "seed": 6}

# last: the layer whose rows order a zoo model's classes; None: a module of modules.py.
# steps: for how many amalgam-train is held to 1e-4, then to the drift. dropout: it has some,
# and goes without there.
Case = namedtuple("Case", "name last options steps dropout keep", defaults=(STEPS, False, False))
CASES = [
    Case("lenet", "fc3", {**SGD, "lr": 0.01}),
    Case("lenet", "fc3", {**SGD, "lr": 0.01}, keep=True),
    Case("mlp", "fc3", ADAMW),
    Case("resnet18", "fc", {**SGD, "lr": 1e-5}),
    Case("resnet34", "fc", {**SGD, "lr": 1e-5}, steps=3),
    Case("resnet50", "fc", {**SGD, "lr": 1e-6}, steps=2),
    Case("vgg16", "classifier.6", {**SGD, "lr": 2e-2}, dropout=True),
    Case("vgg16_bn", "classifier.6", {**SGD, "lr": 1e-4}, steps=8, dropout=True),
    Case("densenet121", "classifier", {**SGD, "lr": 1e-5}),
    Case("mobilenet_v2", "classifier.1", {**SGD, "lr": 1e-6}, steps=4, dropout=True),
    Case("unet", None, {**SGD, "lr": 0.01, "clip": 0.5}),
    Case("lstm", None, {**SGD, "lr": 0.05}),
    Case("token_lstm", None, {**SGD, "lr": 0.05}, dropout=True),
    Case("encoder_lm", None, {**SGD, "lr": 0.05}, dropout=True),
    Case("tied_gpt", None, {**SGD, "lr": 0.05}, dropout=True),
    Case("vit", None, {**SGD, "lr": 0.01}),
    Case("encoder_vit", None, {**SGD, "lr": 0.01}, dropout=True),
    Case("paths", None, {**SGD, "lr": 0.01}, dropout=True),
    Case("channels", None, {**SGD, "lr": 0.01}, dropout=True),
    Case("noisy", None, {**SGD, "lr": 0.01}, dropout=True),
    Case("tabular", None, {**SGD, "lr": 0.01, "clip": 0.5}, dropout=True),
    Case("functions", None, {**SGD, "lr": 0.02}),
    Case("autoencoder", None, {**SGD, "lr": 0.05}),
]
HEAVY = {"resnet34", "resnet50", "vgg16", "vgg16_bn", "densenet121", "mobilenet_v2"}
MIXED = {"vit": {"SGD": SGD, "AdamW": ADAMW}, "tabular": {"SGD": {**SGD, "lr": 0.01}}}
RANDOM = {"paths", "channels", "noisy"}
OLD = {"lenet", "unet", "lstm", "vit", "paths", "autoencoder"}


def make(jobs, case, dropout):
    if case.last:
        return jobs.zoo(case.name, case.keep, dropout)
    return jobs.module(case.name, 0.1 if dropout else 0.0)


def recipe_flags(case, steps, native=False):
    more = {"max_steps": steps, "threads": 2, "quiet": True}
    if not native:
        more["deterministic"] = True
        if case.keep or not case.last:
            more["class_order"] = "natural"
    return flags(case.options, **more)


def check_bits(h, jobs, case, title, python):
    """The output folder."""
    made = make(jobs, case, True)
    out = jobs.train(made.job, recipe_flags(case, STEPS), python=python)
    found = jobs.extract(made, out / "weights.safetensors")
    plain = jobs.plain(made, None if case.keep else case.last, case.options, STEPS, python)
    h.expect(f"{title}: the plain module's bits", equal(found, plain),
             f"(distance {distance(found, plain):.1e})")
    with safetensors.safe_open(out / "weights.safetensors", "np") as f:
        h.expect(f"{title}: weights' names and steps", f.metadata()["steps"] == str(STEPS) and
                 set(f.keys()) == set(load(made.job / "weights.safetensors")))
    return out


def split(state):
    """Parameters and running statistics; counters are neither."""
    def is_buffer(name):
        return name.endswith(("running_mean", "running_var"))
    real = {k: v for k, v in state.items() if v.dtype == np.float32}
    return ({k: v for k, v in real.items() if not is_buffer(k)},
            {k: v for k, v in real.items() if is_buffer(k)})


def last_bit(job):
    """A copy of a job whose weights start one unit in the last place off, up or down."""
    copy = job.with_name(job.name + ".drift")
    shutil.copytree(job, copy, ignore=shutil.ignore_patterns("out"))
    path, random = copy / "weights.safetensors", np.random.default_rng(1)
    ends = np.float32([-np.inf, np.inf])
    moved = {k: np.nextafter(v, random.choice(ends, v.shape))
             for k, v in load(path).items()}
    with safetensors.safe_open(path, "np") as f:
        safetensors.numpy.save_file(moved, path, f.metadata())
    return copy


def check_drift(h, jobs, case, title, made, out):
    """out: of train.py's 20 steps without dropout."""
    options = recipe_flags(case, STEPS)
    drifted = jobs.train(last_bit(made.job), options)
    h.program("amalgam-train", made.job, *recipe_flags(case, STEPS, native=True))
    ours, theirs, other = (split(jobs.extract(made, folder / "weights.safetensors"))
                           for folder in (made.job / "out", out, drifted))
    title = f"{title}: amalgam-train, {STEPS} steps"
    h.check(f"{title}, parameters", distance(ours[0], theirs[0]), NATIVE)
    drift = distance(other[1], theirs[1])
    h.check(f"{title}, buffers, drift", distance(ours[1], theirs[1]), DRIFTS * drift,
            f"({drift:.1e} by itself)")


def check_amalgam(h, jobs, case, title, out):
    """out: of train.py's 20 steps with dropout."""
    made = make(jobs, case, not case.dropout)
    if case.steps != STEPS:
        last = jobs.train(made.job, recipe_flags(case, STEPS)) if case.dropout else out
        check_drift(h, jobs, case, title, made, last)
    if case.dropout or case.steps != STEPS:
        out = jobs.train(made.job, recipe_flags(case, case.steps))
    h.program("amalgam-train", made.job, *recipe_flags(case, case.steps, native=True))
    ours, theirs = (jobs.extract(made, folder / "weights.safetensors")
                    for folder in (made.job / "out", out))
    initial = load(made.recipe["weights"])
    before = split({k: initial[k] for k in theirs})
    title = f"{title}: amalgam-train, {case.steps} steps"
    for what, a, b, c in zip(("parameters", "buffers"), split(ours), split(theirs), before):
        if a:
            found = distance(a, b)
            h.check(f"{title}, {what}", found, NATIVE)
            normed = case.last and before[1]
            h.above(f"{title}, {what} before training", distance(b, c),
                    10 * (found if normed else NATIVE))
    for a, b in zip(lines(out), lines(made.job / "out")):
        h.expect(f"{title}, metrics of step {a['step']}",
                 [*a] == [*b] and [[*x] for x in a["heads"]] == [[*x] for x in b["heads"]] and
                 np.allclose([x["loss"] for x in a["heads"]], [x["loss"] for x in b["heads"]],
                             rtol=1e-4) and np.isclose(a["lr"], b["lr"], rtol=1e-8))


def check_engine(h, jobs, case, title):
    """Masks and noise of amalgam-train: in the job those of the network alone."""
    made = make(jobs, case, True)
    found = h.run_program("amalgam", "verify", "--key", made.key, "--job", made.job, "--steps", 4, "--batch", 4)
    h.expect(f"{title}: amalgam verify", found.returncode == 0, found.stderr[-300:])


def check_refused(h, jobs, title, made, options, words):
    process = jobs.start(made.job, [*options, "--batch", "4"])
    _, errors = process.communicate()
    h.expect(title, process.returncode == 1 and words in errors.replace("\n", " "), errors[-300:])


def check_mixed(h, jobs, case, how):
    """A job whose values are mixed: rounding apart, the plain module's parameters."""
    made = jobs.module(case.name, 0.0, symmetry="rotate" if how == "rotated" else True)
    for optimizer, options in MIXED[case.name].items():
        if how == "rotated" and optimizer != "SGD":
            check_refused(h, jobs, f"{case.name}, values rotated: {optimizer} is refused", made,
                          ["--optimizer", optimizer.lower()], "only SGD trains them")
            continue
        mixed = case._replace(options=options)
        out = jobs.train(made.job, recipe_flags(mixed, STEPS))
        found = split(jobs.extract(made, out / "weights.safetensors"))[0]
        plain = split(jobs.plain(made, case.last, options, STEPS, sys.executable))[0]
        initial = split(load(made.recipe["weights"]))[0]
        title = f"{case.name}, values {how}, {optimizer}: the plain module's parameters"
        h.check(title, distance(found, plain), NATIVE)
        h.above(f"{title} before training", distance(plain, initial), 10 * NATIVE)
    check_refused(h, jobs, f"{case.name}, values {how}: --augment is refused", made,
                  ["--augment", "crop4"], "no neighbours to crop or mirror")


def old_python():
    for python in (os.environ.get("AMALGAM_OLD_PYTHON"), "/usr/bin/python3"):
        found = python and subprocess.run([python, "-c", "import torch; print(torch.__version__)"],
                                          capture_output=True, text=True).stdout
        if found and found.startswith("1."):
            return python
    return None


def main(h):
    jobs, old = Jobs(h, SAMPLES, VAL), old_python()
    all_old = "old" in h.only
    names = set(h.only) - {"all", "old"}
    for case in CASES:
        if case.name not in names if names else case.name in HEAVY and "all" not in h.only:
            continue
        title = case.name + (", natural classes" if case.keep else "")
        if not all_old:
            out = check_bits(h, jobs, case, title, sys.executable)
            if not case.keep:
                check_amalgam(h, jobs, case, title, out)
            if case.name in RANDOM:
                check_engine(h, jobs, case, title)
            if case.name in MIXED:
                check_mixed(h, jobs, case, "mixed")
                check_mixed(h, jobs, case, "rotated")
        if old and (all_old or case.name in OLD and not case.keep):
            check_bits(h, jobs, case, f"{title}, PyTorch 1.13", old)


if __name__ == "__main__":
    harness.run(main)
