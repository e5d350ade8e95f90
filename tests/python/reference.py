"""The plain twin of every function of softlane, and the unit to measure it in.

Each twin takes the arrays as they are given, computes in a wider type and does not round: float32
and narrower in float64, float64 and integers in longdouble. The mpmath twins compute one row to 50
digits and judge the judges; `logsumexp` asks them where its own terms cancel.
"""

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias, overload

import ml_dtypes
import mpmath
import numpy as np
from numpy.typing import ArrayLike, NDArray

from judges import (
    DIGITS as DIGITS,
)
from judges import (
    log_sigmoid_row as log_sigmoid_row,
)
from judges import (
    log_softmax_row as log_softmax_row,
)
from judges import (
    logsumexp_exactly as logsumexp_exactly,
)
from judges import (
    logsumexp_row as logsumexp_row,
)
from judges import (
    sigmoid_row as sigmoid_row,
)
from judges import (
    softmax_jvp_row as softmax_jvp_row,
)
from judges import (
    softmax_row as softmax_row,
)
from judges import (
    softmax_vjp_row as softmax_vjp_row,
)
from judges import (
    softmin_row as softmin_row,
)

Array: TypeAlias = NDArray[Any]
Axis: TypeAlias = int | tuple[int, ...] | None

# Where longdouble is only double (Windows, macOS on ARM), float64 cannot be judged to 1 % of an
# ULP.
LONGDOUBLE_IS_WIDE = bool(np.finfo(np.longdouble).nmant >= 63)

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

_BLOCK = 1 << 20  # entries of a row worked on at a time, to bound memory on rows of 10⁷


def is_float(dtype: np.dtype[Any]) -> bool:
    """Tell whether a dtype is floating; the kind of bfloat16 is not that of NumPy's own."""
    return dtype.kind == "f" or dtype.type is ml_dtypes.bfloat16


def finfo(dtype: np.dtype[Any]) -> Any:
    """Return NumPy's finfo, or the same of bfloat16."""
    return ml_dtypes.finfo(dtype) if dtype.type is ml_dtypes.bfloat16 else np.finfo(dtype)


