"""What test_pytorch.py and test_onnx.py share: the programs of a build folder, images,
engine_dump, and counted checks. Knows nothing of any model.

    harness.run(main)    calls main(h) with a Harness; prints one line a check and at the end
                         "N passed, M failed"; exits 1 unless all passed (2: no programs)
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import safetensors.numpy

ROOT = pathlib.Path(__file__).resolve().parents[2]


def relative(found, expected):
    """|found - expected| / |expected| (L2, in double); infinite where shapes differ or a
    value is not finite, so that neither can pass for equal."""
    if found.shape != expected.shape:
        return np.inf
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return np.inf
    norm = np.linalg.norm(expected)
    distance = np.linalg.norm(found - expected)
    return distance / norm if norm > 0 else np.inf if distance > 0 else 0.0


class Harness:
    def __init__(self, build, folder, only):
        self.build, self.folder, self.only = build, folder, only
        self.passed = self.failed = self.files = 0

    def wants(self, name):
        return not self.only or name in self.only

    def check(self, what, error, limit, note=""):
        """One check: error <= limit (NaN fails)."""
        good = bool(error <= limit)
        self.passed += good
        self.failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {what:<58} {error:8.2e} <= {limit:g} {note}",
              flush=True)
        return good

    def above(self, what, error, limit):
        """A control: something wrong on purpose has to exceed the limit."""
        return self.expect(f"{what:<58} {error:8.2e} > {limit:g}", error > limit)

    def expect(self, what, good, note=""):
        self.passed += bool(good)
        self.failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {what} {note}".rstrip(), flush=True)
        return good

    def path(self, ending):
        self.files += 1
        return self.folder / f"{self.files:03}{ending}"

    def run_program(self, name, *args):
        """What subprocess.run gives of a program of the build folder."""
        where = ("tests/interop" if name.endswith("_dump") else
                 "tools" if name == "op_page" else "src/cli")
        return subprocess.run([str(self.build / where / name), *map(str, args)],
                              capture_output=True, text=True)

    def program(self, name, *args):
        """The same; its failure is an exception."""
        done = self.run_program(name, *args)
        if done.returncode:
            raise RuntimeError(f"{name} {' '.join(map(str, args))}: exit "
                               f"{done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def zoo(self, name, shape, classes):
        """Path of a fresh model of the zoo, always the same one."""
        path = self.path(".onnx")
        self.program("amalgam", "zoo", name, "--input", "x".join(map(str, shape)),
                     "--classes", classes, "--seed", 7, "-o", path)
        return path

    def zoo_text(self, name, options):
        """The same of a network for text; options as twins.build_text takes them."""
        path = self.path(".onnx")
        self.program("amalgam", "zoo", name, "--seed", 7, "-o", path,
                     *(f"--{k.replace('_', '-')}={v}" for k, v in options.items()))
        return path

    def engine(self, model, x, labels=None, options=()):
        """What engine_dump computes: {name: array}. x [steps, batch, ...]."""
        given, found = self.path(".safetensors"), self.path(".safetensors")
        tensors = {"x": np.ascontiguousarray(x)}
        if labels is not None:
            numbers = np.asarray(labels).dtype == np.float32
            tensors["labels"] = np.ascontiguousarray(labels, None if numbers else np.int32)
        safetensors.numpy.save_file(tensors, given)
        self.program("engine_dump", *options, model, given, found)
        return safetensors.numpy.load_file(found)


def initializers(path):
    """{name: array} of an ONNX file's initializers."""
    graph = onnx.load(path).graph
    return {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}


def without_dropout(path):
    """Sets every Dropout's ratio, an initializer, to 0."""
    model = onnx.load(path)
    ratios = {n.input[1] for n in model.graph.node if n.op_type == "Dropout"}
    for t in model.graph.initializer:
        if t.name in ratios:
            t.CopyFrom(onnx.numpy_helper.from_array(np.float32(0), t.name))
    onnx.save(model, path)


def cifar(count):
    """uint8 [count, 3, 32, 32] and their labels: CIFAR-10 test images from $AMALGAM_DATA or
    ../shared/data, else random bytes."""
    for folder in (os.environ.get("AMALGAM_DATA"), ROOT.parent / "shared" / "data"):
        path = folder and pathlib.Path(folder) / "cifar-10-batches-bin" / "test_batch.bin"
        if path and path.is_file():
            rows = np.fromfile(path, np.uint8, count * 3073).reshape(count, 3073)
            return rows[:, 1:].reshape(count, 3, 32, 32), rows[:, 0].astype(np.int32)
    rng = np.random.default_rng(1)
    return (rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8),
            rng.integers(0, 10, count, dtype=np.int32))


def normalize(images):
    """uint8 [n, 3, h, w] to float32 of about mean 0 and deviation 1."""
    return ((images.astype(np.float32) / 255 - 0.46) / 0.25).astype(np.float32)


def images_of(shape, count):
    """float32 [count, *shape] and labels below 10; larger shapes are CIFAR images blown up,
    with a little noise so that neighbouring pixels differ."""
    images, labels = cifar(count)
    x = normalize(images)
    if shape[1:] != (32, 32):
        x = x.repeat(shape[1] // 32, 2).repeat(shape[2] // 32, 3)
        x += np.random.default_rng(2).normal(0, 0.1, x.shape).astype(np.float32)
    return x, labels


def tokens_of(count, seq, vocab, pad=None):
    """int64 [count, seq]; with a pad, documents of every length from full to empty."""
    rng = np.random.default_rng(3)
    x = rng.integers(0, vocab, (count, seq))
    if pad is not None:
        x[x == pad] = (pad + 1) % vocab
        for i in range(count):
            x[i, seq - (i * seq // max(count - 1, 1)):] = pad
    return x


def run(main):
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path, help="build folder with the programs")
    parser.add_argument("only", nargs="*", help="cases to run (all)")
    args = parser.parse_args()
    if not (args.build / "tests" / "interop" / "engine_dump").is_file():
        print(f"no engine_dump in {args.build}: build it first", file=sys.stderr)
        sys.exit(2)
    with tempfile.TemporaryDirectory(prefix="amalgam-interop-") as folder:
        h = Harness(args.build.resolve(), pathlib.Path(folder), args.only)
        main(h)
    print(f"{h.passed} passed, {h.failed} failed")
    sys.exit(0 if h.passed and not h.failed else 1)
