"""Networks for text of the zoo: the engine and train.py before their PyTorch twins.

    python test_text.py BUILD [old] [case ...]

losses   the engine trains each model as it is (amalgam train), dropout at 0, with AdamW,
         clipping, a warm-up and a cosine: 20 losses, each the mean of an epoch of two steps,
         are within 1e-4 of those of the twin in a plain PyTorch loop
bits     a job made with --keep-classes --keep-tokens, trained by train.py --deterministic for
         20 steps of that recipe with dropout, and extracted, is the twin's bits; on this
         PyTorch and, where $AMALGAM_OLD_PYTHON (python3 of /usr/bin if unset) has one, on 1.13
permuted a job whose vocabulary and classes are renumbered, trained by train.py with SGD:
         extracted, within 1e-5 of the twin (relative L2 of all parameters), and no table of
         the job is the model's
amalgam  amalgam-train trains that job, dropout at 0, to train.py's parameters within 1e-4; by
         then training has changed them by ten times that

padding  windows of which some are mostly padding, which does not count: train.py in parts
         (--accumulate 4) and in two processes changes the weights as the whole batch does,
         within 1e-4 (relative L2), and so does amalgam-train

All but losses and bits are with SGD: a bias of attention's keys changes no output, its gradient is
rounding noise, and Adam would blow that up to whole steps.
"""

import json
import sys

import numpy as np

import harness
from jobs import Jobs, distance, equal, flags, load, texts
from test_exact import old_python
from test_train import torchrun

STEPS, EPOCHS, LOSSES, PERMUTED, NATIVE = 20, 20, 1e-4, 1e-5, 1e-4
SAMPLES, VAL = 32, 8
ADAMW = {"batch": 8, "epochs": 10, "optimizer": "adamw", "lr": 2e-3, "weight_decay": 1e-2,
         "clip": 0.5, "schedule": "cosine", "warmup": 5, "seed": 6}
SGD = {"batch": 8, "epochs": 10, "optimizer": "sgd", "lr": 0.1, "momentum": 0.9,
       "schedule": "cosine", "warmup": 5, "seed": 6}

LM = {"vocab": 60, "seq": 12, "d_model": 16}
DOCUMENTS = {"vocab": 60, "seq": 14, "d_model": 12, "pad": 1}
# twin, options of `amalgam zoo` and twins.build_text, classes (0: a language model)
MODELS = {
    "transformer_lm": ("samples_first_lm", {**LM, "layers": 2, "heads": 2, "hidden": 24}, 0),
    "gpt": ("gpt", {**LM, "layers": 2, "heads": 2, "hidden": 32}, 0),
    "text_cnn": ("text_cnn", {**DOCUMENTS, "hidden": 8}, 4),
    "embedding_bag": ("embedding_bag", DOCUMENTS, 4),
    "lstm": ("lstm", {**DOCUMENTS, "hidden": 10}, 4),
}


def without_tied(state, names):
    """The twin lists a tied parameter twice, a graph once."""
    return {k: v for k, v in state.items() if k in names or k != "lm_head.weight"}


def check_losses(h, jobs, name):
    """An epoch is two steps, so that metrics.jsonl has a line for each two."""
    few = Jobs(h, 2 * ADAMW["batch"], VAL)
    made = few.text(name, *MODELS[name], dropout=False, keep=True)
    options = {**ADAMW, "epochs": EPOCHS + 1}
    steps, trained, losses = 2 * EPOCHS, h.path(".onnx"), h.path(".json")
    data = ",".join(made.recipe[k]["path"] for k in "xy" if made.recipe[k])
    h.program("amalgam", "train", "--model", made.model, "--train", data, "--task",
              "classify" if MODELS[name][2] else "lm", "-o", trained,
              *flags(options, max_steps=steps, threads=2, quiet=True))
    lines = (trained.parent / f"{trained.name}.run" / "metrics.jsonl").read_text().splitlines()
    found = [e["heads"][0]["loss"] for e in map(json.loads, lines) if e.get("end_of_epoch")]
    made.recipe["losses"] = str(losses)
    few.plain(made, None, options, steps)
    expected = np.array(json.loads(losses.read_text())).reshape(EPOCHS, 2).mean(1)
    worst = np.abs(np.array(found) / expected - 1).max() if len(found) == EPOCHS else np.inf
    h.check(f"{name}: {EPOCHS} losses", worst, LOSSES, f"({expected[0]:.4f} .. {expected[-1]:.4f})")
    h.expect(f"{name}: it has learned something", expected[-1] < 0.98 * expected[0])


