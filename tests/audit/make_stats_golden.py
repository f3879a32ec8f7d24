"""Makes stats_golden.h: what src/audit/stats.h must give, computed by other means: areas
and Rand indices by counting pairs, binomial tails in whole numbers, quantiles by Python's
statistics, logistic regression by gradient descent, SSIM by its definition window by
window.

    python tests/audit/make_stats_golden.py > tests/audit/stats_golden.h
"""
import math
from fractions import Fraction
from itertools import combinations
from statistics import NormalDist

import numpy as np

rng = np.random.default_rng(20240611)


def number(v):
    if math.isinf(v):
        return "INFINITY" if v > 0 else "-INFINITY"
    return repr(float(v))


def row(values):
    return "{" + ", ".join(number(v) for v in values) + "}"


def ints(values):
    return "{" + ", ".join(str(int(v)) for v in values) + "}"


def table(kind, name, rows):
    print(f"static const {kind} {name}[] = {{")
    for r in rows:
        print(f"    {{{r}}},")
    print("};")


def deviations(tests):
    return NormalDist().inv_cdf(1 - 0.025 / tests)


def auc(score, positive):
    wins = Fraction(0)
    pairs = 0
    for s, p in zip(score, positive):
        for t, q in zip(score, positive):
            if p and not q:
                pairs += 1
                wins += 1 if s > t else Fraction(1, 2) if s == t else 0
    return float(wins / pairs)


def hanley_mcneil(area, positives, negatives, tests):
    q1 = area / (2 - area)
    q2 = 2 * area**2 / (1 + area)
    variance = area * (1 - area)
    variance += (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    reach = deviations(tests) * math.sqrt(variance / (positives * negatives))
    return max(area - reach, 0), min(area + reach, 1)


def wilson(hits, n, tests):
    """The shares whose score test does not reject hits: the roots of
    (hits/n - p)^2 = z^2 p (1 - p) / n."""
    z = deviations(tests)
    low, high = sorted(np.roots([1 + z * z / n, -2 * hits / n - z * z / n, (hits / n) ** 2]).real)
    return max(low, 0), min(high, 1)


def binomial_tail(hits, n, p):
    p = Fraction(p)
    return float(sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(hits, n + 1)))


def adjusted_rand(a, b):
    """From the four kinds of pairs."""
    together = apart_b = apart_a = apart = 0
    for i, j in combinations(range(len(a)), 2):
        same_a, same_b = a[i] == a[j], b[i] == b[j]
        together += same_a and same_b
        apart_b += same_a and not same_b
        apart_a += same_b and not same_a
        apart += not same_a and not same_b
    top = 2 * (together * apart - apart_b * apart_a)
    return top / ((together + apart_b) * (apart_b + apart) + (together + apart_a) * (apart_a + apart))


def logistic(x, y, l2):
    """Steepest descent with a step that the curvature admits, until nothing moves."""
    ones = np.hstack([x, np.ones((len(x), 1))])
    penalty = np.array([l2] * x.shape[1] + [0])
    step = 1 / (np.linalg.norm(ones, 2) ** 2 / 4 + l2)
    w = np.zeros(ones.shape[1])
    for _ in range(2_000_000):
        slope = ones.T @ (1 / (1 + np.exp(-ones @ w)) - y) + penalty * w
        w -= step * slope
        if np.abs(slope).max() < 1e-12:
            return w
    raise SystemExit("gradient descent did not settle")


def gaussian(size):
    at = np.arange(size) - (size - 1) / 2
    w = np.exp(-(at**2) / (2 * 1.5**2))
    return w / w.sum()


def ssim(a, b, value_range):
    a, b = a.astype(np.float64), b.astype(np.float64)
    c1, c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    _, height, width = a.shape
    h, w = min(11, height), min(11, width)
    weight = np.outer(gaussian(h), gaussian(w))
    found = []
    for c in range(a.shape[0]):
        for i in range(height - h + 1):
            for j in range(width - w + 1):
                x, y = a[c, i : i + h, j : j + w], b[c, i : i + h, j : j + w]
                mx, my = (weight * x).sum(), (weight * y).sum()
                vx = (weight * (x - mx) ** 2).sum()
                vy = (weight * (y - my) ** 2).sum()
                cov = (weight * (x - mx) * (y - my)).sum()
                found.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(found))


