#!/usr/bin/env python3
"""Writes the seeds of fuzz_records and fuzz_tokenizer below tests/fuzz/corpus/. Run from the source root."""
import gzip
import json
import pathlib

CORPUS = pathlib.Path("tests/fuzz/corpus")
TEXT, CSV, TSV, JSONL = range(4)
HEADER, NAMED, SECOND, BOTH, LABEL = 4, 8, 16, 24, 32


def put(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def records():
    csv = b'label,text\r\n3,"a ""b"", c\nd"\r\n\r\n"1",\n2,x'
    seeds = {
        "lines": (TEXT, b"\xef\xbb\xbfone\r\n\ntwo \xc3\xa9\n"),
        "lines_gz": (TEXT, gzip.compress(b"one\ntwo\n", mtime=0)),
        "lines_bad_utf8": (TEXT, b"ok\nab\xe2\x82"),
        "empty": (TEXT, b""),
        "csv": (CSV | SECOND | LABEL, csv),
        "csv_header": (CSV | HEADER | NAMED | LABEL, csv),
        "csv_both_gz": (CSV | BOTH, gzip.compress(csv, mtime=0)),
        "csv_open_quote": (CSV, b'a,"b\nc'),
        "csv_bad_quote": (CSV, b'a,"b"c\n'),
        "csv_ragged": (CSV, b"a,b\nc\n"),
        "tsv": (TSV | SECOND | LABEL, b'x\tsay "a"\n"b\tc"\td\n'),
        "jsonl": (JSONL | NAMED, b'{"text":"a\\u00e9\\n"}\n\n{"1":7,"text":"\\ud83d\\ude00"}\n'),
        "jsonl_label": (JSONL | LABEL, b'{"1":7,"text":"b"}'),
        "jsonl_bad": (JSONL, b'{"text":\n'),
    }
    for name, (options, data) in seeds.items():
        put("records", name, bytes([options]) + data)


def model(**more):
    return {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ġa": 4, "<u>": 5}, "unk_token": "<u>",
            "merges": ["a b", ["Ġ", "a"]], **more}


def tokenizer():
    ours = {"format": "amalgam vocabulary", "version": 1}
    word = {**ours, "kind": "word", "lower": True, "punctuation": True, "pad": None, "unknown": 0, "eos": 1,
            "tokens": ["<unk>", "<eos>", "the", "é", "a-word-of-more-than-16-bytes"]}
    added = [{"id": 6, "content": "<e>", "single_word": False, "lstrip": True, "rstrip": True, "normalized": False,
              "special": True}]
    level = {"type": "ByteLevel", "add_prefix_space": True}
    split = {"type": "Split", "pattern": {"Regex": "\\s+|[^\\s\\p{L}]+|(?i:ab)"}, "behavior": "MergedWithNext"}
    digits = {"type": "Digits", "individual_digits": False}
    bpe = {"added_tokens": added, "pre_tokenizer": level, "decoder": {"type": "ByteLevel"}, "model": model()}
    fallback = {"<0x%02X>" % b: b + 6 for b in range(0x80, 0xF8)}
    steps = {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, split]},
             "model": model(fuse_unk=True, ignore_merges=True)}
    text = "The bird's é, <e> abab aab 12 日本 ".encode()
    seeds = {
        "word": (word, text),
        "byte": ({**ours, "kind": "byte"}, b"\xff\x00" + text),
        "bpe": (bpe, text),
        "bpe_steps": (steps, text),
        "bpe_ours": ({**ours, "kind": "bpe", "tokenizer": bpe}, text),
        "bpe_bytes": ({"model": model(byte_fallback=True, vocab={**model()["vocab"], **fallback})}, text),
        "bad_merge": ({"model": model(merges=["a z"])}, text),
        "bad_regex": ({"pre_tokenizer": {**split, "pattern": {"Regex": "[a"}}, "model": model()}, text),
        "nfc": ({"normalizer": {"type": "NFC"}, "model": model()}, text),
    }
    for name, (value, data) in seeds.items():
        put("tokenizer", name, json.dumps(value, ensure_ascii=False).encode() + b"\0" + data)
    put("tokenizer", "made", b"\0" + text + b"<unk> <eos> \xc3\x89")
    put("tokenizer", "made_lower", b"\0" + text + b"<unk> <eos> \xc3\x89a")
    put("tokenizer", "made_bad_utf8", b"\0a b \xc3(")
    put("tokenizer", "cut", b'{"format": "amalgam')


if __name__ == "__main__":
    records()
    tokenizer()
