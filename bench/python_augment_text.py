"""The obvious way to mix a language model's windows, for comparison: a random 45 % of the windows
is the owner's, covers come from the other half and equal none of the owner's; both are renumbered,
token by token to secret places of a list, a list for each sample, one array in the end, of which
the SHA-256 is taken. Prints one JSON line.

    python_augment_text.py TOKENS.npy SEQ OUT.npy
"""

import hashlib
import json
import os
import random
import sys
import time

import numpy as np


def main():
    source, seq, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    start = time.perf_counter()
    tokens = np.load(source).tolist()
    rng = random.Random(1)
    vocab = max(tokens) + 1
    maps = [rng.sample(range(vocab), vocab) for _ in range(2)]
    windows = list(range(0, len(tokens) - seq, seq))
    rng.shuffle(windows)
    count = len(windows) * 45 // 100
    own, pool = sorted(windows[:count]), windows[len(windows) // 2:]
    owned = {tuple(tokens[w:w + seq + 1]) for w in own}
    covers = sorted([w for w in pool if tuple(tokens[w:w + seq + 1]) not in owned][:count])
    places = rng.sample(range(2 * (seq + 1)), 2 * (seq + 1))
    samples = []
    for pair in zip(own, covers):
        sample = [0] * (2 * (seq + 1))
        for stream, begin in enumerate(pair):
            renumber, at = maps[stream], stream * (seq + 1)
            for i in range(seq + 1):
                sample[places[at + i]] = renumber[tokens[begin + i]]
        samples.append(sample)
    np.save(out, np.array(samples, np.int32))
    with open(out, "rb") as f:
        hashlib.sha256(f.read())
    seconds = time.perf_counter() - start
    print(json.dumps({"samples": count, "mb_s": os.path.getsize(out) / 1e6 / seconds}))


main()
