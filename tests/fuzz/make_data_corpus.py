#!/usr/bin/env python3
"""Writes the seeds of fuzz_idx, fuzz_cifar, fuzz_image and fuzz_token_set below
tests/fuzz/corpus/.

Run from the source root; the images are those of tests/formats/image_golden.h.
"""
import gzip
import json
import pathlib
import re
import struct

CORPUS = pathlib.Path("tests/fuzz/corpus")


def put(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def idx(kind, dims, data):
    return struct.pack(f">HBB{len(dims)}I", 0, kind, len(dims), *dims) + data


def npy(descr, form, values):
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({len(values)},), }}"
    header = text.ljust(117).encode() + b"\n"
    return (b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header
            + struct.pack(f"<{len(values)}{form}", *values))


def token_set(tokens, documents, labels=(), descr="<u2", form="H", **changes):
    """tokens.json, a shard, documents and labels, each behind its size."""
    about = {"format": "amalgam token set", "version": 1, "vocab_size": 10, "pad": 0,
             "eos": -1, "vocabulary": "0" * 64, "shards": [len(tokens)],
             "documents": len(documents) - 1, "classes": ["a", "b"] if labels else []}
    files = [json.dumps({**about, **changes}).encode(), npy(descr, form, tokens),
             npy("<i8", "q", documents), npy("<i4", "i", labels)]
    return b"".join(struct.pack("<H", len(f)) + f for f in files[:4 if labels else 3])


def main():
    arrays = {
        "images3": idx(8, [2, 2, 3], bytes(range(12))),
        "images4": idx(8, [1, 3, 2, 2], bytes(range(12))),
        "labels": idx(8, [5], bytes(range(5))),
        "floats": idx(13, [1, 1, 2], struct.pack(">2f", 1.0, -2.5)),
        "huge": idx(8, [0xFFFFFFFF] * 3, b""),
        "short": idx(8, [100], b"abc"),
    }
    for name, data in arrays.items():
        put("idx", name, data)
        put("idx", name + ".gz", gzip.compress(data, mtime=0))
    put("idx", "bomb.gz", gzip.compress(arrays["labels"] + bytes(1 << 20), mtime=0))

    pixels = bytes(i % 251 for i in range(3072))
    put("cifar", "ten", b"\0" + b"\x09" + pixels)
    put("cifar", "hundred", b"\1" + b"\x13\x63" + pixels)
    put("cifar", "names10", b"\2" + b"".join(b"n%d\n" % i for i in range(10)) + b"\n")
    put("cifar", "names100", b"\3" + b"".join(b"n%d\r\n" % i for i in range(100)))

    put("token_set", "stream", token_set(range(1, 10), [0, 4, 4, 9]))
    put("token_set", "labels", token_set([3, 1, 2], [0, 2, 3], [1, 0]))
    put("token_set", "wide", token_set([9, 1], [0, 2], descr="<u4", form="I"))
    put("token_set", "no_pad", token_set([3, 1, 2], [0, 2, 3], [1, 0], pad=-1))
    put("token_set", "large_token", token_set([1, 10, 2], [0, 3]))
    put("token_set", "falling", token_set([1, 2, 3], [0, 3, 2, 3]))
    put("token_set", "bad_label", token_set([1, 2], [0, 2], [2]))
    put("token_set", "huge", token_set([1], [0, 1], shards=[1 << 40] * 8))

    header = pathlib.Path("tests/formats/image_golden.h").read_text()
    for name, body in re.findall(r"uint8_t (\w+)\[\] = \{(.*?)\};", header, re.S):
        if not name.endswith("_pixels"):
            put("image", name, bytes(int(b, 16) for b in re.findall("0x..", body)))


if __name__ == "__main__":
    main()
