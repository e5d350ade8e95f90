"""float16 and bfloat16: computed in float32 and rounded once, over all numbers there are.

softmax and softmin are exact enough for that in a shorter computation of their own.
"""

import itertools
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import golden
import softlane
from cases import FUNCTIONS, HALVES, MASKING, Function, rounded, same_bits
from reference import Array, finfo, is_float

pytestmark = pytest.mark.filterwarnings("error")

HALF = pytest.mark.parametrize("half", HALVES, ids=str)
LENGTHS = (1, 2, 3, 7, 16, 17, 33, 100, 1030, 5000)
FLOAT32 = np.dtype(np.float32)


def every(half: np.dtype[Any]) -> Array:
    """Return all 2¹⁶ numbers, infinities and NaN of a dtype."""
    return np.arange(2**16, dtype=np.uint16).view(half)


def widened(x: Array) -> Array:
    """Return as float64, signalling NaN among them: of that NumPy would warn."""
    with np.errstate(invalid="ignore"):
        return x.astype(np.float64) + 0  # which quiets it


def once(function: Function, arrays: tuple[Array, ...], **options: Any) -> Array:
    """Compute in float32 and round once."""
    with np.errstate(invalid="ignore"):  # a signalling NaN
        wide = [a.astype(FLOAT32) for a in arrays]
    return rounded(np.asarray(function(*wide, **options)), arrays[0].dtype)


def same(a: Array, b: Array) -> bool:
    """Tell whether two arrays have the same bits, but for those of NaN."""
    nan = np.isnan(a), np.isnan(b)
    return bool((nan[0] == nan[1]).all()) and same_bits(a[~nan[0]], b[~nan[1]])


def is_right(
    function: Function,
    result: Array,
    arrays: tuple[Array, ...],
    agree: Callable[[Array, Array], bool] = same_bits,
    **options: Any,
) -> bool:
    """Tell whether a result is float32's, rounded, or as near to the exact one as it must be."""
    if not function.short_for_halves:
        return agree(result, once(function, arrays, **options))
    exact = function.exact(tuple(widened(a) for a in arrays), **options)
    return function.error(result, exact, -1) <= function.half_bound


@HALF
def test_rounded_once(function: Function, half: np.dtype[Any]) -> None:
    for length, spread in itertools.product(LENGTHS, (0.25, 4.0, 32.0, 2.0**12)):
        arrays = function.inputs(golden.values((9, length), half, spread=spread, seed=length))
        result = function(*arrays)
        assert is_right(function, result, arrays)
        down = [np.ascontiguousarray(a.T) for a in arrays]
        assert same_bits(function(*down, axis=0).T, result)
        for temperature in function.temperatures((0.1, 3.7)):
            options = {"temperature": temperature}
            assert is_right(function, function(*arrays, **options), arrays, **options)


@HALF
def test_masked_and_rounded_once(masking: Function, half: np.dtype[Any]) -> None:
    for length in LENGTHS:
        x = golden.values((9, length), half, seed=length)
        kept = golden.values((9, length), FLOAT32, seed=length) < 0
        assert is_right(masking, masking(x, where=kept), (x,), where=kept)


@HALF
@pytest.mark.parametrize("length", [1, 2, 16, 64, 1024])
def test_every_number(masking: Function, half: np.dtype[Any], length: int) -> None:
    numbers = every(half)
    # Sorted: rows of like numbers. In the order of a hash: rows of all magnitudes.
    order = np.argsort(widened(numbers), kind="stable")
    for x in (numbers[order], numbers[np.argsort(golden.values((2**16,), np.float64))]):
        rows = x.reshape(-1, length)
        result = masking(rows)
        assert is_right(masking, result, (rows,), same)
        exact = masking.exact((widened(rows),))
        rows_of_nan = np.isnan(exact).any(-1)
        assert (np.isnan(result).any(-1) == rows_of_nan).all()
        assert masking.error(result, exact, -1) <= masking.half_bound


@HALF
def test_every_number_next_to_zero(masking: Function, half: np.dtype[Any]) -> None:
    rows = np.stack([every(half), np.zeros(2**16, half)], axis=-1)
    result = masking(rows)
    assert masking.error(result, masking.exact((widened(rows),)), -1) <= masking.half_bound
    assert same(masking(rows.T.copy(), axis=0), result.T)


@HALF
def test_every_number_converts(half: np.dtype[Any]) -> None:
    # The logarithm of the sum over a row of one is that row: the way in and out, and nothing else.
    numbers = every(half)
    for wide in (half, FLOAT32, np.dtype(np.float64)):
        result = softlane.logsumexp(numbers[:, None], axis=1, dtype=wide)
        assert result.dtype == wide
        np.testing.assert_array_equal(widened(result), widened(numbers))


