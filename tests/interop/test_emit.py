"""model.py, the PyTorch text of a graph, against onnxruntime on the same graph.

    python test_emit.py BUILD [case ...]

jobs   every model of the zoo: zoo -> obfuscate; each head of the job's model.py in evaluation mode
       equals model.onnx in onnxruntime (relative L2 <= 1e-5); parameters and buffers are those of
       weights.safetensors; a training step gives each parameter a gradient
cases  the operators of emit_cases*.py, one small graph each, likewise; and the text has the form
       that a hand-written module would run

Both with this Python's PyTorch and, where $AMALGAM_OLD_PYTHON (python3 of /usr/bin if unset) has a
PyTorch, with that: Debian's is 1.13.
"""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import safetensors
import safetensors.numpy

import emit_cases
import emit_cases_layers
import harness
import twins
from harness import relative

OUTPUT = 1e-5
CASES = emit_cases.CASES + emit_cases_layers.CASES
BATCH, CLASSES, SHAPE = 4, 10, (3, 32, 32)


def pythons():
    """{version: command} of the PyTorches at hand."""
    old = os.environ.get("AMALGAM_OLD_PYTHON", "/usr/bin/python3")
    found = {}
    for command in (sys.executable, old):
        done = subprocess.run([command, "-c", "import torch; print(torch.__version__)"],
                              capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found[".".join(done.stdout.split(".")[:2])] = command
    return found


def run_onnx(path, x):
    """{output: array}; without optimizations: they refuse nothing and change no corner."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options,
                                           providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: x})))


def make_job(h, name, data):
    """Path of a job of one zoo model and one decoy, and its first samples."""
    job = h.path(".job")
    h.program("amalgam", "obfuscate", "--model", h.zoo(name, SHAPE, CLASSES), "--train", data[0],
              "--decoys", 1, "--decoys-from", data[1], "--key", h.path(".key"), "--quiet",
              "-o", job)
    return job, np.load(job / "data" / "train-x-00000.npy")[:BATCH]


def make_case(h, case):
    folder = h.path(".case")
    folder.mkdir()
    onnx.save(case.model(), folder / "model.onnx")
    if case.reference:
        onnx.save(case.model(case.reference), folder / "reference.onnx")
    h.program("emit_dump", folder / "model.onnx", folder)
    return folder, case.x()


def check_folder(h, title, folder, expected, line, version):
    if "error" in line:
        h.expect(f"{title}: torch {version}", False, line["error"])
        return
    found = safetensors.numpy.load_file(folder / f"torch-{version}.safetensors")
    for output, value in expected.items():
        name = "" if len(expected) == 1 else f", {output}"
        h.check(f"{title}{name}: torch {version}", relative(found[output], value), OUTPUT)
    with safetensors.safe_open(folder / "weights.safetensors", "np") as f:
        weights = {n: f.get_slice(n).get_shape() for n in f.keys()}
    if weights != line["state"]:
        h.expect(f"{title}: parameters are those of weights.safetensors", False,
                 str(set(weights) ^ set(line["state"])))


def check_all(h, made):
    """made: [(title, folder, x, form)]. One process for each PyTorch."""
    expected = {}
    for title, folder, x, form in made:
        safetensors.numpy.save_file({"x": np.ascontiguousarray(x)}, folder / "in.safetensors")
        reference = folder / "reference.onnx"
        expected[folder] = run_onnx(reference if reference.exists() else folder / "model.onnx", x)
        text = (folder / "model.py").read_text()
        if form and form not in text:
            h.expect(f"{title}: form", False, f"no {form!r} in:\n{text}")
        long = [line for line in text.splitlines() if len(line) > 100]
        if long:
            h.expect(f"{title}: lines of 100 columns", False, long[0])
    runner = pathlib.Path(__file__).with_name("emit_run.py")
    for version, python in pythons().items():
        done = subprocess.run([python, runner, *(str(f) for _, f, _, _ in made)],
                              stdout=subprocess.PIPE, text=True, check=True)
        lines = {json.loads(t)["folder"]: json.loads(t) for t in done.stdout.splitlines()}
        for title, folder, _, _ in made:
            check_folder(h, title, folder, expected[folder], lines[str(folder)], version)


def check_controls(h):
    """A module whose text is wrong must be noticed."""
    folder, x = make_case(h, next(c for c in CASES if c.name == "Conv even pads"))
    path = folder / "model.py"
    path.write_text(path.read_text().replace("padding=(1, 2)", "padding=(2, 1)"))
    safetensors.numpy.save_file({"x": x}, folder / "in.safetensors")
    runner = pathlib.Path(__file__).with_name("emit_run.py")
    for version, python in pythons().items():
        subprocess.run([python, runner, folder], check=True, stdout=subprocess.DEVNULL)
        found = safetensors.numpy.load_file(folder / f"torch-{version}.safetensors")
        h.above(f"control: other pads, torch {version}",
                relative(found["y"], run_onnx(folder / "model.onnx", x)["y"]), OUTPUT)


def write_data(h, count, seed):
    rng = np.random.default_rng(seed)
    x, y = h.path(".npy"), h.path(".npy")
    np.save(x, rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8))
    np.save(y, rng.integers(0, CLASSES, count, dtype=np.int32))
    return f"{x},{y}"


def main(h):
    h.expect(f"PyTorch found: {', '.join(pythons())}", bool(pythons()))
    data = write_data(h, 20, 1), write_data(h, 60, 2)
    made = [(f"job of {name}", *make_job(h, name, data), "")
            for name in twins.ZOO if h.wants(name)]
    for case in CASES:
        if h.wants("cases") or case.name in h.only:
            try:
                made.append((case.name, *make_case(h, case), case.form))
            except RuntimeError as error:
                h.expect(f"{case.name}: emit_dump", False, str(error).split(": exit 1: ")[-1])
    if made:
        check_all(h, made)
    if h.wants("control"):
        check_controls(h)


harness.run(main)
