"""The obvious way to turn text into tokens, for comparison: str.split or the csv module,
a Counter for the vocabulary, a dict for the numbers, numpy.save. Reads the file twice, as
one does that cannot hold it. Prints one JSON line.

    python_tokenize.py text|csv FILE OUT.npy
"""

import collections
import csv
import json
import os
import sys
import time

import numpy as np


def documents(kind, path):
    with open(path, encoding="utf-8", newline="") as f:
        if kind == "csv":
            for row in csv.reader(f):
                yield (row[1] + " " + row[2]).split()
        else:
            for line in f:
                yield line.split() + ["<eos>"]


def main():
    kind, path, out = sys.argv[1:]
    start = time.perf_counter()
    counts = collections.Counter()
    for words in documents(kind, path):
        counts.update(words)
    numbers = {word: i for i, (word, _) in enumerate(counts.most_common())}
    tokens = []
    for words in documents(kind, path):
        tokens += [numbers[word] for word in words]
    np.save(out, np.array(tokens, np.uint32))
    seconds = time.perf_counter() - start
    print(json.dumps({"tokens": len(tokens), "mb_s": os.path.getsize(path) / 1e6 / seconds}))


main()
