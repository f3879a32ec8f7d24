"""Jobs for test_exact.py and test_train.py: made from zoo models by the programs or from
plain modules by the Python package, trained by train.py in processes that can import torch
and nothing else, extracted, and trained as plain modules (plain_loop.py)."""

import hashlib
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections import namedtuple

import numpy as np
import safetensors.numpy

import harness
from harness import ROOT

SCRIPT = ROOT / "src" / "emit" / "train.py"
SHAPE, CLASSES = (3, 32, 32), 10

# recipe: what plain_loop.py needs to know; package: made by the Python package; model: the
# file, where there is one
Made = namedtuple("Made", "job key recipe package model", defaults=(None,))


def flags(options, **more):
    out = []
    for name, value in {**options, **more}.items():
        out += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return out


def load(path):
    return safetensors.numpy.load_file(path)


def equal(a, b):
    """Bit for bit."""
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and
        a[k].tobytes() == b[k].tobytes() for k in a)


def distance(a, b, since=None):
    """Of all tensors together, relative L2; to what changed since the third."""
    if a.keys() != b.keys():
        return np.inf
    square = {k: np.square(a[k].astype(np.float64) - b[k]).sum() for k in a}
    norm = sum(np.square(a[k].astype(np.float64) - (0 if since is None else since[k])).sum()
               for k in a)
    return float(np.sqrt(sum(square.values()) / norm))


def lines(folder):
    """metrics.jsonl without its speeds."""
    out = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for entry in out:
        entry.pop("images_per_second", None)
        entry.pop("tokens_per_second", None)
    return out