def check_bits(h, jobs, name, title, python):
    made = jobs.text(name, *MODELS[name], dropout=True, keep=True)
    options = flags(ADAMW, max_steps=STEPS, threads=2, quiet=True, deterministic=True,
                    class_order="natural")
    out = jobs.train(made.job, options, python=python)
    found = jobs.extract(made, out / "weights.safetensors")
    plain = without_tied(jobs.plain(made, None, ADAMW, STEPS, python), found)
    h.expect(f"{title}: the twin's bits", equal(found, plain),
             f"(distance {distance(found, plain):.1e})")
    before = load(made.recipe["weights"])
    h.above(f"{title}: what training changed", distance(found, {k: before[k] for k in found}),
            10 * NATIVE)


def check_permuted(h, jobs, name):
    made = jobs.text(name, *MODELS[name], dropout=True, keep=False)
    options = flags(SGD, max_steps=STEPS, threads=2, quiet=True, deterministic=True)
    out = jobs.train(made.job, options)
    found = jobs.extract(made, out / "weights.safetensors")
    plain = without_tied(jobs.plain(made, None, SGD, STEPS), found)
    h.check(f"{name}: renumbered tokens, the twin", distance(found, plain), PERMUTED)
    vocab = MODELS[name][1]["vocab"]
    tables = [t for t in load(made.job / "weights.safetensors").values() if len(t) == vocab]
    own = [t for t in load(made.recipe["weights"]).values() if t.shape and len(t) == vocab]
    h.expect(f"{name}: no table of the job is the model's", tables and not any(
        np.array_equal(a, b) for a in tables for b in own if b.ndim == 2))


def check_amalgam(h, jobs, name):
    made = jobs.text(name, *MODELS[name], dropout=False, keep=False)
    options = flags(SGD, max_steps=STEPS, threads=2, quiet=True)
    out = jobs.train(made.job, [*options, "--deterministic"])
    h.program("amalgam-train", made.job, *options)
    ours, theirs = (jobs.extract(made, folder / "weights.safetensors")
                    for folder in (made.job / "out", out))
    before = load(made.recipe["weights"])
    h.check(f"{name}: amalgam-train", distance(ours, theirs), NATIVE)
    h.above(f"{name}: amalgam-train, what training changed",
            distance(theirs, {k: before[k] for k in theirs}), 10 * NATIVE)


def check_padding(h, jobs):
    pad, job, onnx = 7, h.path(".job"), h.path(".onnx")
    h.program("amalgam", "zoo", "gpt", "--seed", 7, "--dropout", 0, "-o", onnx,
              *flags(MODELS["gpt"][1]))
    own, cover = (texts(LM["vocab"], LM["seq"], count, seed)[0]
                  for count, seed in ((SAMPLES, 0), (2 * SAMPLES, 1)))
    own[::3, 3:] = pad
    jobs.package().obfuscate(onnx, own, decoys_from=cover, task="lm", pad=pad, out=job,
                             key=h.path(".key"), progress=False)
    options = flags(SGD, max_steps=8, threads=1, quiet=True)
    initial, whole = (load(folder / "weights.safetensors") for folder in
                      (job, jobs.train(job, options)))
    for title, more, launcher in (("parts", ["--accumulate", "4"], ()),
                                  ("processes", [], torchrun())):
        found = load(jobs.train(job, [*options, *more], launcher=launcher) / "weights.safetensors")
        h.check(f"padding: {title}, updates", distance(found, whole, initial), NATIVE)
    h.program("amalgam-train", job, *options)
    h.check("padding: amalgam-train, updates", distance(
        load(job / "out" / "weights.safetensors"), whole, initial), NATIVE)


def main(h):
    jobs, old = Jobs(h, SAMPLES, VAL), old_python()
    all_old = "old" in h.only
    names = set(h.only) - {"old"}
    for name in MODELS:
        if names and name not in names:  # "padding" is no model
            continue
        if not all_old:
            check_losses(h, jobs, name)
            check_bits(h, jobs, name, name, sys.executable)
            check_permuted(h, jobs, name)
            check_amalgam(h, jobs, name)
        if old:
            check_bits(h, jobs, name, f"{name}, PyTorch 1.13", old)
    if not names - {"padding"} and not all_old:
        check_padding(h, jobs)


if __name__ == "__main__":
    harness.run(main)
