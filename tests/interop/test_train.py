"""train.py before published numbers, amalgam-train, signals and broken files; test_exact.py
compares its bits with a plain PyTorch loop.

    python test_train.py BUILD [case ...]

alone    in a folder of its own, with torch and nothing else to import, same bits
random   Philox against the published vectors; the batch order's rejected draws
mse      regression and an autoencoder: within 1e-4 of amalgam-train
resume   SIGKILL and SIGTERM at any step, --resume: the bits of the uninterrupted run
world    two processes (gloo) with synchronised batch norm: what changed in all weights is
         within 1e-4 (relative L2) of one process; one of them killed: restarted by torchrun
wrapped  DDP, FSDP (both) and torch.compile (one graph) around a network of model.py: the losses
         of three steps are its own
options  accumulation, augmentation, bf16, threads: each does what it says
errors   one clear line, exit 1, nothing left behind
"""

import ast
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

import harness
from jobs import Jobs, distance, equal, flags, import_script, lines, load

SAMPLES, VAL = 96, 20
NATIVE, WORLD = 1e-4, 1e-4
SGD = {"batch": 8, "epochs": 2, "optimizer": "sgd", "lr": 1e-3, "momentum": 0.9,
       "weight_decay": 5e-4, "label_smoothing": 0.1, "schedule": "cosine", "seed": 5}
ADAMW = {"batch": 8, "epochs": 2, "optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-2,
         "clip": 0.5, "seed": 6}


