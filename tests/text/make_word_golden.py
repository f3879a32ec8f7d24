#!/usr/bin/env python3
"""Writes tests/text/golden/words.json: how Python cuts, lowers, counts and refuses text.

Run from the source root; nothing but Python's own library is needed.
"""
import collections
import json
import random

SPACES = " \t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000"
LETTERS = "abcXYZ.,'-09éÉßẞΣςİıǅǆЖжԱաᏣꭰȺⱥKÅ𐐀𐐨日本👍🏽\u0301\u200b\u180e\ufeff\x01\x7f"
FIXED = [
    "the cat sat on the mat . the end",
    " = Robert <unk> = \n",
    "",
    " ",
    "\u3000",
    "x",
    "exactly8 sixteen-bytes-ok seventeen-bytes-x thirty-two-bytes-long-0123456789",
    "it's <eos> here <pad> <unk>, <unkn> <unk",
    "tab\tand\u00a0nbsp\u2028line\x85next zero\u200bwidth mongolian\u180evowel",
    "ΌΣΟΣ ΣΊΣΥΦΟΣ İstanbul STRASSE ẞ ǅ ĲSSEL Ⱥ",
    "👩‍👩‍👧 👍🏽 日本語 text e\u0301",
    "0123456 01234567 012345678 0123456789abcde 0123456789abcdef 0123456789abcdefg",
]
INVALID = [
    b"\xff", b"ok \x80", b"abc\xc3", b"abc\xc3(", b"\xe2\x82", b"\xe2\x82 x", b"\xc0\xaf",
    b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80",
    b"\xf0\x9f\x98", b"sixteen bytes of plain text before \xfe and a lot behind it, too",
    "é".encode() + b"\x80", b"a b c d e f g h i j k l m n o p \xc3",
]


def lower(word):
    """Unicode's simple mapping: letter by letter, no context."""
    return "".join(c.lower() if len(c.lower()) == 1 else "i" for c in word)


def random_text(rng):
    words = []
    for _ in range(rng.randrange(1, 40)):
        kind = rng.random()
        size = rng.randrange(1, 20)
        if kind < 0.6:
            words.append("".join(rng.choice("abcdexyz") for _ in range(size)))
        else:
            words.append("".join(rng.choice(LETTERS) for _ in range(size)))
        words.append("".join(rng.choice(SPACES) for _ in range(rng.choice((1, 1, 1, 3))))
                     if rng.random() < 0.3 else " ")
    return "".join(words)


def vocabulary(texts):
    counts = collections.Counter(w for t in texts for w in t.split())
    for special in ("<unk>", "<eos>"):
        counts.pop(special, None)
    return sorted(counts, key=lambda w: (-counts[w], w.encode()))


def invalid_offset(data):
    try:
        data.decode()
    except UnicodeDecodeError as e:
        return e.start
    raise AssertionError(data)


def main():
    rng = random.Random(4)
    texts = FIXED + [random_text(rng) for _ in range(20)]
    golden = {
        "cases": [{"text": t, "words": t.split(), "lower": [lower(w) for w in t.split()]} for t in texts],
        "vocabulary": vocabulary(texts),
        "invalid": [{"hex": d.hex(), "offset": invalid_offset(d)} for d in INVALID],
    }
    with open("tests/text/golden/words.json", "w", encoding="utf-8") as f:
        json.dump(golden, f, ensure_ascii=True, indent=0)
        f.write("\n")


if __name__ == "__main__":
    main()
