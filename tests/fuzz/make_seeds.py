"""Writes the seeds of corpus/{safetensors,npy,manifest}: valid files made by the reference
packages (numpy 2.4, safetensors 0.8) and malformed variants, one idea per file.
Run here: python3 make_seeds.py. Fuzzing findings are added beside them by hand."""
import io
import json
import pathlib
import struct

import numpy as np
from safetensors.numpy import save

CORPUS = pathlib.Path(__file__).parent / "corpus"


def put(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def st(header, data=b""):
    text = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="U8", shape="[1]", offsets="[0,1]"):
    return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}'


def safetensors():
    three = save({"b": np.arange(4, dtype="<f4").reshape(2, 2),
                  "a": np.array([1, 2, 3], dtype="u1"), "s": np.array(5, dtype="<i8")})
    put("safetensors", "three", three)
    put("safetensors", "metadata", save({"b": np.array([1.5], "<f4")}, {"format": "pt"}))
    put("safetensors", "none", save({}))
    put("safetensors", "escaped", st(f'{{"\\u00e8\\n/":{entry()}}}', b"x"))
    put("safetensors", "misaligned",
        st(f'{{"a":{entry()},"b":{entry("F64", "[1]", "[1,9]")}}}', bytes(9)))
    put("safetensors", "empty_tensor", st(f'{{"a":{entry("F32", "[0,3]", "[0,0]")}}}'))
    put("safetensors", "bad_cut", three[:100])
    put("safetensors", "bad_trailing", three + b"x")
    put("safetensors", "bad_huge_header", struct.pack("<Q", 1 << 63) + three[8:])
    put("safetensors", "bad_duplicate", st(f'{{"a":{entry()},"a":{entry()}}}', b"x"))
    put("safetensors", "bad_overlap", st(
        f'{{"a":{entry(shape="[2]", offsets="[0,2]")},"b":{entry(offsets="[1,2]")}}}', b"xy"))
    put("safetensors", "bad_hole",
        st(f'{{"a":{entry()},"b":{entry(offsets="[2,3]")}}}', b"xyz"))
    put("safetensors", "bad_dtype", st(f'{{"a":{entry("F8_E4M3")}}}', b"x"))
    put("safetensors", "bad_overflow",
        st(f'{{"a":{entry("F32", "[4294967296,4294967296]", "[0,0]")}}}'))
    put("safetensors", "bad_metadata", st('{"__metadata__":{"a":"","b":1}}'))
    put("safetensors", "bad_utf8", st(b'{"\xff":1}'))
    put("safetensors", "bad_nul", st(b'{"a\0b":1}'))
    put("safetensors", "bad_nesting", st('{"a":' + "[" * 3000))


def npy():
    def bytes_of(array, version=None):
        out = io.BytesIO()
        np.lib.format.write_array(out, array, version)
        return out.getvalue()

    def literal(text, data=b""):
        return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text.encode() + data

    f4 = bytes_of(np.arange(6, dtype="<f4").reshape(2, 3))
    put("npy", "f4", f4)
    put("npy", "scalar", bytes_of(np.array(7, "u1")))
    put("npy", "empty", bytes_of(np.zeros((0, 3), "<i4")))
    put("npy", "v2", bytes_of(np.array([True, False]), (2, 0)))
    put("npy", "v3", bytes_of(np.array([1, 2], "<i8"), (3, 0)))
    put("npy", "rank8", bytes_of(np.zeros((1,) * 8, "i1")))
    put("npy", "loose", literal('{"shape" :( 2,3 ,),\'fortran_order\':False,"descr":"|u1"}\n',
                                bytes(6)))
    put("npy", "bad_fortran", bytes_of(np.asfortranarray(np.zeros((2, 2), "<f4"))))
    put("npy", "bad_big_endian", bytes_of(np.arange(2, dtype=">f4")))
    put("npy", "bad_struct", bytes_of(np.zeros(1, [("a", "<f4")])))
    put("npy", "bad_text", bytes_of(np.array(["ab"])))
    put("npy", "bad_object",
        literal("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n", bytes(8)))
    put("npy", "bad_overflow", literal(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296,4294967296)}\n"))
    put("npy", "bad_dim", literal(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999,)}\n"))
    put("npy", "bad_cut", f4[:-1])
    put("npy", "bad_cut_header", f4[:40])
    put("npy", "bad_trailing", f4 + b"x")
    put("npy", "bad_version", f4[:6] + b"\x04" + f4[7:])


