#!/usr/bin/env python3
"""Prints the rows that parts of a data set of 20 rows take, for test_dataset.c.

A second implementation of what docs/datasets.md says: Philox4x32-10 (checked here
against the vector of Random123's kat_vectors), 64-bit draws without bias, the
inside-out shuffle, and rounding of percentages to the nearest row.
"""
from fractions import Fraction

M32, STREAM = 0xFFFFFFFF, 0x70617274  # "part"


def philox(key, counter):
    k, c = list(key), list(counter)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [b >> 32 ^ c[1] ^ k[0], b & M32, a >> 32 ^ c[3] ^ k[1], a & M32]
        k = [(k[0] + 0x9E3779B9) & M32, (k[1] + 0xBB67AE85) & M32]
    return c


assert philox([0, 0], [0] * 4) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


def draws(seed):
    count = 0
    while True:
        a, b, c, d = philox([seed & M32, seed >> 32],
                            [count & M32, count >> 32, STREAM, 0])
        yield a | b << 32
        yield c | d << 32
        count += 1


def shuffle(seed, n):
    numbers, out = draws(seed), [0] * n
    for i in range(n):
        while (v := next(numbers)) < (1 << 64) % (i + 1):
            pass
        j = v % (i + 1)
        out[i] = out[j]
        out[j] = i
    return out


def part(seed, n, low, high):
    edge = lambda percent: int(n * Fraction(percent) / 100 + Fraction(1, 2))
    return sorted(shuffle(seed, n)[edge(low):edge(high)])


if __name__ == "__main__":
    for seed, low, high in [(3, "0", "50"), (3, "50", "100"), (3, "12.5", "33.333333"),
                            (9223372036854775807, "0", "25")]:
        print(f"[{low}%-{high}%:seed={seed}]", part(seed, 20, low, high))
