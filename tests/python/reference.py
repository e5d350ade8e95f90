"""The plain twin of every function of softlane, and the unit to measure it in.

Each twin takes the arrays as they are given, computes in a wider type and does not round: float32
and narrower in float64, float64 and integers in longdouble. The mpmath twins compute one row to 50
digits and judge the judges.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import mpmath
import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]
Axis: TypeAlias = int | tuple[int, ...] | None

# Where longdouble is only double (Windows, macOS on ARM), float64 cannot be judged to 1 % of an
# ULP.
LONGDOUBLE_IS_WIDE = bool(np.finfo(np.longdouble).nmant >= 63)

_BLOCK = 1 << 20  # entries of a row worked on at a time, to bound memory on rows of 10⁷
_DIGITS = 50


def wider(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type a twin computes in: at least 11 bits more than ``dtype``."""
    narrow = dtype.kind == "f" and dtype.itemsize <= 4
    return np.dtype(np.float64 if narrow else np.longdouble)


def result_dtype(*arrays: Array) -> np.dtype[Any]:
    """Return the dtype rule of softlane: floats promote as in NumPy, all else is float64."""
    dtypes = (a.dtype.newbyteorder("=") for a in arrays)
    return np.result_type(*(d if d.kind == "f" else np.dtype(np.float64) for d in dtypes))


