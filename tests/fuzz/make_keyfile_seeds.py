#!/usr/bin/env python3
"""Writes the seeds of corpus/keyfile: key files and ('P' + ...) payloads, from docs/key.md.
Needs onnx. Run: python3 tests/fuzz/make_keyfile_seeds.py"""
import json
import pathlib
import struct
import sys

from onnx import TensorProto, helper

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "key"))
from make_vectors import subkey, xaead  # noqa: E402

FOLDER = HERE / "corpus" / "keyfile"


def network():
    """x[N,4] -> Gemm -> o[N,2]; parameters without data, as the key file stores them."""
    def absent(name, *dims):
        return TensorProto(name=name, dims=dims, data_type=TensorProto.FLOAT,
                           data_location=TensorProto.EXTERNAL)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["o"], name="fc", transB=1)], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, ["N", 2])],
        [absent("w", 2, 4), absent("b", 2)])
    return helper.make_model(graph, ir_version=8,
                             opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def head(**changes):
    h = {"version": 1, "mode": "streams", "num_decoys": 1, "dims": [1, 2, 2], "dtype": "F32",
         "amount": 0.0, "num_classes": 2, "cover_classes": 2, "permute_labels": True,
         "preprocess": {"dtype": "F32", "mean": [], "std": []},
         "names": [["p1", "w"], ["p0", "b"]], "original_output": "o1",
         "job_sha256": "0123456789abcdef" * 4}
    h.update(changes)
    return json.dumps(h, separators=(",", ":")).encode()


def payload(h):
    return struct.pack("<I", len(h)) + h + network()


def keyfile(plain, **changes):
    f = dict(version=1, flags=0, ops=0, mem=0, size=len(plain))
    f.update(changes)
    secret, nonce = bytes(range(32)), bytes(range(24))
    top = (b"AMGKEY1\n" + struct.pack("<IIQQ", f["version"], f["flags"], f["ops"], f["mem"]) +
           bytes(40) + nonce + struct.pack("<Q", f["size"]) + secret + bytes(16))
    return top + xaead(subkey(secret, 1), nonce, plain, top)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    good = keyfile(b"payload")
    seeds = {
        "key_good": good,
        "key_empty_payload": keyfile(b""),
        "key_passphrase": keyfile(b"", flags=1, ops=3, mem=1 << 28),
        "key_terabyte": keyfile(b"", flags=1, ops=3, mem=1 << 40),
        "key_version": keyfile(b"", version=2),
        "key_flags": keyfile(b"", flags=2),
        "key_huge_payload": keyfile(b"", size=2**64 - 1),
        "key_cut": good[:160],
        "key_header_cut": good[:100],
        "key_damaged": good[:-1] + b"\0",
        "key_trailing": good + b"x",
        "payload_streams": b"P" + payload(head()),
        "payload_paper": b"P" + payload(head(mode="paper", amount=0.5, preprocess={
            "dtype": "F32", "mean": [0.5], "std": [0.25]})),
        "payload_no_names": b"P" + payload(head(names=[])),
        "payload_same_name": b"P" + payload(head(names=[["p", "w"], ["p", "b"]])),
        "payload_unknown_name": b"P" + payload(head(names=[["p", "v"]])),
        "payload_huge_dims": b"P" + payload(head(dims=[2**31 - 1] * 3)),
        "payload_bad_json": b"P" + payload(b'{"version":1,'),
        "payload_no_network": b"P" + payload(head())[:4 + len(head())],
        "payload_huge_head": b"P" + b"\xff\xff\xff\xff{}",
        "empty": b"",
    }
    for name, data in seeds.items():
        (FOLDER / name).write_bytes(data)


if __name__ == "__main__":
    main()
