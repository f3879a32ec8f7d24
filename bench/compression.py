#!/usr/bin/env python3
"""Covers of another compression history, and what re-encoding does to it.

    bench/compression.py BUILD        (numpy, Pillow; Fashion-MNIST from dataset-fashion-mnist)

5,000 private images as they are, 7,000 for the pool that went through JPEG at quality 75 before;
then both sides encoded once more alike, and then the private side alone, at the pool's quality.
Five draws of the rows; prints the median of what `amalgam audit` finds, and in how many draws
it fails the job."""
import gzip
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

FASHION, HISTORY, SEEDS = "/usr/share/datasets/fashion-mnist", 75, range(3, 8)


def images(count, seed):
    def read(name, skip):
        with gzip.open(os.path.join(FASHION, name)) as f:
            return np.frombuffer(f.read()[skip:], np.uint8)
    x = read("train-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    y = read("train-labels-idx1-ubyte.gz", 8).astype(np.int32)
    rows = np.random.default_rng(seed).permutation(len(x))[:sum(count)]
    return [(x[part], y[part]) for part in (np.sort(rows[:count[0]]), np.sort(rows[count[0]:]))]


def encode(x, quality):
    """Through JPEG and back."""
    out = np.empty_like(x)
    for i, image in enumerate(x):
        with io.BytesIO() as f:
            Image.fromarray(image[0]).save(f, "JPEG", quality=quality)
            out[i, 0] = np.asarray(Image.open(f))
    return out


def findings(amalgam, folder, own, pool):
    def save(name, pair):
        paths = [os.path.join(folder, f"{name}-{part}.npy") for part in "xy"]
        for path, array in zip(paths, pair):
            np.save(path, array)
        return ",".join(paths)
    model, job, key = (os.path.join(folder, n) for n in ("m.onnx", "job", "key"))
    for old in (job, key):
        subprocess.run(["rm", "-rf", old], check=True)
    subprocess.run([amalgam, "zoo", "lenet", "--input", "1x28x28", "--seed", "1", "-o", model], check=True,
                   stdout=subprocess.DEVNULL)
    subprocess.run([amalgam, "obfuscate", "--model", model, "--train", save("own", own), "--decoys-from",
                    save("pool", pool), "--key", key, "-o", job, "--quiet"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    said = subprocess.run([amalgam, "audit", job, "--key", key, "--attacks", "naturalness,c2st", "--json",
                           "--quiet"], stdout=subprocess.PIPE, check=False)  # 3: something was found
    return [(f["value"], f["verdict"] == "FAIL") for f in json.loads(said.stdout)["findings"]]


def sides(own, pool, history):
    """What the two sides may be: title, private images, covers."""
    yield "as they are", own, pool
    for q in (90, 75, 50):
        yield f"both encoded again, quality {q}", encode(own, q), encode(pool, q)
    yield f"the private side alone, quality {history}", encode(own, history), pool


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    amalgam = os.path.join(sys.argv[1], "src", "cli", "amalgam")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            (own, own_y), (pool, pool_y) = images((5000, 7000), seed)
            for title, x, covers in sides(own, encode(pool, HISTORY), HISTORY):
                found.setdefault(title, []).append(
                    findings(amalgam, folder, (x, own_y), (covers, pool_y)))
    print("| images | named by naturalness (chance .500) | standard errors of the mean | c2st AUC | fails |")
    print("|---|---|---|---|---|")
    for title, draws in found.items():
        values = [f"{statistics.median(d[i][0] for d in draws):.3g}" for i in range(3)]
        failed = sum(any(bad for _, bad in d) for d in draws)
        print(f"| {title} | {' | '.join(values)} | {failed} of {len(draws)} |")


main()