def _converted(x: ArrayLike) -> Array:
    """Return integers and bool as float64, which is what they are computed as."""
    array = np.asarray(x)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def normalized_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Return the axes counted from the front, in ascending order."""
    if axis is None:
        return tuple(range(ndim))
    if ndim == 0 and axis in (0, -1):  # as NumPy's reductions do
        return ()
    axes = (axis,) if isinstance(axis, int) else axis
    return tuple(sorted(a % ndim for a in axes))


def to_rows(x: Array, axis: Axis) -> Array:
    """Return a copy as a matrix of rows: the kept axes flattened, then the reduced ones."""
    axes = normalized_axes(axis, x.ndim)
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    ordered = x.transpose(kept + axes)
    rows = int(np.prod(ordered.shape[: len(kept)], dtype=np.int64))
    length = int(np.prod(ordered.shape[len(kept) :], dtype=np.int64))
    return ordered.reshape(rows, length).copy()


def from_rows(rows: Array, shape: tuple[int, ...], axis: Axis) -> Array:
    """Undo `to_rows`."""
    axes = normalized_axes(axis, len(shape))
    order = tuple(a for a in range(len(shape)) if a not in axes) + axes
    return rows.reshape([shape[a] for a in order]).transpose(np.argsort(order))


def _divided_exactly(difference: Array, lost: Array, divisor: float) -> tuple[Array, Array]:
    """Return (q, r) with q + r = (difference + lost) / divisor to twice the working precision.

    One rounding of the quotient would cost up to |q| / 2 ULP after exp. The remainder comes from
    Dekker's product (T. J. Dekker, Numer. Math. 18, 1971).
    """
    wide = difference.dtype.type
    splitter = wide(2 ** ((np.finfo(difference.dtype).nmant + 2) // 2) + 1)

    def split(a: Any) -> tuple[Any, Any]:
        high = splitter * a - (splitter * a - a)
        return high, a - high

    d = wide(divisor)
    q = difference / d
    product = q * d
    q_high, q_low = split(q)
    d_high, d_low = split(d)
    error = ((q_high * d_high - product) + q_high * d_low + q_low * d_high) + q_low * d_low
    return q, (((difference - product) - error) + lost) / d


def _shifted_exp(row: Array, shift: Any, temperature: float) -> Array:
    """Return exp((row - shift) / temperature), rounded only once or twice."""
    difference = row - shift
    # Knuth's two-sum: what the subtraction lost.
    back = difference - row
    lost = (row - (difference - back)) - (shift + back)
    quotient, rest = _divided_exactly(difference, lost, temperature)
    rest = np.where(np.isfinite(rest), rest, 0)
    # Infinite and overflowing differences: the plain quotient already gives 0 or NaN.
    result: Array = np.exp(quotient) * (1 + rest)
    return result


def softmax(x: ArrayLike, axis: Axis = -1, temperature: float = 1.0) -> Array:
    """Return exp(x / temperature) over its sum, in the wider type."""
    given = _converted(x)
    rows = to_rows(given.astype(wider(given.dtype)), axis)
    if rows.size == 0:
        return from_rows(rows, given.shape, axis)
    with np.errstate(all="ignore"):
        top = rows.max(axis=1, keepdims=True)
        for start in range(0, rows.shape[1], _BLOCK):
            block = rows[:, start : start + _BLOCK]
            block[...] = _shifted_exp(block, top, temperature)
        rows /= rows.sum(axis=1, keepdims=True)
    return from_rows(rows, given.shape, axis)


def softmax_vjp(y: ArrayLike, dy: ArrayLike, axis: Axis = -1, temperature: float = 1.0) -> Array:
    """Return y · (d − Σ y·d) / temperature, with d the cotangent less its value at the argmax."""
    given = _converted(y), _converted(dy)
    wide = wider(result_dtype(*given))
    p, d = (to_rows(a.astype(wide), axis) for a in given)
    if p.size == 0:
        return from_rows(p, given[0].shape, axis)
    with np.errstate(all="ignore"):
        d -= np.take_along_axis(d, p.argmax(axis=1)[:, None], axis=1)
        d -= (p * d).sum(axis=1, keepdims=True)
        return from_rows(p * d / wide.type(temperature), given[0].shape, axis)


# The Jacobian of softmax is symmetric.
softmax_jvp = softmax_vjp


def _exact(values: Iterable[Any]) -> list[Any]:
    # A float of any width is a sum of two doubles here: longdouble keeps 64 bits.
    return [mpmath.mpf(float(v)) + mpmath.mpf(float(v - type(v)(float(v)))) for v in values]


def softmax_row(x: Sequence[Any] | Array, temperature: float = 1.0) -> list[Any]:
    """Return the softmax of one row of finite numbers to 50 digits."""
    with mpmath.workdps(_DIGITS):
        scaled = [v / mpmath.mpf(temperature) for v in _exact(x)]
        top = max(scaled)
        exps = [mpmath.exp(v - top) for v in scaled]
        total = mpmath.fsum(exps)
        return [e / total for e in exps]


def softmax_vjp_row(
    y: Sequence[Any] | Array, dy: Sequence[Any] | Array, temperature: float = 1.0
) -> list[Any]:
    """Return the vector-Jacobian product of one row to 50 digits."""
    with mpmath.workdps(_DIGITS):
        p, d = _exact(y), _exact(dy)
        at_top = d[p.index(max(p))]
        d = [v - at_top for v in d]
        mean = mpmath.fsum(a * b for a, b in zip(p, d, strict=True))
        return [a * (b - mean) / mpmath.mpf(temperature) for a, b in zip(p, d, strict=True)]


softmax_jvp_row = softmax_vjp_row


def from_mpmath(values: Iterable[Any], dtype: np.dtype[Any]) -> Array:
    """Return 50-digit numbers in the wider type of ``dtype``, rounded once."""
    wide = wider(dtype).type
    with mpmath.workdps(_DIGITS):
        # Mantissa and exponent apart: the low half of a small number would underflow.
        pairs = [mpmath.frexp(v) for v in values]
        halves = [(float(m), float(m - mpmath.mpf(float(m)))) for m, _ in pairs]
    mantissas = np.array([wide(high) + wide(low) for high, low in halves])
    exponents = np.array([max(int(e), -10_000) for _, e in pairs], np.intc)
    with np.errstate(under="ignore"):
        scaled: Array = np.ldexp(mantissas, exponents)
    return scaled


def ulp(exact: Array, dtype: np.dtype[Any]) -> Array:
    """Return the unit in the last place of ``dtype`` at the exact values, subnormal or not."""
    with np.errstate(all="ignore"):
        unit: Array = np.spacing(np.abs(exact).astype(dtype)).astype(exact.dtype)
    return unit


def error_by_entry(actual: Array, exact: Array, axis: Axis = -1) -> float:
    """Return the largest error in ULP of each exact value; infinite where NaN or inf differ."""
    return _largest(actual, exact, ulp(exact, actual.dtype))


def error_by_row(actual: Array, exact: Array, axis: Axis = -1) -> float:
    """Return the largest error in ULP of the largest exact entry of the same row."""
    actual_rows, rows = to_rows(actual, axis), to_rows(exact, axis)
    if rows.size == 0:
        return 0.0 if actual.shape == exact.shape else np.inf
    with np.errstate(all="ignore"):
        largest = np.abs(rows).max(axis=1, keepdims=True)
    return _largest(actual_rows, rows, ulp(largest, actual.dtype))


def _largest(actual: Array, exact: Array, unit: Array) -> float:
    if actual.shape != exact.shape:
        return np.inf
    if actual.size == 0:
        return 0.0
    wide = actual.astype(exact.dtype)
    finite = np.isfinite(exact)
    same = (wide == exact) | (np.isnan(wide) & np.isnan(exact))
    if not np.all(same | finite):
        return np.inf
    with np.errstate(all="ignore"):
        errors = np.where(same, 0, np.abs(wide - exact) / unit)
    largest = float(errors.max())
    return np.inf if np.isnan(largest) else largest