def wider(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type a twin computes in: at least 11 bits more than ``dtype``."""
    narrow = is_float(dtype) and dtype.itemsize <= 4
    return np.dtype(np.float64 if narrow else np.longdouble)


def result_dtype(*arrays: Array) -> np.dtype[Any]:
    """Return the dtype rule of softlane: floats promote as in NumPy, all else is float64."""
    dtypes = {a.dtype.newbyteorder("=") if is_float(a.dtype) else np.float64 for a in arrays}
    if BFLOAT16 in dtypes and np.dtype(np.float16) in dtypes:
        dtypes.add(np.dtype(np.float32))  # the least that holds both
        dtypes.remove(BFLOAT16)
    return np.result_type(*dtypes)


def _converted(x: ArrayLike) -> Array:
    """Return integers and bool as float64, which is what they are computed as."""
    array = np.asarray(x)
    return array if is_float(array.dtype) else array.astype(np.float64)


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


def _shifted(row: Array, shift: Any, temperature: float) -> tuple[Array, Array]:
    """Return (q, r) with q + r = (row - shift) / temperature to twice the working precision."""
    difference = row - shift
    # Knuth's two-sum: what the subtraction lost.
    back = difference - row
    lost = (row - (difference - back)) - (shift + back)
    quotient, rest = _divided_exactly(difference, lost, temperature)
    # Infinite and overflowing differences: the plain quotient is all there is.
    return quotient, np.where(np.isfinite(rest), rest, 0)


def _shifted_exp(row: Array, shift: Any, temperature: float) -> Array:
    """Return exp((row - shift) / temperature), rounded only once or twice."""
    quotient, rest = _shifted(row, shift, temperature)
    result: Array = np.exp(quotient) * (1 + rest)
    return result


def _blocks(length: int) -> list[slice]:
    return [slice(start, start + _BLOCK) for start in range(0, length, _BLOCK)]


def _masked_rows(x: Array, axis: Axis, where: ArrayLike | None) -> tuple[Array, Array | None]:
    """Return the rows in the wider type, -inf for all that is not kept, and what is not kept."""
    rows = to_rows(x.astype(wider(x.dtype)), axis)
    if where is None:
        return rows, None
    hidden = ~to_rows(np.broadcast_to(np.asarray(where, np.bool_), x.shape), axis)
    rows[hidden] = -np.inf
    return rows, hidden


def softmax(
    x: ArrayLike, axis: Axis = -1, temperature: float = 1.0, where: ArrayLike | None = None
) -> Array:
    """Return exp(x / temperature) over its sum, in the wider type."""
    given = _converted(x)
    rows, hidden = _masked_rows(given, axis, where)
    if rows.size == 0:
        return from_rows(rows, given.shape, axis)
    with np.errstate(all="ignore"):
        top = rows.max(axis=1, keepdims=True)
        for columns in _blocks(rows.shape[1]):
            rows[:, columns] = _shifted_exp(rows[:, columns], top, temperature)
        rows /= rows.sum(axis=1, keepdims=True)
    if hidden is not None:
        rows[hidden] = 0
    return from_rows(rows, given.shape, axis)


def softmin(
    x: ArrayLike, axis: Axis = -1, temperature: float = 1.0, where: ArrayLike | None = None
) -> Array:
    """Return the softmax of -x."""
    return softmax(-_converted(x), axis, temperature, where)


def log_softmax(
    x: ArrayLike, axis: Axis = -1, temperature: float = 1.0, where: ArrayLike | None = None
) -> Array:
    """Return the logarithm of the softmax, in the wider type: terms of one sign, none lost."""
    given = _converted(x)
    rows, hidden = _masked_rows(given, axis, where)
    if rows.size == 0:
        return from_rows(rows, given.shape, axis)
    with np.errstate(all="ignore"):
        top = rows.max(axis=1, keepdims=True)
        ties, others = np.zeros_like(top), np.zeros_like(top)
        for columns in _blocks(rows.shape[1]):
            block = rows[:, columns]
            tied = block == top
            ties += tied.sum(axis=1, keepdims=True)
            exps = np.where(tied, 0, _shifted_exp(block, top, temperature))
            others += exps.sum(axis=1, keepdims=True)
        # 1 + others would forget the others next to a near-certain class.
        log_sum = np.log(ties) + np.log1p(others / ties)
        log_sum[~np.isfinite(top)] = np.nan
        for columns in _blocks(rows.shape[1]):
            quotient, rest = _shifted(rows[:, columns], top, temperature)
            rows[:, columns] = quotient + (rest - log_sum)
    if hidden is not None:
        rows[hidden] = -np.inf
    return from_rows(rows, given.shape, axis)


def sigmoid(x: ArrayLike) -> Array:
    """Return 1 / (1 + exp(-x)), in the wider type."""
    given = _converted(x)
    wide = given.astype(wider(given.dtype))
    with np.errstate(all="ignore"):
        small = np.exp(-np.abs(wide))
        return np.asarray(np.where(wide < 0, small, 1) / (1 + small))


def log_sigmoid(x: ArrayLike) -> Array:
    """Return -log(1 + exp(-x)), in the wider type: terms of one sign, none lost."""
    given = _converted(x)
    wide = given.astype(wider(given.dtype))
    with np.errstate(all="ignore"):
        return np.asarray(np.minimum(wide, 0) - np.log1p(np.exp(-np.abs(wide))))


def _infinite_sums(x: Array, b: Array) -> Array:
    """Return 0 for the rows whose sum of b · exp(x) is finite; NaN or the infinity it is else."""
    grows = np.isposinf(x) | (np.isinf(b) & ~np.isneginf(x))
    up, down = ((grows & (np.sign(b) == sign)).any(axis=1) for sign in (1, -1))
    undefined = np.isnan(x) | np.isnan(b) | (np.isinf(b) & np.isneginf(x))
    found = np.select([up, down], [np.inf, -np.inf], 0.0)
    found[(up & down) | undefined.any(axis=1)] = np.nan
    return found


@overload
def logsumexp(
    x: ArrayLike,
    axis: Axis = None,
    b: ArrayLike | None = None,
    where: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: Literal[False] = False,
) -> Array: ...
@overload
def logsumexp(
    x: ArrayLike,
    axis: Axis = None,
    b: ArrayLike | None = None,
    where: ArrayLike | None = None,
    keepdims: bool = False,
    *,
    return_sign: Literal[True],
) -> tuple[Array, Array]: ...
def logsumexp(
    x: ArrayLike,
    axis: Axis = None,
    b: ArrayLike | None = None,
    where: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: bool = False,
) -> Array | tuple[Array, Array]:
    """Return log(Σ b · exp(x)), in the wider type.

    An entry of weight 0 is left out, whatever it is; a negative sum has no logarithm: NaN. With
    ``return_sign``, return the logarithm of the sum's size and its sign, 0 for an empty sum.
    """
    given = _converted(x)
    weights = np.ones((), given.dtype) if b is None else _converted(b)
    dtype = result_dtype(given, weights)
    given, weights = np.broadcast_arrays(given, weights)
    rows, factors = (to_rows(a.astype(wider(dtype)), axis) for a in (given, weights))
    left_out = factors == 0
    if where is not None:
        kept = np.broadcast_to(np.asarray(where, np.bool_), given.shape)
        left_out |= ~to_rows(kept, axis)
    rows[left_out] = -np.inf
    factors[left_out] = 1
    with np.errstate(all="ignore"):
        result, sign = _log_of_sums(rows, factors, dtype)
        if not return_sign:
            result[sign < 0] = np.nan
    axes = normalized_axes(axis, given.ndim)
    sizes = [(n, 1 if keepdims else None) for n in given.shape]
    kept_shape = [one if a in axes else n for a, (n, one) in enumerate(sizes)]
    shape = [n for n in kept_shape if n is not None]
    return (result.reshape(shape), sign.reshape(shape)) if return_sign else result.reshape(shape)


def _log_of_sums(rows: Array, factors: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Return log|Σ factors · exp(rows)| and the sign of the sum, for each row."""
    wide = rows.dtype
    top = rows.max(axis=1, keepdims=True, initial=-np.inf)
    infinite = _infinite_sums(rows, factors)
    ties, tied, tied_size, others, others_size = np.zeros((5, len(rows)), wide)
    for columns in _blocks(rows.shape[1]):
        block, factor = rows[:, columns], factors[:, columns]
        at_top = block == top
        ties += at_top.sum(axis=1)
        tied += np.where(at_top, factor, 0).sum(axis=1)
        tied_size += np.where(at_top, np.abs(factor), 0).sum(axis=1)
        terms = np.where(at_top, 0, factor * _shifted_exp(block, top, 1.0))
        others += terms.sum(axis=1)
        others_size += np.abs(terms).sum(axis=1)
    total, ratio = tied + others, others / tied
    # Two ways to the same logarithm, and how many roundings each can cost. The first keeps the
    # others next to a dominant entry, the second bears weights that make the top entry small.
    terms = np.stack([np.log(np.abs(tied)), np.log1p(ratio)])
    spread = 8 * (tied_size + others_size) / np.abs(total)
    condition = 8 * others_size / np.abs(total) + np.where(ties > 1, tied_size / np.abs(tied), 0)
    apart = np.where(ratio > -0.5, condition + np.abs(terms).sum(axis=0), np.inf)
    log_total = np.log(np.abs(total))
    whole = spread + np.abs(log_total)
    result: Array = top[:, 0] + np.where(apart <= whole, terms.sum(axis=0), log_total)
    sign = np.sign(total)
    # As many roundings as one hundredth of an ULP of the dtype is worth.
    bearable = max(20, 0.01 * 2.0 ** (finfo(wide).nmant - finfo(dtype).nmant))
    sure = np.fmin(apart, whole) <= bearable * np.abs(result)
    sure &= spread * np.finfo(wide).eps < 0.01  # or the sign is a guess
    finite = (infinite == 0) & np.isfinite(top[:, 0])
    for i in np.flatnonzero(finite & ~sure):
        value, sign[i] = logsumexp_exactly(rows[i], factors[i])
        result[i] = from_mpmath([value], dtype)[0] if sign[i] else -np.inf

    empty = (infinite == 0) & np.isneginf(top[:, 0])
    result[empty], sign[empty] = -np.inf, 0
    result[infinite != 0] = np.abs(infinite[infinite != 0])
    sign[infinite != 0] = np.sign(infinite[infinite != 0])
    return result, sign


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


def from_mpmath(values: Iterable[Any], dtype: np.dtype[Any]) -> Array:
    """Return 50-digit numbers in the wider type of ``dtype``, rounded once."""
    wide = wider(dtype).type
    with mpmath.workdps(DIGITS):
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
        # NumPy's spacing of the largest number is infinite: take its neighbour's.
        largest = np.nextafter(finfo(dtype).max, dtype.type(0))
        near = np.minimum(np.abs(exact).astype(dtype), largest)
        unit: Array = np.spacing(near).astype(exact.dtype)
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
    with np.errstate(all="ignore"):
        # Beyond the largest number of the dtype, infinity is the right result.
        exact = np.where(np.isinf(exact.astype(actual.dtype)), np.sign(exact) * np.inf, exact)
    finite = np.isfinite(exact)
    same = (wide == exact) | (np.isnan(wide) & np.isnan(exact))
    if not np.all(same | finite):
        return np.inf
    with np.errstate(all="ignore"):
        errors = np.where(same, 0, np.abs(wide - exact) / unit)
    largest = float(errors.max())
    return np.inf if np.isnan(largest) else largest
