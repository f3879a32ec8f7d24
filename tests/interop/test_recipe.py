"""Every recipe of train.py before a plain PyTorch loop that uses torch.optim itself
(plain_loop.py), and before amalgam-train.

    python test_recipe.py BUILD [case ...]

  bits     a job trained by train.py --deterministic and extracted has the plain module's bits,
           on this PyTorch and on 1.13 where there is one
  resume   stopped on the way and resumed, train.py ends with the same bits
  amalgam  amalgam-train's weights are within 1e-4 of them (relative L2); and by then training
           has changed the weights by ten times that limit
"""

import sys

import safetensors

import harness
from jobs import Jobs, distance, equal, flags, load
from test_exact import old_python

SAMPLES, VAL, STEPS, NATIVE = 96, 20, 20, 1e-4
COMMON = {"batch": 8, "epochs": 2, "seed": 5}
MOMENTUM = {"optimizer": "sgd", "lr": 0.01, "momentum": 0.9}
RECIPES = {
    "accumulate": {**MOMENTUM, "accumulate": 4, "clip": 0.5, "weight_decay": 1e-2},
    "linear": {**MOMENTUM, "schedule": "linear", "warmup": 3},
    "one-cycle": {**MOMENTUM, "schedule": "one-cycle"},
    "plateau": {**MOMENTUM, "lr": 0.05, "schedule": "plateau", "epochs": 6,
                "plateau_patience": 0, "plateau_factor": 0.3, "steps": 60},
    "ema": {**MOMENTUM, "ema": 0.9},
    "best": {**MOMENTUM, "lr": 0.05, "epochs": 6, "best": True, "steps": 72},
    "early-stop": {**MOMENTUM, "lr": 0.05, "epochs": 6, "early_stop": 1, "steps": 72},
    "all of them": {**MOMENTUM, "lr": 0.1, "epochs": 8, "accumulate": 2, "clip": 0.5,
                    "schedule": "plateau", "plateau_patience": 0, "plateau_factor": 0.5,
                    "ema": 0.8, "best": True, "early_stop": 2, "steps": 96},
    "adam": {"optimizer": "adam", "lr": 1e-3, "weight_decay": 1e-2},
    "rmsprop": {"optimizer": "rmsprop", "lr": 1e-4, "alpha": 0.9, "epsilon": 1e-4,
                "weight_decay": 1e-2},
    "rmsprop, centered, momentum": {"optimizer": "rmsprop", "lr": 1e-5, "momentum": 0.8,
                                    "centered": True, "epsilon": 1e-4, "clip": 0.5},
    "adagrad": {"optimizer": "adagrad", "lr": 1e-2, "lr_decay": 0.1,
                "initial_accumulator": 0.1, "epsilon": 1e-6},
    "lion": {"optimizer": "lion", "lr": 1e-4, "weight_decay": 0.1},
}


def stopped_and_resumed(h, jobs, job, options, steps):
    out = h.path(".out")
    for more in (["--max-steps", str(steps // 2)], ["--max-steps", str(steps), "--resume"]):
        process = jobs.start(job, [*options, "--out", str(out), *more])
        _, errors = process.communicate()
        if process.returncode:
            raise RuntimeError(errors)
    return load(out / "weights.safetensors")


def check(h, jobs, title, recipe, old):
    made, recipe = jobs.zoo("lenet"), {**COMMON, **recipe}
    count = recipe.pop("steps", STEPS)
    options = flags(recipe, threads=2, quiet=True)
    exact, steps = [*options, "--deterministic"], ["--max-steps", str(count)]
    for python in (old, sys.executable) if old else (sys.executable,):
        out = jobs.train(made.job, [*exact, *steps], python=python)
        found = jobs.extract(made, out / "weights.safetensors")
        plain = jobs.plain(made, "fc3", recipe, count, python)
        h.expect(f"{title}: the plain module's bits{', PyTorch 1.13' * (python == old)}",
                 equal(found, plain), f"(distance {distance(found, plain):.1e})")
    trained = load(out / "weights.safetensors")
    if "early_stop" in recipe or "best" in recipe:
        with safetensors.safe_open(out / "weights.safetensors", "np") as f:
            counts = {int(v) for k, v in f.metadata().items() if k.startswith("steps")}
        h.expect(f"{title}: not the last steps' weights {counts}",
                 min(counts) < count * recipe.get("accumulate", 1))
    h.expect(f"{title}: resumed, the same bits",
             equal(stopped_and_resumed(h, jobs, made.job, exact, count), trained))
    h.program("amalgam-train", made.job, *options, *steps)
    ours = load(made.job / "out" / "weights.safetensors")
    h.check(f"{title}: amalgam-train", distance(ours, trained), NATIVE)
    h.above(f"{title}: before training", distance(load(made.job / "weights.safetensors"), trained),
            10 * NATIVE)


def main(h):
    jobs, old = Jobs(h, SAMPLES, VAL), old_python()
    for title, recipe in RECIPES.items():
        if h.wants(title):
            check(h, jobs, title, recipe, old)


if __name__ == "__main__":
    harness.run(main)