def psnr(a, b, value_range):
    mse = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return 10 * math.log10(value_range**2 / mse) if mse else math.inf


def auc_rows():
    for n, levels in ((2, 0), (12, 0), (30, 4), (40, 2), (64, 0)):
        positive = rng.random(n) < 0.4
        positive[0], positive[1] = True, False
        score = rng.normal(size=n) + 0.7 * positive
        if levels:
            score = np.round(score * levels / 4)
        yield f"{n}, {row(score)}, {ints(positive)}, {number(auc(score, positive))}"


def interval_rows():
    for area, p, n, tests in ((0.5, 784, 784, 1), (0.9, 30, 90, 1), (0.98, 10, 12, 5), (0.2, 200, 600, 20), (1.0, 5, 5, 1)):
        low, high = hanley_mcneil(area, p, n, tests)
        yield f"{area}, {p}, {n}, {tests}, {number(low)}, {number(high)}"


def share_rows():
    for hits, n, tests in ((0, 60, 1), (15, 60, 1), (60, 60, 1), (1, 3, 1), (270, 1000, 12), (5000, 10000, 24)):
        low, high = wilson(hits, n, tests)
        yield f"{hits}, {n}, {tests}, {number(low)}, {number(high)}"


def tail_rows():
    for hits, n, p in ((15, 60, 0.25), (30, 60, 0.25), (1, 10, 0.5), (10, 10, 0.5), (300, 1000, 0.25), (0, 5, 0.1), (3, 1000, 0.125)):
        yield f"{hits}, {n}, {p}, {number(binomial_tail(hits, n, p))}"


def quantile_rows():
    for p in (1e-300, 1e-12, 0.001, 0.025, 0.1, 0.4999, 0.5, 0.75, 0.975, 0.999999):
        yield f"{p!r}, {number(NormalDist().inv_cdf(p))}"


def rand_rows():
    n = 24
    truth = rng.integers(0, 3, n)
    noisy = np.where(rng.random(n) < 0.3, rng.integers(0, 4, n), truth)
    for a, b in ((truth, 2 - truth), (truth, noisy), (truth, rng.integers(0, 3, n)), (noisy - 2, truth * 1000)):
        yield f"{ints(a)}, {ints(b)}, {number(adjusted_rand(a, b))}"


def logistic_rows():
    n, d = 20, 3
    for l2, shift in ((1.0, 1.0), (0.1, 0.5), (0.05, 4.0)):
        y = np.arange(n) % 2
        x = rng.normal(size=(n, d)) + shift * np.outer(y, [1, -0.5, 0]) + [0, 2, 0]
        yield f"{l2}, {row(x.ravel())}, {ints(y)}, {row(logistic(x, y, l2))}"


def image_rows():
    for dims, noise, value_range in (((1, 14, 13), 20, 255), ((3, 12, 16), 60, 255), ((1, 6, 20), 5, 255), ((2, 11, 11), 0.1, 1), ((1, 7, 8), 0, 255)):
        c, h, w = dims
        at = np.arange(h)[:, None] * 9 + np.arange(w)[None, :] * 5
        a = np.stack([np.round(128 + 100 * np.sin(at / (20 + 7 * i))) for i in range(c)])
        if value_range == 1:
            a = a / 255
        b = np.clip(a + noise * rng.normal(size=dims), 0, value_range)
        a, b = a.astype(np.float32), b.astype(np.float32)
        yield (f"{ints(dims)}, {value_range}, {number(ssim(a, b, value_range))}, {number(psnr(a, b, value_range))}, "
               f"{row(a.ravel())}, {row(b.ravel())}")


print(f"/* Made by make_stats_golden.py with numpy {np.__version__}. */")
table("auc_golden", "auc_goldens", auc_rows())
table("interval_golden", "interval_goldens", interval_rows())
table("share_golden", "share_goldens", share_rows())
table("tail_golden", "tail_goldens", tail_rows())
table("quantile_golden", "quantile_goldens", quantile_rows())
table("rand_golden", "rand_goldens", rand_rows())
table("logistic_golden", "logistic_goldens", logistic_rows())
table("image_golden", "image_goldens", image_rows())
