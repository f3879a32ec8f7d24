#!/usr/bin/env python3
"""Prints the golden values of test_tokenize.c: a second implementation of `amalgam
tokenize` for words, over real data, and of the deal of `amalgam split`.

    make_tokenize_golden.py FOLDER       (wikitext-2/ and ag_news_csv/ are in FOLDER)
"""
import collections
import csv
import gzip
import hashlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "formats"))
import make_part_golden


def vocabulary(documents, special):
    counts = collections.Counter(word for d in documents for word in d)
    words = sorted((w for w in counts if w not in special),
                   key=lambda w: (-counts[w], w.encode()))
    return {w: i for i, w in enumerate(special + words)}


def sha256(tokens, size):
    return hashlib.sha256(b"".join(t.to_bytes(size, "little") for t in tokens)).hexdigest()


def report(name, documents, words, eos, size):
    tokens = [words[w] for d in documents for w in d + eos]
    print(name, len(documents), "documents", len(tokens), "tokens", len(words), "words",
          sha256(tokens, size))


def wikitext(folder):
    def read(split):
        path = os.path.join(folder, "wikitext-2", split + ".txt")
        with open(path, encoding="utf-8", newline="\n") as f:
            return [line.split() for line in f]

    train, valid = read("train"), read("valid")
    words = vocabulary(train, ["<unk>", "<eos>"])
    report("wikitext-2 train", train, words, ["<eos>"], 2)
    report("wikitext-2 valid", valid, words, ["<eos>"], 2)


def ag_news(folder):
    path = os.path.join(folder, "ag_news_csv", "train-subset.csv.gz")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as f:
        rows = list(csv.reader(f))
    documents = [(row[1] + " " + row[2]).split() for row in rows]
    words = vocabulary(documents, ["<pad>", "<unk>", "<eos>"])
    report("ag_news_csv", documents, words, [], 4)
    print("labels", sha256([int(row[0]) - 1 for row in rows], 4))


def deal(seed, pieces, shares):
    make_part_golden.STREAM = 0x73706C74  # "splt"
    order, parts, begin, total = make_part_golden.shuffle(seed, pieces), [], 0, 0
    for share in shares:
        total += share
        end = int(pieces * total / sum(shares) + 0.5)
        parts.append(order[begin:end])
        begin = end
    print("deal", pieces, "pieces by seed", seed, parts)


if __name__ == "__main__":
    wikitext(sys.argv[1])
    ag_news(sys.argv[1])
    deal(7, 10, [1, 1])
    deal(9, 7, [50, 25, 25])
    deal(1, 8, [1, 1])
