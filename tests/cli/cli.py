"""What the tests of the programs share: running them, small data sets, a look at a folder.

Consumes AMALGAM, AMALGAM_TRAIN (the programs), AMALGAM_SOURCE_ROOT, AMALGAM_BUILD_ROOT from the
environment, as tests/cli/meson.build sets them. Standard library only.
"""
import collections
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import unittest

import wire

AMALGAM = os.environ["AMALGAM"]
AMALGAM_TRAIN = os.environ["AMALGAM_TRAIN"]
SOURCE_ROOT = os.environ["AMALGAM_SOURCE_ROOT"]
BUILD_ROOT = os.environ["AMALGAM_BUILD_ROOT"]

Result = collections.namedtuple("Result", "rc stdout stderr")

# A finding of a sanitizer is a failure whatever the exit code.
SANITIZERS = ("AddressSanitizer", "LeakSanitizer", "runtime error:", "ThreadSanitizer")


def environment():
    return dict(os.environ, UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1", LC_ALL="C.UTF-8")


def check_sanitizers(stderr):
    for word in SANITIZERS:
        if word in stderr:
            raise AssertionError(f"{word}:\n{stderr}")


def run(*args, program=AMALGAM, cwd=None, file_limit=None, pass_fds=(), stdin=subprocess.DEVNULL,
        env=None, timeout=120):
    """Runs the program to its end. file_limit: no file may grow beyond so many bytes, as if the disk
    were full (writes fail with EFBIG)."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    done = subprocess.run([program, *map(str, args)], cwd=cwd, stdin=stdin, capture_output=True,
                          pass_fds=pass_fds, env=dict(environment(), **(env or {})), timeout=timeout,
                          preexec_fn=limit if file_limit is not None else None, check=False)
    result = Result(done.returncode, done.stdout.decode("utf-8", "replace"),
                    done.stderr.decode("utf-8", "replace"))
    check_sanitizers(result.stderr)
    return result


def start(*args, program=AMALGAM, cwd=None):
    """Starts the program without waiting; in a process group of its own."""
    return subprocess.Popen([program, *map(str, args)], cwd=cwd, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
                            start_new_session=True)


# --- data sets ---------------------------------------------------------------------------------

def images(count, dims, classes, seed):
    """Random 8-bit samples (bytes) and labels; every class occurs, the largest among them."""
    r = random.Random(seed)
    size = dims[0] * dims[1] * dims[2]
    return ([r.randbytes(size) for _ in range(count)],
            [(classes - 1 - i) if i < classes else r.randrange(classes) for i in range(count)])


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)
    return path


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write_idx(folder, dims, classes, train=128, test=32, seed=1):
    """MNIST's form; dims = (1, H, W). Returns the folder."""
    os.makedirs(folder, exist_ok=True)
    for stem, count, offset in (("train", train, 0), ("t10k", test, 1)):
        x, y = images(count, dims, classes, seed * 2 + offset)
        write(os.path.join(folder, f"{stem}-images-idx3-ubyte"),
              struct.pack(">IIII", 0x803, count, dims[1], dims[2]) + b"".join(x))
        write(os.path.join(folder, f"{stem}-labels-idx1-ubyte"),
              struct.pack(">II", 0x801, count) + bytes(y))
    return folder


def write_cifar(folder, count=40, classes=10, seed=1):
    """CIFAR-10's binary form, one training and one test batch."""
    os.makedirs(folder, exist_ok=True)
    for name, offset in (("data_batch_1.bin", 0), ("test_batch.bin", 1)):
        x, y = images(count, (3, 32, 32), classes, seed * 2 + offset)
        write(os.path.join(folder, name), b"".join(bytes([l]) + s for s, l in zip(x, y)))
    return folder


def npy_bytes(descr, shape, data):
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + data


def write_npy_pair(folder, name, dims, classes, count=96, seed=1, floats=True):
    """FOLDER/NAME-x.npy,FOLDER/NAME-y.npy; floats lie on no lattice."""
    x, y = images(count, dims, classes, seed)
    r = random.Random(seed)
    size = dims[0] * dims[1] * dims[2]
    data = (b"".join(struct.pack(f"<{size}f", *(r.gauss(0, 1) for _ in range(size))) for _ in x)
            if floats else b"".join(x))
    paths = [os.path.join(folder, f"{name}-{c}.npy") for c in "xy"]
    write(paths[0], npy_bytes("<f4" if floats else "|u1", (count, *dims), data))
    write(paths[1], npy_bytes("<i8", (count,), struct.pack(f"<{count}q", *y)))
    return ",".join(paths)


def read_npy(path):
    """(descr, shape, data bytes) of a version 1 file."""
    data = read(path)
    size, = struct.unpack("<H", data[8:10])
    head = eval(data[10:10 + size], {"__builtins__": {}}, {})  # our own file: a literal
    return head["descr"], head["shape"], data[10 + size:]


# --- safetensors -------------------------------------------------------------------------------

def read_safetensors(path):
    """(header dict, data bytes)"""
    data = read(path)
    n, = struct.unpack("<Q", data[:8])
    return json.loads(data[8:8 + n]), data[8 + n:]


def write_safetensors(path, header, data):
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return write(path, struct.pack("<Q", len(text)) + text + data)


# --- a folder ----------------------------------------------------------------------------------

def snapshot(folder):
    """Every path beneath folder -> hash of its bytes (folders: None)."""
    found = {}
    for here, folders, files in os.walk(folder):
        for name in folders:
            found[os.path.relpath(os.path.join(here, name), folder)] = None
        for name in files:
            path = os.path.join(here, name)
            found[os.path.relpath(path, folder)] = hashlib.sha256(read(path)).hexdigest()
    return found


class Case(unittest.TestCase):
    """A test class with a folder of its own, self.dir, and a tiny model and data set in it:
    model.onnx takes 1x6x6 and gives 3 classes, data/ is IDX."""

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="amalgam-cli-")
        cls.addClassCleanup(shutil.rmtree, cls.dir, True)
        write_idx(cls.path("data"), (1, 6, 6), 3)
        write(cls.path("model.onnx"), wire.tiny_model())

    @classmethod
    def path(cls, *parts):
        return os.path.join(cls.dir, *parts)

    def ok(self, *args, **options):
        """Runs, demands success, returns stdout."""
        r = run(*args, cwd=self.dir, **options)
        self.assertEqual(r.rc, 0, f"{args}\n{r.stdout}{r.stderr}")
        return r.stdout

    TRAIN, POOL = "data@train[25%:seed=3]", "data@train[25%-100%:seed=3]"  # 32 and 96 samples

    def obfuscate(self, name, *more, model="model.onnx", train=TRAIN, pool=POOL):
        """Makes NAME/ and NAME.key; returns stdout."""
        covers = ("--decoys-from", pool) if pool else ()
        return self.ok("obfuscate", "--model", model, "--train", train, *covers, "--key", f"{name}.key",
                       "-o", name, *more)
