"""Makes features_golden.h: features of small pictures and other numbers, by numpy and
Python's zlib, and of a few samples of tokens, by dictionaries of counts.

    python tests/audit/make_features_golden.py > tests/audit/features_golden.h
"""
import itertools
import math
import zlib
from collections import Counter

import numpy as np

RNG = np.random.default_rng(5)


def correlate(a, b):
    a, b = a.ravel(), b.ravel()
    if a.size == 0 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def mean(x):
    return float(np.mean(x)) if np.size(x) else 0.0


def levels(x):
    if np.all((x >= 0) & (x <= 255) & (x == np.floor(x))):
        return x.astype(np.uint8)
    span = np.ptp(x)
    return np.floor((x - x.min()) * (255 / span if span else 0) + 0.5).clip(0, 255).astype(np.uint8)


def picture_features(x32):
    """In the order of image_features.c."""
    x = x32.astype(np.float64)
    C, H, W = x.shape
    m, var = x.mean(), x.var()
    constant = np.ptp(x) == 0
    dh, dv = np.diff(x, axis=2), np.diff(x, axis=1)
    steps = np.concatenate([dh.ravel(), dv.ravel()])
    tv = mean(np.abs(steps))
    ah, av = mean(np.abs(dh)), mean(np.abs(dv))
    q = levels(x)
    share = np.bincount(q.ravel(), minlength=256) / q.size
    share = share[share > 0]
    edges = np.concatenate([np.abs(dh[:, :, 7::8]).ravel(), np.abs(dv[:, 7::8, :]).ravel()])
    if H > 2 and W > 2:
        laplacian = (4 * x[:, 1:-1, 1:-1] - x[:, :-2, 1:-1] - x[:, 2:, 1:-1]
                     - x[:, 1:-1, :-2] - x[:, 1:-1, 2:])
        energy = float(np.mean(laplacian ** 2))
    else:
        energy = 0.0
    pairs = list(itertools.combinations(range(C), 2))
    return [
        tv,
        m,
        math.sqrt(var),
        0.0 if constant else float(np.mean((x - m) ** 3)) / var ** 1.5,
        0.0 if constant else math.log(float(np.mean((x - m) ** 4)) / var ** 2),
        mean(x == 0),
        mean(x == x.min()),
        mean(x == x.max()),
        float(-(share * np.log2(share)).sum()),
        float(share.size),
        correlate(x[:, :, :-1], x[:, :, 1:]),
        correlate(x[:, :-1, :], x[:, 1:, :]),
        (ah - av) / (ah + av) if ah + av else 0.0,
        (mean(edges) - tv) / tv if edges.size and tv else 0.0,
        math.log(mean(steps ** 4) / mean(steps ** 2) ** 2) if tv else 0.0,
        energy,
        energy / (20 * var) if not constant else 0.0,
        len(zlib.compress(q.tobytes(), 6)) / q.size,
        correlate(x, x[:, :, ::-1]),
        sum(correlate(x[c], x[d]) for c, d in pairs) / len(pairs) if pairs else 0.0,
        mean(x[:, H // 4:H - H // 4, W // 4:W - W // 4]) - m,
    ]


def smooth(shape, passes):
    x = RNG.normal(size=shape)
    for _ in range(passes):
        x = (x + np.roll(x, 1, 1) + np.roll(x, 1, 2)) / 3
    return x / x.std()


def pictures():
    colour = smooth((3, 18, 13), 4)
    colour[1] = 0.7 * colour[0] + 0.3 * colour[1]
    yield (colour * 60 + 120).clip(0, 255).round()
    yield (smooth((1, 28, 28), 8) * 90).clip(0, 255).round()
    yield RNG.integers(0, 256, (3, 8, 9)).astype(float)
    yield smooth((1, 11, 17), 2) * 0.3 - 0.1  # stretched to levels
    yield smooth((3, 41, 35), 3)  # more than one piece of deflate's input
    yield np.full((1, 4, 5), 7.0)
    yield RNG.normal(size=(1, 1, 30))  # a row of a table
    yield np.maximum(RNG.normal(size=(1, 6, 1)), 0)
    yield np.full((1, 1, 1), 3.0)


# ---- tokens ----

ROWS, LENGTH = 12, 10


def token_rows():
    """Sentences of a small grammar, padded with 0 at the end; the last but one all padding,
    the last without a repetition anywhere."""
    rows = []
    for _ in range(ROWS - 2):
        row, t = [], int(RNG.integers(1, 6))
        for _ in range(int(RNG.integers(5, LENGTH + 1))):
            row.append(t)
            t = t % 6 + 1 if RNG.random() < 0.7 else int(RNG.integers(1, 9))
        rows.append(row + [0] * (LENGTH - len(row)))
    return rows + [[0] * LENGTH, list(range(50, 50 + LENGTH))]


def body(row):
    run = 1
    while run < len(row) and row[-1 - run] == row[-1]:
        run += 1
    return row[:-run] if run > 1 else row


def grams(rows, order):
    return Counter(tuple(r[i:i + order]) for r in rows for i in range(len(r) - order + 1))


def token_features(rows, index):
    """In the order of token_features.c, straight from the definitions in its head."""
    bodies = [body(r) for r in rows]
    others = bodies[:index] + bodies[index + 1:]
    own = bodies[index]
    count = {order: grams(others, order) for order in (1, 2, 3)}
    total = sum(count[1].values()) + len(grams(bodies, 1))

    def p1(c):
        return (count[1][(c,)] + 1) / total

    def p2(b, c):
        return (count[2][(b, c)] + p1(c)) / (count[1][(b,)] + 1)

    def p3(a, b, c):
        return (count[3][(a, b, c)] + p2(b, c)) / (count[2][(a, b)] + 1)

    one = list(own)
    two = list(zip(own, own[1:]))
    three = list(zip(own, own[1:], own[2:]))
    return [
        mean([-math.log(p2(*g)) for g in two]),
        mean([-math.log(p1(c)) for c in one]),
        mean([-math.log(p3(*g)) for g in three]),
        mean([math.log(p2(b, c) / p1(c)) for b, c in two]),
        mean([math.log(p3(a, b, c) / p2(b, c)) for a, b, c in three]),
        len(set(one)) / len(one) if one else 0.0,
        mean([count[1][(c,)] == 0 for c in one]),
        max(Counter(one).values()) / len(one) if one else 0.0,
        mean([b == c for b, c in two]),
        mean([a == c for a, _, c in three]),
        float(len(one)),
    ]


def line(values, form):
    return "{" + ", ".join(form(v) for v in values) + "}"


def exact(v):
    return f"{v:.17g}"


def main():
    print(f"/* Made by make_features_golden.py with numpy {np.__version__}. */")
    print("static const picture_golden picture_goldens[] = {")
    for x in pictures():
        x = x.astype(np.float32)
        print("    {" + line(x.shape, str) + ",")
        print("     " + line(x.ravel(), lambda v: f"{v:.9g}") + ",")
        print("     " + line(picture_features(x), exact) + "},")
    print("};")
    rows = token_rows()
    print(f"enum {{ TOKEN_ROWS = {ROWS}, TOKEN_LENGTH = {LENGTH} }};")
    print("static const int32_t token_rows[TOKEN_ROWS][TOKEN_LENGTH] = {")
    for row in rows:
        print("    " + line(row, str) + ",")
    print("};")
    print("static const double token_goldens[TOKEN_ROWS][AMG_MAX_FEATURES] = {")
    for i in range(ROWS):
        print("    " + line(token_features(rows, i), exact) + ",")
    print("};")


if __name__ == "__main__":
    main()
