"""One row at a time in mpmath, to 50 digits: what the faster twins are judged by."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import mpmath
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

DIGITS = 50


def exactly(values: Iterable[Any]) -> list[Any]:
    # A float of any width is a sum of two doubles here: longdouble keeps 64 bits.
    return [mpmath.mpf(float(v)) + mpmath.mpf(float(v - type(v)(float(v)))) for v in values]


def softmax_row(x: Sequence[Any] | Array, temperature: float = 1.0) -> list[Any]:
    """Return the softmax of one row of finite numbers to 50 digits."""
    with mpmath.workdps(DIGITS):
        scaled = [v / mpmath.mpf(temperature) for v in exactly(x)]
        top = max(scaled)
        exps = [mpmath.exp(v - top) for v in scaled]
        total = mpmath.fsum(exps)
        return [e / total for e in exps]


def softmin_row(x: Sequence[Any] | Array, temperature: float = 1.0) -> list[Any]:
    """Return the softmin of one row of finite numbers to 50 digits."""
    return softmax_row([-v for v in x], temperature)


def log_softmax_row(x: Sequence[Any] | Array, temperature: float = 1.0) -> list[Any]:
    """Return the log_softmax of one row of finite numbers to 50 digits."""
    with mpmath.workdps(DIGITS):
        scaled = [v / mpmath.mpf(temperature) for v in exactly(x)]
        first = scaled.index(max(scaled))
        top = scaled[first]
        others = mpmath.fsum(mpmath.exp(v - top) for i, v in enumerate(scaled) if i != first)
        log_sum = mpmath.log1p(others)
        return [(v - top) - log_sum for v in scaled]


def sigmoid_row(x: Sequence[Any] | Array) -> list[Any]:
    """Return the sigmoid of each of some finite numbers to 50 digits."""
    with mpmath.workdps(DIGITS):
        return [1 / (1 + mpmath.exp(-v)) for v in exactly(x)]


def log_sigmoid_row(x: Sequence[Any] | Array) -> list[Any]:
    """Return the log_sigmoid of each of some finite numbers to 50 digits."""
    with mpmath.workdps(DIGITS):
        return [min(v, 0) - mpmath.log1p(mpmath.exp(-abs(v))) for v in exactly(x)]


def logsumexp_row(x: Sequence[Any] | Array, b: Sequence[Any] | Array | None = None) -> list[Any]:
    """Return [log|Σ b · exp(x)|, sign] of one row of finite numbers to at least 25 digits."""
    row = np.asarray(x)
    value, sign = logsumexp_exactly(row, np.ones_like(row) if b is None else np.asarray(b))
    return [value, sign]


def logsumexp_exactly(x: Array, b: Array) -> tuple[Any, int]:
    # The weights of equal entries add up exactly. Then the sum is 0 only if all of them are
    # (Lindemann and Weierstrass), and enough digits separate it from 0 else.
    kept = ~np.isneginf(x)
    values, group = np.unique(x[kept], return_inverse=True)
    weights = [Fraction(0)] * len(values)
    for g, w in zip(group, b[kept], strict=True):
        weights[g] += Fraction(float(w))
    pairs = [(float(v), w) for v, w in zip(values, weights, strict=True) if w != 0]
    if not pairs:
        return mpmath.mpf("-inf"), 0
    top, at_top = pairs.pop()
    digits = DIGITS
    while True:
        with mpmath.workdps(digits):
            ratios = ((v, w / at_top) for v, w in pairs)
            terms = [
                mpmath.mpf(r.numerator) / r.denominator * mpmath.exp(mpmath.mpf(v) - top)
                for v, r in ratios
            ]
            others = mpmath.fsum(terms)
            total = 1 + others
            if total != 0:
                size = mpmath.mpf(abs(at_top).numerator) / at_top.denominator
                rest = mpmath.log1p(others) if 2 * others > -1 else mpmath.log(abs(total))
                parts = [mpmath.mpf(top), mpmath.log(size), rest]
                value = mpmath.fsum(parts)
                lost = mpmath.fsum(terms, absolute=True) / abs(total)
                lost += mpmath.fsum(parts, absolute=True)
                if abs(value) >= lost * mpmath.mpf(10) ** (25 - digits):
                    return value, (1 if at_top > 0 else -1) * int(mpmath.sign(total))
        digits *= 2


def softmax_vjp_row(
    y: Sequence[Any] | Array, dy: Sequence[Any] | Array, temperature: float = 1.0
) -> list[Any]:
    """Return the vector-Jacobian product of one row to 50 digits."""
    with mpmath.workdps(DIGITS):
        p, d = exactly(y), exactly(dy)
        at_top = d[p.index(max(p))]
        d = [v - at_top for v in d]
        mean = mpmath.fsum(a * b for a, b in zip(p, d, strict=True))
        return [a * (b - mean) / mpmath.mpf(temperature) for a, b in zip(p, d, strict=True)]


softmax_jvp_row = softmax_vjp_row
