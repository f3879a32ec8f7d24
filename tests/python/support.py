"""What the Python package's tests share: the package in the tree, small data, a folder of their own.

AMALGAM_LIBRARY names the library that was built; AMALGAM_SOURCE_ROOT the tree (default: this file's).
"""
import contextlib
import gzip
import os
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT = os.environ.get("AMALGAM_SOURCE_ROOT") or os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "python"))

SEED = "0f" * 32


def data_folder(name):
    """A real data set's folder, or the reason why there is none."""
    given = os.environ.get("AMALGAM_DATA") or os.path.join(ROOT, "..", "shared", "data")
    for folder in (os.path.join(given, name), os.path.join("/usr/share/datasets", name)):
        if os.path.isdir(folder):
            return os.path.abspath(folder)
    raise unittest.SkipTest(f"no {name}: neither in AMALGAM_DATA nor in /usr/share/datasets")


def read_images(folder, stem, count):
    """The first images and labels of an IDX set: uint8 [N,1,H,W], int64 [N]."""
    import numpy as np
    with gzip.open(os.path.join(folder, f"{stem}-images-idx3-ubyte.gz")) as f:
        _, _, h, w = struct.unpack(">IIII", f.read(16))
        x = np.frombuffer(f.read(count * h * w), np.uint8).reshape(-1, 1, h, w).copy()
    with gzip.open(os.path.join(folder, f"{stem}-labels-idx1-ubyte.gz")) as f:
        f.read(8)
        y = np.frombuffer(f.read(count), np.uint8).astype(np.int64)
    return x, y


class Case(unittest.TestCase):
    """A test in an empty folder of its own, which is the current one."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.mkdir(os.path.join(folder.name, "here"))  # what is moved aside stays in the folder, too
        os.chdir(os.path.join(folder.name, "here"))

    @contextlib.contextmanager
    def refused(self, kind, what, code=None, where=None, hint=None):
        """The block raises exactly this, and leaves the folder as it was."""
        before = sorted(os.listdir("."))
        with self.assertRaisesRegex(kind, what) as caught:
            yield
        e = caught.exception
        self.assertIs(type(e), kind)
        if code:
            self.assertEqual(e.code, code)
        if where:
            self.assertRegex(e.where, where)
        if hint:
            self.assertRegex(e.hint, hint)
        self.assertEqual(sorted(os.listdir(".")), before)


def require(name):
    """A module, or the test is skipped and says why."""
    import importlib
    try:
        return importlib.import_module(name)
    except ImportError:
        raise unittest.SkipTest(f"{name} is not installed") from None


def load_script(folder, name):
    """A Python file of a job as a module."""
    import importlib.util
    spec = importlib.util.spec_from_file_location(name.removesuffix(".py"), os.path.join(folder, name))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_program(name, *arguments):
    """A program of the build folder that the library is in; fails unless it succeeds."""
    library = os.environ.get("AMALGAM_LIBRARY", "")
    path = os.path.join(os.path.dirname(library), "..", "cli", name)
    if not os.path.exists(path):
        raise unittest.SkipTest(f"no {name} beside {library or 'an installed library'}")
    subprocess.run([path, *map(str, arguments)], check=True)