def manifest():
    good = {
        "version": 1, "task": "classification",
        "input": {"name": "x", "dtype": "U8", "dims": [3, 64, 64]},
        "target": {"dtype": "I32", "dims": []},
        "heads": [{"output": "q1", "label_column": 1, "num_classes": 10,
                   "loss": "cross_entropy"},
                  {"output": "q2", "label_column": 0, "num_classes": 10,
                   "loss": "cross_entropy"}],
        "train": {"num_samples": 150,
                  "shards": [{"x": "data/0.npy", "y": "data/1.npy", "rows": 100},
                             {"x": "data/2.npy", "y": "data/3.npy", "rows": 50}]},
        "val": {"num_samples": 0, "shards": []},
        "files": [{"path": "model.onnx", "size_bytes": 3, "sha256": "0" * 64},
                  {"path": "data/0.npy", "size_bytes": 0, "sha256": "f" * 64}],
    }

    def variant(name, edit):
        copy = json.loads(json.dumps(good))
        edit(copy)
        put("manifest", name, json.dumps(copy))

    def regression(m):
        m.update(task="regression", target={"dtype": "F32", "dims": [2, 3]})
        for head in m["heads"]:
            del head["num_classes"]
            head["loss"] = "mse"

    def reconstruction(m):
        regression(m)
        m.update(task="reconstruction")
        del m["target"]
        for i, head in enumerate(m["heads"]):
            del head["label_column"]
            head["target"] = f"v{i}"
        for shard in m["train"]["shards"]:
            del shard["y"]

    def language_model(m):
        reconstruction(m)
        m.update(task="language_model")
        for head in m["heads"]:
            head.update(num_classes=50257, loss="cross_entropy")
        m["heads"][1]["ignore_index"] = 0

    def multi_task(m):
        regression(m)
        m.update(task="multi_task", target={"dtype": "F32", "dims": [5]})
        for head in m["heads"]:
            head["loss"] = "sum"
            head["parts"] = [{"dims": [10], "loss": "cross_entropy", "weight": 1},
                             {"dims": [2, 2], "loss": "huber", "weight": 0.5, "delta": 0.5}]

    put("manifest", "good", json.dumps(good, indent=2) + "\n")
    put("manifest", "compact", json.dumps(good, separators=(",", ":")))
    variant("class_map", lambda m: m.update(target={"dtype": "I32", "dims": [64, 64]}))
    variant("regression", regression)
    variant("reconstruction", reconstruction)
    variant("language_model", language_model)
    variant("multi_task", multi_task)
    variant("losses", lambda m: (regression(m), m["heads"][0].update(loss="l1")))
    variant("bad_parts", lambda m: (multi_task(m), m.update(target={"dtype": "F32", "dims": [6]})))
    variant("bad_part", lambda m: (multi_task(m), m["heads"][1]["parts"][0].update(loss="sum")))
    variant("bad_alias", lambda m: (language_model(m), m.update(task="lm")))
    variant("bad_ignore",
            lambda m: (language_model(m), m["heads"][0].update(ignore_index=-1)))
    variant("bad_task", lambda m: m.update(task="ranking"))
    variant("bad_target", lambda m: m.update(target={"dtype": "F32", "dims": []}))
    variant("bad_target_rank", lambda m: m.update(target={"dtype": "I32", "dims": [1] * 7}))
    variant("bad_version", lambda m: m.update(version=2))
    variant("bad_unknown", lambda m: m.update(more=[{"a": "}]\""}]))
    variant("bad_missing", lambda m: m.pop("val"))
    variant("bad_sum", lambda m: m["train"].update(num_samples=151))
    variant("bad_column", lambda m: m["heads"][1].update(label_column=1))
    variant("bad_output", lambda m: m["heads"][1].update(output="q1"))
    variant("bad_path", lambda m: m["train"]["shards"][1].update(x="data/../../x"))
    variant("bad_absolute", lambda m: m["files"][0].update(path="/etc/passwd"))
    variant("bad_twice", lambda m: m["files"][0].update(path="data/0.npy"))
    variant("bad_hash", lambda m: m["files"][1].update(sha256="F" * 64))
    variant("bad_rank", lambda m: m["input"].update(dims=[1] * 8))
    variant("bad_dims", lambda m: m["input"].update(dims=[2**31 - 1] * 3))
    variant("bad_real", lambda m: m["val"].update(num_samples=0.0))
    put("manifest", "bad_cut", json.dumps(good)[:300])
    put("manifest", "bad_array", "[1]")
    put("manifest", "bad_big_integer", '{"version":99999999999999999999}')
    put("manifest", "bad_empty", "")


safetensors()
npy()
manifest()