@HALF
@pytest.mark.parametrize("length", [65_503, 65_505, 70_000, 200_003])
def test_longer_than_the_largest_float16(
    function: Function, half: np.dtype[Any], length: int
) -> None:
    # A sum kept in float16 would overflow, and one in bfloat16 stop growing at 256.
    for x in (np.zeros(length, half), golden.values((length,), half, spread=2.0)):
        arrays = function.inputs(x)
        result = function(*arrays)
        assert np.isfinite(result).all()
        assert function.error(result, function.exact(arrays), -1) <= function.half_bound
        for threads in (1, 2, 3):
            assert same_bits(function(*arrays, num_threads=threads), result)


@HALF
def test_subnormal_results(half: np.dtype[Any]) -> None:
    tiny, least = (float(v) for v in (finfo(half).tiny, finfo(half).smallest_subnormal))
    lowest = np.log(least) - 1
    x = np.linspace(lowest, np.log(tiny) + 1, 2000).astype(half)[:, None]
    x = np.concatenate([x, np.zeros_like(x)], axis=1)
    for name, rows in (("softmax", x), ("softmin", -x)):
        (function,) = (f for f in FUNCTIONS if f.name == name)
        p = function(rows)
        assert function.error(p, function.exact((rows,)), -1) <= function.half_bound
        small = p[:, 0].astype(np.float64)
        assert len(np.unique(small[(small > 0) & (small < tiny)])) > 5  # gradual, not flushed
        assert (small == 0).any()


@HALF
def test_subnormal_inputs(function: Function, half: np.dtype[Any]) -> None:
    least = finfo(half).smallest_subnormal
    x = (np.arange(-60, 60) * float(least)).astype(half).reshape(8, 15)
    arrays = tuple(x for _ in function.arguments)
    result = function(*arrays)
    assert function.error(result, function.exact(arrays), -1) <= function.half_bound
    assert is_right(function, result, arrays)


@HALF
@pytest.mark.parametrize("given", ["f4", "f8", "i4", "?"])
def test_as_result(given: str, half: np.dtype[Any]) -> None:
    # Half-way cases: rounding to float32 on the way would be a second rounding.
    x = golden.values((2000, 3), np.float64, spread=90.0).astype(given)
    for function in MASKING:
        wide = function(x.astype(np.float32 if given == "f4" else np.float64))
        result = function(x, dtype=half)
        assert function.error(result, wide.astype(np.longdouble), -1) <= 0.5
        out = np.empty(result.shape, half)
        function(x, out=out)
        assert same_bits(out, result)


@HALF
def test_one_rounding_from_float64(half: np.dtype[Any]) -> None:
    # A row of one is its own logarithm of the sum: just above and below a half-way case.
    step = 2.0 ** -(finfo(half).nmant + 1)
    tie = 1 + step * np.arange(1, 40, 2)
    for nudge in (0, 2.0**-40, -(2.0**-40)):
        x = tie + nudge
        result = softlane.logsumexp(x[:, None], axis=1, dtype=half).astype(np.float64)
        floor = np.floor(tie / (2 * step)) * (2 * step)
        even = np.where(floor / (2 * step) % 2 == 0, floor, floor + 2 * step)
        expected = even if nudge == 0 else np.where(nudge > 0, floor + 2 * step, floor)
        np.testing.assert_array_equal(result, expected)


def test_mixed_inputs(function: Function) -> None:
    if len(function.arguments) == 1:
        pytest.skip(f"{function.name} takes one array")
    y, dy = function.inputs(golden.values((5, 33), np.float16))
    bfloat16 = np.dtype(ml_dtypes.bfloat16)
    # float32 is the least that holds both.
    result = function(y, dy.astype(bfloat16))
    assert result.dtype == FLOAT32
    assert same_bits(result, function(y.astype("f4"), dy.astype(bfloat16).astype("f4")))
    for other in ("f4", "f8", "i4"):
        wide = np.dtype(other) if is_float(np.dtype(other)) else np.dtype(np.float64)
        result = function(y, dy.astype(other))
        assert result.dtype == wide
        assert same_bits(result, function(y.astype(wide), dy.astype(other).astype(wide)))


@HALF
def test_scalars(function: Function, half: np.dtype[Any]) -> None:
    result = function(*(half.type(1.5) for _ in function.arguments))
    assert type(result) is half.type
    assert result == function.exact(tuple(np.array(1.5, half) for _ in function.arguments))