def import_script():
    spec = importlib.util.spec_from_file_location("train", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FIND_OTHERS = """
import importlib.metadata as m, re
def plain(name):
    return re.sub("[-_.]+", "-", re.match(r"[\\w.-]+", name)[0]).lower()
needed, more = set(), {"torch", "typing-extensions", "setuptools"}
while more - needed:
    name = (more - needed).pop()
    needed.add(name)
    try:
        more |= {plain(r) for r in m.requires(name) or () if "extra ==" not in r}
    except m.PackageNotFoundError:
        pass
for name, owners in m.packages_distributions().items():
    if name.isidentifier() and not needed & {plain(o) for o in owners}:
        print(name)
"""


def other_packages(python):
    """What that Python can import beside its own library, torch, and what torch demands."""
    return subprocess.run([python, "-c", FIND_OTHERS], capture_output=True, text=True,
                          check=True).stdout.split()


def texts(vocab, seq, count, seed, classes=0, pad=None):
    """x int32 [count, seq + 1] and no y: windows of a text whose next token mostly follows
    from the one before. With classes [count, seq], of any length from 3 on, filled up with
    pad, and y: the class that most of the tokens are of."""
    rng = np.random.default_rng(100 + seed)
    x = np.empty((count, seq + 1), np.int32)
    x[:, 0] = rng.integers(0, vocab, count)
    for i in range(seq):
        follows = (5 * x[:, i] + 3) % vocab
        x[:, i + 1] = np.where(rng.random(count) < 0.8, follows, rng.integers(0, vocab, count))
    if not classes:
        return x, None
    y = rng.integers(0, classes, count, dtype=np.int32)
    of_class = rng.random((count, seq)) < 0.7
    x = np.where(of_class, x[:, :seq] // classes * classes + y[:, None], x[:, :seq]) % vocab
    if pad is not None:
        x[np.arange(seq) >= rng.integers(3, seq + 1, count)[:, None]] = pad
    return x.astype(np.int32), y


def secret(*what):
    """The same for the same job in every run: which side of a ReLU's zero, or which of two
    equal values of a pooling, rounding comes to lie on depends on weights and data."""
    return hashlib.sha256(repr(what).encode()).hexdigest()


class Jobs:
    """Jobs with one decoy, made once each, from as many samples for its cover."""

    def __init__(self, h, samples, val):
        self.h, self.samples, self.val = h, samples, val
        self.made, self.shadows = {}, {}
        images, labels = harness.cifar(2 * (samples + val))
        ends = np.cumsum([samples, samples, val])
        self.data = [self.store(x, y) for x, y in
                     zip(np.split(images, ends), np.split(labels, ends))]

    def store(self, *arrays):
        """Their .npy files."""
        paths = []
        for array in arrays:
            paths.append(self.h.path(".npy"))
            np.save(paths[-1], array)
        return paths

    def zoo(self, name, keep=False, dropout=True):
        """keep: classes keep their numbers. dropout: not set to 0."""
        if (name, keep, dropout) not in self.made:
            h = self.h
            onnx, job, key = h.zoo(name, SHAPE, CLASSES), h.path(".job"), h.path(".key")
            if not dropout:
                harness.without_dropout(onnx)
            train, pool, val, val_pool = (f"{x},{y}" for x, y in self.data)
            h.program("amalgam", "obfuscate", "--model", onnx, "--train", train,
                      "--decoys-from", pool, "--val", val, "--val-decoys-from", val_pool,
                      "--decoys", 1, "--decoy-arch", "walk", "--key", key, "--quiet", "-o", job,
                      "--seed-hex", secret(name, keep, dropout), *(["--keep-classes"] if keep else []))
            initial = h.path(".safetensors")
            safetensors.numpy.save_file(harness.initializers(onnx), initial)
            x, y = self.data[0]
            recipe = {"model": name, "shape": SHAPE, "classes": CLASSES, "weights": initial,
                      "x": self.array(x, "U8", SHAPE), "y": self.array(y, "I32", ()),
                      "val": {"x": self.array(self.data[2][0], "U8", SHAPE, self.val),
                              "y": self.array(self.data[2][1], "I32", (), self.val)}}
            self.made[name, keep, dropout] = Made(job, key, recipe, None)
        return self.made[name, keep, dropout]

    def text(self, name, twin, options, classes, dropout, keep):
        """A network for text of the zoo with what twins.build_text calls the same; options:
        of both. classes 0: a language model. keep: classes and tokens keep their numbers."""
        if (name, dropout, keep) not in self.made:
            h, seq, vocab = self.h, options["seq"], options["vocab"]
            onnx, job, key, initial = (h.path(e) for e in (".onnx", ".job", ".key", ".safetensors"))
            own = {"classes": classes} if classes else {}
            asked = {} if dropout else {"dropout": 0}
            h.program("amalgam", "zoo", name, "--seed", 7, "-o", onnx,
                      *flags(options, **own, **(asked if name != "embedding_bag" else {})))
            sets = [texts(vocab, seq, count, seed, classes, options.get("pad"))
                    for seed, count in enumerate((self.samples, self.samples, self.val, self.val))]
            files = [self.store(*(a for a in pair if a is not None)) for pair in sets]
            train, pool, val, val_pool = (",".join(map(str, paths)) for paths in files)
            h.program("amalgam", "obfuscate", "--model", onnx, "--train", train, "--decoys-from",
                      pool, "--val", val, "--val-decoys-from", val_pool, "--decoys", 1, "--decoy-arch",
                      "walk", "--task", "classify" if classes else "lm", "--key", key,
                      "--quiet", "-o", job, "--seed-hex", secret(name, dropout, keep),
                      *(["--keep-classes", "--keep-tokens"] if keep else []))
            safetensors.numpy.save_file(harness.initializers(onnx), initial)
            built = {**options, **own, **(asked if name != "embedding_bag" else {})}
            recipe = {"model": twin, "text": built, "windows": not classes, "weights": initial,
                      "x": self.array(files[0][0], "I32", sets[0][0].shape[1:]),
                      "y": self.array(files[0][1], "I32", ()) if classes else None}
            self.made[name, dropout, keep] = Made(job, key, recipe, None, onnx)
        return self.made[name, dropout, keep]

    def module(self, name, dropout, symmetry=False, file="modules"):
        """A module of modules.py or models.py, through the Python package; classes keep their
        numbers."""
        if (name, dropout, symmetry) not in self.made:
            kinds = importlib.import_module(file)
            package, (x, y) = self.package(), kinds.samples(name, self.samples, 1)
            cover, cover_y = kinds.samples(name, self.samples, 2)
            module = kinds.build(name, dropout)
            job, key, initial = (self.h.path(e) for e in (".job", ".key", ".safetensors"))
            windows, loss = kinds.KINDS[name].windows, kinds.KINDS[name].loss
            package.obfuscate(module, x if y is None else (x, y), key=key, out=job, decoys=1, loss=loss,
                              decoy_arch="walk",
                              decoys_from=cover if y is None else (cover, cover_y),
                              keep_classes=True, keep_tokens=True, progress=False,
                              symmetry=bool(symmetry), rotate=symmetry == "rotate", task="lm" if windows else None,
                              seed_hex=secret(name, dropout, symmetry))
            safetensors.numpy.save_file({k: v.numpy() for k, v in module.state_dict().items()},
                                        initial)
            types = {"uint8": "U8", "float32": "F32", "int32": "I32"}
            arrays = [None if a is None else
                      self.array(self.store(a.numpy())[0], types[a.numpy().dtype.name],
                                 a.shape[1:]) for a in (x, *(y if loss else (y,)))]
            recipe = {"file": file, "model": name, "dropout": dropout, "weights": initial, "x": arrays[0],
                      "y": arrays[1:] if loss else arrays[1], "windows": windows, "loss": loss}
            self.made[name, dropout, symmetry] = Made(job, key, recipe, package)
        return self.made[name, dropout, symmetry]

    def array(self, path, dtype, shape, count=None):
        return {"path": str(path), "dtype": dtype, "shape": [count or self.samples, *shape]}

    def package(self):
        """python/amalgam with the library of the build folder."""
        os.environ["AMALGAM_LIBRARY"] = str(self.h.build / "src" / "api" / "libamalgam.so")
        if str(ROOT / "python") not in sys.path:
            sys.path.insert(0, str(ROOT / "python"))
        import amalgam
        return amalgam

    def environment(self, python=sys.executable, **more):
        if python not in self.shadows:
            self.shadows[python] = shadow = self.h.path(".shadow")
            shadow.mkdir()
            for name in {"numpy", "safetensors", *other_packages(python)}:
                (shadow / f"{name}.py").write_text("raise ModuleNotFoundError('shadowed')\n")
        env = {k: v for k, v in os.environ.items() if not k.startswith(("SM_", "SLURM_"))}
        return {**env, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(self.shadows[python]),
                "PYTHONWARNINGS": "ignore:Failed to initialize NumPy", **more}

    def start(self, job, options, python=sys.executable, launcher=(), cwd=None, **env):
        """train.py of a job in a process of its own; its output goes into pipes."""
        command = [python, *launcher, str(job / "train.py"), *options]
        return subprocess.Popen(command, env=self.environment(python, **env), text=True,
                                cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def train(self, job, options, **more):
        """The output folder of a run that must succeed."""
        out = self.h.path(".out")
        process = self.start(job, [*options, "--out", str(out)], **more)
        _, errors = process.communicate()
        if process.returncode:
            raise RuntimeError(f"train.py {' '.join(options)}: exit {process.returncode}: "
                               f"{errors.strip()}")
        return out

    def extract(self, made, weights):
        """{name: array}, as the front end that made the job gives it."""
        if made.package:
            state = made.package.extract(made.key, weights)
            return {k: v.numpy() for k, v in state.items()}
        path, model = self.h.path(".safetensors"), self.h.path(".onnx")
        self.h.program("amalgam", "extract", "--key", made.key, "--weights", weights, "-o",
                       model, "--safetensors", path)
        return load(path)

    def plain(self, made, last, options, steps, python=sys.executable):
        """The state of the plain module after the same steps."""
        recipe, out = self.h.path(".json"), self.h.path(".safetensors")
        recipe.write_text(json.dumps({
            **made.recipe, "weights": str(made.recipe["weights"]), "train_py": str(SCRIPT),
            "out": str(out), "steps": steps, "options": options, "last": last}))
        subprocess.run([python, str(ROOT / "tests" / "interop" / "plain_loop.py"), str(recipe)],
                       check=True, env=self.environment(python))
        state = load(out)
        if not made.package:    # no graph of the zoo counts batches
            state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
        return state