def check_random(h):
    """Salmon et al. (SC 2011), kat_vectors: philox4x32 10."""
    train, ones = import_script(), 0xFFFFFFFF
    for seed, counter, expected in (
            (0, (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
            (2**64 - 1, (ones,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
            (0x299F31D0A4093822, (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
             (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1))):
        found = tuple(int(w) for w in train.philox(seed, counter))
        h.expect(f"random: Philox at {counter[0]:#x}", found == expected)

    # Small draws fall into the incomplete copy of [0, bound): 2^64 mod bound of them.
    stream = [0, 1, 0, 5, 0, 2, 0, 0, 9, 9, 0, 0, 3, *range(7, 200)]

    def draw(_, __, first, count):
        low = torch.tensor(stream[first:first + count])
        return torch.zeros_like(low), low

    expected, left, rejected = [0] * 12, iter(stream), 0
    for i in range(12):
        value = next(left)
        while value < 2**64 % (i + 1):
            value, rejected = next(left), rejected + 1
        expected[i] = expected[value % (i + 1)]
        expected[value % (i + 1)] = i
    h.expect("random: rejected draws are drawn again",
             rejected > 2 and train.epoch_order(0, 0, 12, draw).tolist() == expected)
    order = train.epoch_order(3, 1, 1001)
    h.expect("random: an order is a permutation, another for each epoch",
             sorted(order.tolist()) == list(range(1001)) and
             order.tolist() != train.epoch_order(3, 2, 1001).tolist())


def imported(path):
    """The packages that a script's import statements name, wherever they stand."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name.partition(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.partition(".")[0] if not node.level else ".")
    return found


def check_alone(h, jobs):
    job, *_ = jobs.zoo("lenet")
    options = flags(SGD, max_steps=6, deterministic=True, threads=1, quiet=True)
    expected = load(jobs.train(job, options) / "weights.safetensors")
    names = imported(job / "train.py") | imported(job / "model.py")
    h.expect("alone: its scripts import the standard library and torch", "torch" in names and
             names - {"torch"} <= sys.stdlib_module_names,
             " ".join(names - {"torch"} - sys.stdlib_module_names))
    with tempfile.TemporaryDirectory(prefix="amalgam-alone-") as folder:
        moved = pathlib.Path(folder) / "job"
        shutil.copytree(job, moved, ignore=shutil.ignore_patterns("out"))
        probe = moved / "probe.py"      # what PYTHONPATH hides, seen from where train.py runs
        probe.write_text("import importlib\nfor n in ('numpy', 'safetensors', 'onnx', "
                         "'onnxruntime', 'amalgam'):\n    try: importlib.import_module(n)\n"
                         "    except ImportError: continue\n    print(n)\n")
        seen = subprocess.run([sys.executable, probe.name], cwd=moved, env=jobs.environment(),
                              capture_output=True, text=True)
        h.expect("alone: nothing else can be imported", seen.returncode == 0 and
                 seen.stdout == "", seen.stdout + seen.stderr)
        probe.unlink()
        before = {p.relative_to(moved): p.read_bytes() for p in moved.rglob("*") if p.is_file()}
        done = subprocess.run([sys.executable, "train.py", *options], cwd=moved,
                              env=jobs.environment(), capture_output=True, text=True)
        h.expect("alone: trained in a folder of its own, the same bits", done.returncode == 0
                 and equal(load(moved / "out" / "weights.safetensors"), expected), done.stderr)
        after = {p.relative_to(moved): p.read_bytes() for p in moved.rglob("*")
                 if p.is_file() and p.relative_to(moved).parts[0] != "out"}
        h.expect("alone: nothing but out/ is written", after == before)


def check_mse(h, jobs):
    """Small modules exported as they are; the last one has to give its own input back."""
    rng, rows = np.random.default_rng(4), {"train": 64, "decoys-from": 64, "val": 20,
                                           "val-decoys-from": 20}
    for task, outputs in (("regression", 3), ("reconstruction", 20)):
        torch.manual_seed(2)
        model = torch.nn.Sequential(torch.nn.Linear(20, 8), torch.nn.GELU(),
                                    torch.nn.Linear(8, outputs))
        onnx, job, data = h.path(".onnx"), h.path(".job"), []
        torch.onnx.export(model, torch.zeros(2, 20), str(onnx), dynamo=False,
                          training=torch.onnx.TrainingMode.TRAINING, input_names=["x"],
                          do_constant_folding=False, dynamic_axes={"x": {0: "n"}})
        for name, n in rows.items():
            x, y = h.path(".npy"), h.path(".npy")
            np.save(x, rng.normal(size=(n, 20)).astype(np.float32))
            np.save(y, rng.normal(size=(n, outputs)).astype(np.float32))
            data += [f"--{name}", f"{x},{y}" if task == "regression" else x]
        h.program("amalgam", "obfuscate", "--model", onnx, "--task", task, *data, "--decoys", 1,
                  "--key", h.path(".key"), "--quiet", "-o", job)
        options = flags({"batch": 8, "epochs": 2, "lr": 0.05, "momentum": 0.9, "threads": 2},
                        quiet=True)
        out = jobs.train(job, options)
        h.program("amalgam-train", job, *options)
        initial, found, native = (load(folder / "weights.safetensors")
                                  for folder in (job, out, job / "out"))
        h.check(f"mse: {task}, updates", distance(native, found, initial), NATIVE)
        h.expect(f"mse: {task}, the metrics' fields", [[*e["heads"][0]] for e in lines(out)] ==
                 [[*e["heads"][0]] for e in lines(job / "out")] == [["loss", "val_loss"]] * 2)


def wait_for(path, process, limit=60):
    begin = time.monotonic()
    while not path.exists() and process.poll() is None and time.monotonic() - begin < limit:
        time.sleep(0.02)
    return path.exists()


def check_resume(h, jobs):
    job, key, *_ = jobs.zoo("lenet")
    options = flags(SGD, deterministic=True, threads=1, quiet=True, epochs=20)
    whole = jobs.train(job, options)
    for name, kill in (("SIGKILL", signal.SIGKILL), ("SIGTERM", signal.SIGTERM)):
        out = h.path(".out")
        run = [*options, "--out", str(out), "--checkpoint-steps", "3"]
        process = jobs.start(job, run)
        begun = wait_for(out / "checkpoint-torch.safetensors", process)
        process.send_signal(kill)
        _, errors = process.communicate()
        if kill == signal.SIGTERM:
            h.expect("resume: SIGTERM says so and exits 143", process.returncode == 143 and
                     "stopped on request after step" in errors and "--resume" in errors)
            h.program("amalgam", "extract", "--key", key, "--weights",
                      out / "checkpoint-torch.safetensors", "-o", h.path(".onnx"))
        h.expect(f"resume: {name} came before the end",
                 begun and not (out / "weights.safetensors").exists())
        done = subprocess.run([sys.executable, str(job / "train.py"), *run, "--resume"],
                              env=jobs.environment(), capture_output=True, text=True)
        h.expect(f"resume: {name}, the same bits", done.returncode == 0 and
                 equal(load(out / "weights.safetensors"), load(whole / "weights.safetensors")))
        h.expect(f"resume: {name}, the same metrics", lines(out) == lines(whole))

    options = flags(ADAMW, deterministic=True, threads=1, quiet=True)
    whole, out = jobs.train(job, options), h.path(".out")
    for more in (["--max-steps", "13"], ["--resume"]):
        jobs.start(job, [*options, "--out", str(out), *more]).communicate()
    h.expect("resume: AdamW stopped by --max-steps, the same bits",
             equal(load(out / "weights.safetensors"), load(whole / "weights.safetensors")))
    process = jobs.start(job, [*flags(ADAMW, lr=0.5, epochs=3), "--resume", "--out", str(out)])
    _, errors = process.communicate()
    h.expect("resume: another run's checkpoint is refused, saying what differs",
             process.returncode == 1 and "--epochs 2 (now 3)" in errors and
             "--lr 0.001 (now 0.5)" in errors and "seed" not in errors)


def torchrun(*options):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    return ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port),
            *options]


def check_world(h, jobs):
    job, *_ = jobs.zoo("resnet18")
    options = flags(SGD, batch=24, max_steps=2, deterministic=True, threads=1, quiet=True)
    initial = load(job / "weights.safetensors")
    one = load(jobs.train(job, options) / "weights.safetensors")
    two = load(jobs.train(job, options, launcher=torchrun()) / "weights.safetensors")
    h.check("world: two processes, updates of resnet18", distance(one, two, initial), WORLD)
    local = load(jobs.train(job, [*options, "--local-batch-norm"], launcher=torchrun())
                 / "weights.safetensors")
    h.above("world: control, --local-batch-norm", distance(one, local, initial), WORLD)

    job, *_ = jobs.zoo("lenet")
    options = flags(SGD, threads=1, quiet=True, epochs=30, checkpoint_steps=5)
    one, out = jobs.train(job, options), h.path(".out")
    process = jobs.start(job, [*options, "--out", str(out)],
                         launcher=torchrun("--max-restarts", "2"))
    begun = wait_for(out / "checkpoint-torch.safetensors", process)
    workers = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)],
                             capture_output=True, text=True).stdout.split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    _, errors = process.communicate()
    if not h.expect("world: a worker killed, restarted by torchrun", process.returncode == 0 and
                    begun and "exitcode: -9" in errors):
        print(f"begun: {begun}, torchrun's exit code: {process.returncode}\n{errors}", flush=True)
    h.check("world: a worker killed, all weights",
            distance(load(one / "weights.safetensors"), load(out / "weights.safetensors")), WORLD)
    h.expect("world: a worker killed, every line of the metrics, once",
             [x["step"] for x in lines(out)] == [x["step"] for x in lines(one)])


def check_wrapped(h, jobs):
    job, *_ = jobs.zoo("resnet18")
    script = pathlib.Path(__file__).with_name("wrapped.py")
    done = subprocess.run([sys.executable, *torchrun(), script, job], text=True,
                          capture_output=True, check=False)
    if not h.expect("wrapped: all of them train", done.returncode == 0):
        print(done.stderr, flush=True)
        return
    losses = json.loads(done.stdout)
    own = np.array(losses.pop("none"))
    h.above("wrapped: what three steps change", abs(own[0] - own[-1]) / own[0], 100 * WORLD)
    for name, found in losses.items():
        h.check(f"wrapped: {name}, losses", np.abs(own - found).max() / own[0], WORLD)


def check_options(h, jobs):
    job, *_ = jobs.zoo("lenet")
    common = flags(SGD, max_steps=6, deterministic=True, threads=1, quiet=True)
    initial = load(job / "weights.safetensors")

    def trained(*options, **more):
        return load(jobs.train(job, [*common, *options], **more) / "weights.safetensors")

    base = trained()
    h.check("options: --accumulate 4, updates", distance(base, trained("--accumulate", "4"),
                                                         initial), 1e-4)
    h.check("options: --precision bf16, updates", distance(base, trained("--precision", "bf16"), initial),
            0.2)
    augmented = trained("--augment", "crop4,hflip")
    h.above("options: --augment changes the training", distance(base, augmented, initial), 0.1)
    two = trained("--augment", "crop4,hflip", launcher=torchrun())
    h.check("options: --augment in two processes, updates", distance(augmented, two, initial),
            1e-4)
    model_dir, data_dir, moved = h.path(".sm"), h.path(".sm"), h.path(".code")
    moved.mkdir()
    shutil.copy(job / "train.py", moved)
    process = jobs.start(moved, common, SM_CHANNEL_TRAINING=str(job),
                         SM_MODEL_DIR=str(model_dir), SM_OUTPUT_DATA_DIR=str(data_dir))
    process.communicate()
    h.expect("options: SageMaker's folders", process.returncode == 0 and
             equal(load(model_dir / "weights.safetensors"), base) and
             (data_dir / "metrics.jsonl").is_file())


def check_augmentation(h):
    """Each image is a crop of itself padded by 4, mirrored or not, whatever its neighbours."""
    train = import_script()
    x = torch.randint(1, 256, (64, 3, 8, 8), dtype=torch.uint8)
    augment = train.Augmentation(["crop4", "hflip"])
    augment.draw(1, 7, 0, 64, "cpu")
    found, seen = augment(x), set()
    padded = torch.nn.functional.pad(x, [4] * 4)
    for i in range(64):
        for dy in range(9):
            for dx in range(9):
                crop = padded[i, :, dy:dy + 8, dx:dx + 8]
                for flip, image in enumerate((crop, crop)):
                    image = image.flip(2) if flip else image
                    if torch.equal(found[i], image):
                        seen.add((i, dy, dx, flip))
    h.expect("augmentation: each image is a crop of its own", {s[0] for s in seen} ==
             set(range(64)))
    h.expect("augmentation: all offsets and both directions",
             {s[1] for s in seen} == {s[2] for s in seen} == set(range(9)) and
             {s[3] for s in seen} == {0, 1})
    augment.draw(1, 7, 32, 32, "cpu")
    h.expect("augmentation: depends on the place in the batch alone",
             torch.equal(augment(x[32:]), found[32:]))


def check_errors(h, jobs):
    source, *_ = jobs.zoo("lenet")

    def refused(what, expected, options=(), change=None, code=1):
        job = h.path(".job")
        shutil.copytree(source, job, ignore=shutil.ignore_patterns("out"))
        if change:
            change(job)
        process = jobs.start(job, ["--batch", "8", "--quiet", *options])
        _, errors = process.communicate()
        h.expect(f"errors: {what}", process.returncode == code and expected in errors and
                 "Traceback" not in errors, f"({errors.strip().splitlines()[-1][:90]})")
        h.expect(f"errors: {what}: nothing left", not (job / "out").exists())

    def edit(name, at, value):
        def change(job):
            data = bytearray((job / name).read_bytes())
            data[at] ^= value
            (job / name).write_bytes(data)
        return change

    def cut(name):
        return lambda job: os.truncate(job / name, (job / name).stat().st_size - 1)

    shard = json.loads((source / "job.json").read_text())["train"]["shards"][0]
    refused("a missing file", "No such file", change=lambda job: (job / shard["x"]).unlink())
    refused("no job", "job.json", change=lambda job: (job / "job.json").unlink())
    refused("a cut shard", "bytes, expected", change=cut(shard["x"]))
    refused("cut weights", "bytes, expected", change=cut("weights.safetensors"))
    refused("a changed byte, with --check", "SHA-256", ["--check"],
            edit(shard["x"], 5000, 1))
    refused("a label out of range", "expected 0 to 9", change=edit(shard["y"], 131, 0x40))
    refused("a broken .npy header", ".npy", change=edit(shard["x"], 12, 0xFF))
    refused("broken weights", "broken header", change=edit("weights.safetensors", 9, 0xFF))
    refused("broken job.json", "not a job", change=edit("job.json", 0, 0xFF))
    refused("a batch larger than the data", "less than one batch", ["--batch", "97"])
    refused("a batch that does not divide", "multiple of 3", ["--accumulate", "3"])
    refused("nothing to resume", "no checkpoint", ["--resume"])
    refused("fp16 without a GPU", "needs a CUDA GPU", ["--precision", "fp16", "--device", "cpu"])
    refused("an unknown option", "unrecognized", ["--frobnicate"], code=2)
    refused("a number out of range", "from 1 to", ["--batch", "0"], code=2)
    refused("nesterov without momentum", "--momentum above 0", ["--nesterov"], code=2)

    job = h.path(".job")
    shutil.copytree(source, job, ignore=shutil.ignore_patterns("out"))
    process = jobs.start(job, ["--batch", "8", "--lr", "1e6", "--epochs", "3"])
    _, errors = process.communicate()
    h.expect("errors: a loss that is NaN names head and step", process.returncode == 1 and
             "head " in errors and "the loss is" in errors and "at step" in errors and
             "hint" in errors and not (job / "out" / "weights.safetensors").exists())


def main(h):
    jobs = Jobs(h, SAMPLES, VAL)
    if h.wants("random"):
        check_random(h)
    if h.wants("alone"):
        check_alone(h, jobs)
    if h.wants("mse"):
        check_mse(h, jobs)
    if h.wants("resume"):
        check_resume(h, jobs)
    if h.wants("world"):
        check_world(h, jobs)
    if h.wants("wrapped"):
        check_wrapped(h, jobs)
    if h.wants("options"):
        check_augmentation(h)
        check_options(h, jobs)
    if h.wants("errors"):
        check_errors(h, jobs)


if __name__ == "__main__":
    harness.run(main)
