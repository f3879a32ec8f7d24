"""Real results on images: a model trained alone and inside an obfuscated job, by the same recipe
on the same data. Prints a Markdown table; ends with exit 1 if the two are not the same file.

    python image_results.py BUILD [mnist | cifar | fine-tuning ...]

mnist         lenet on half of MNIST's training set; the other half covers it
cifar         ResNet-18 with --augment crop4,hflip in bf16 on half of the training images of
              CIFAR-10 that ../shared/data has; the other half covers it
fine-tuning   what lenet learned on MNIST, on Fashion-MNIST with both convolutions frozen: alone and
              inside a job; also whether the frozen weights are the same bits as before

BUILD holds the programs. Data from $AMALGAM_DATA, else ../shared/data; Fashion-MNIST from
Debian's dataset-fashion-mnist. Times are wall clock, all cores.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("AMALGAM_DATA", ROOT / ".." / "shared" / "data")).resolve()
FASHION = Path("/usr/share/datasets/fashion-mnist")
SGD = ["--optimizer", "sgd", "--momentum", "0.9", "--weight-decay", "5e-4", "--schedule", "cosine",
       "--seed", "7", "--threads", os.cpu_count()]
GREY = ["--normalize", "0.1307/0.3081"]
COLOUR = ["--normalize", "0.4914,0.4822,0.4465/0.2470,0.2435,0.2616"]


def note(text):
    print(text, file=sys.stderr, flush=True)


class Run:
    def __init__(self, build, folder):
        self.build, self.folder, self.same = Path(build).resolve(), Path(folder), True

    def amalgam(self, *args):
        """(stdout, seconds)."""
        note("amalgam " + " ".join(map(str, args)))
        start = time.monotonic()
        done = subprocess.run([self.build / "src" / "cli" / "amalgam", *map(str, args)],
                              check=True, stdout=subprocess.PIPE, text=True, cwd=self.folder)
        return done.stdout, time.monotonic() - start

    def both(self, title, model, data, test, normalize, recipe, freeze=()):
        """Trains model alone and in a job, and prints a line for each; the trained file's name."""
        own, pool = data
        alone, extracted = f"{title}-alone.onnx", f"{title}-extracted.onnx"
        job, key = f"{title}-job", f"{title}.key"
        _, plain = self.amalgam("train", "--model", model, "--train", own, *normalize, *freeze,
                                *recipe, "--quiet", "-o", alone)
        _, made = self.amalgam("obfuscate", "--model", model, "--train", own, "--decoys-from", pool,
                               *normalize, *freeze, "--key", key, "-o", job, "--quiet")
        _, hidden = self.amalgam("train", job, *recipe, "--quiet")
        _, taken = self.amalgam("extract", "--key", key, "--weights",
                                f"{job}/out/weights.safetensors", "-o", extracted)
        equal = (self.folder / alone).read_bytes() == (self.folder / extracted).read_bytes()
        self.same = self.same and equal
        for how, file, seconds in (("alone", alone, f"{plain:.0f} s"),
                                   ("in a job of two, extracted", extracted,
                                    f"{made:.1f} + {hidden:.0f} + {taken:.1f} s")):
            told, _ = self.amalgam("eval", "--model", file, "--data", test, *normalize, "--json")
            e = json.loads(told)
            said = "" if how == "alone" else "yes" if equal else "NO"
            print(f"| {title} | {how} | {e['loss']:.6f} | {100 * e['top1']:.2f} % | {seconds} | "
                  f"{said} |", flush=True)
        return alone


def mnist(run):
    run.amalgam("zoo", "lenet", "--input", "1x28x28", "--seed", 1, "-o", "lenet.onnx")
    source = f"{DATA / 'mnist'}@train"
    return run.both("mnist", "lenet.onnx",
                    (f"{source}[50%:seed=3]", f"{source}[50%-100%:seed=3]"),
                    f"{DATA / 'mnist'}@test", GREY,
                    [*SGD, "--epochs", 12, "--batch", 64, "--lr", 0.05])


def cifar(run):
    run.amalgam("zoo", "resnet18", "--input", "3x32x32", "--seed", 1, "-o", "resnet18.onnx")
    source = f"{DATA / 'cifar-10-batches-bin'}@train"
    run.both("cifar", "resnet18.onnx", (f"{source}[50%:seed=3]", f"{source}[50%-100%:seed=3]"),
             f"{DATA / 'cifar-10-batches-bin'}@test", COLOUR,
             [*SGD, "--epochs", 8, "--batch", 128, "--lr", 0.02, "--nesterov", "--augment",
              "crop4,hflip", "--precision", "bf16"])


def tensors(path):
    """{name: (dtype, shape, bytes)} of a safetensors file."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    return {n: (t["dtype"], t["shape"], data[8 + size:][slice(*t["data_offsets"])])
            for n, t in header.items() if n != "__metadata__"}


def fine_tuning(run):
    if not (run.folder / "mnist-alone.onnx").exists():
        mnist(run)
    source = f"{FASHION}@train"
    run.both("fine-tuning", "mnist-alone.onnx",
             (f"{source}[50%:seed=3]", f"{source}[50%-100%:seed=3]"), f"{FASHION}@test", GREY,
             [*SGD, "--epochs", 3, "--batch", 64, "--lr", 0.02], ["--freeze", "conv*"])
    before, after = "mnist", "fine-tuning"
    for title in (before, after):
        run.amalgam("extract", "--key", f"{title}.key", "--weights",
                    f"{title}-job/out/weights.safetensors", "-o", "again.onnx", "--safetensors",
                    f"{title}.safetensors")
    a, b = (tensors(run.folder / f"{title}.safetensors") for title in (before, after))
    kept = sorted(n for n in a if a[n] == b[n])
    print(f"\nOf {len(a)} parameters these are the same bits as before fine-tuning: "
          f"{', '.join(kept)}", flush=True)
    run.same = run.same and kept == sorted(n for n in a if n.startswith("conv"))


CASES = {"mnist": mnist, "cifar": cifar, "fine-tuning": fine_tuning}


def main():
    build, *names = sys.argv[1:]
    print("| | trained | test loss | test top-1 | time | the bytes of alone |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="image-results-", dir=build) as folder:
        run = Run(build, folder)
        for name in names or CASES:
            CASES[name](run)
    sys.exit(not run.same)


main()
