"""``where=``: what is masked never counts, whatever hides there; what is kept is as if alone."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import golden
import softlane
from cases import (
    MASKING,
    Function,
    Layout,
    assert_equal,
    axes,
    layouts,
    same_bits,
    shapes,
)
from reference import Array, Axis, finfo, normalized_axes
from test_errors import mentions

pytestmark = pytest.mark.filterwarnings("error")

NAN, INF = np.nan, np.inf
LENGTHS = (1, 2, 3, 15, 16, 17, 33, 64, 100, 1030, 5000)


def pattern(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Return a mask without a pattern, about half of it True."""
    kept: Array = golden.values(shape, np.float32, seed=seed + 7) < 0
    return kept


def causal(rows: int, length: int) -> Array:
    """Return which entries come no later than their row, seen by a window that repeats."""
    return np.tri(rows, length, length - rows, dtype=bool)


# Masks of a (6, n) array: of its shape, or broadcast against it.
MASKS: dict[str, Callable[[int], Any]] = {
    "no pattern": lambda n: pattern((6, n)),
    "all": lambda n: np.ones((6, n), bool),
    "nothing": lambda n: np.zeros((6, n), bool),
    "causal": lambda n: causal(6, n),
    "one entry": lambda n: np.arange(n) == np.arange(6)[:, None] % n,
    "all but one": lambda n: np.arange(n) != np.arange(6)[:, None] % n,
    "first half": lambda n: np.arange(n) < (n + 1) // 2,
    "every third": lambda n: np.arange(n)[None] % 3 == 0,
    "rows": lambda n: np.arange(6)[:, None] % 2 == 0,
    "one row for all": lambda n: np.broadcast_to(pattern((n,)), (6, n)),
    "one column for all": lambda n: np.broadcast_to(pattern((6, 1)), (6, n)),
    "True": lambda n: True,
    "False": lambda n: False,
    "list": lambda n: pattern((n,)).tolist(),
    "0-d": lambda n: np.array(True),
}


def holds(function: Function, x: Array, where: Any, axis: Axis = -1, **options: Any) -> Array:
    """Call with a mask and hold the result against the twin, and masked entries exactly."""
    result = np.asarray(function(x, axis=axis, where=where, **options))
    exact = function.exact((x,), axis, options.get("temperature", 1.0), where)
    assert result.shape == exact.shape
    assert result.dtype == x.dtype.newbyteorder("=")
    assert function.error(result, exact, axis) <= function.allowed(result.dtype)
    kept: Any = np.broadcast_to(np.asarray(where), x.shape)
    if function.reduces:
        kept = kept.any(axis=normalized_axes(axis, x.ndim), keepdims=True)
    left_out = result[~kept].astype(np.float64)
    assert (left_out == function.left_out).all()
    assert not np.signbit(left_out).any() or function.left_out
    return result


@pytest.mark.parametrize("mask", list(MASKS.values()), ids=list(MASKS))
def test_masks(masking: Function, dtype: np.dtype[Any], mask: Callable[[int], Any]) -> None:
    for length in LENGTHS:
        where = mask(length)
        kept = np.broadcast_to(np.asarray(where), (6, length))
        for spread in (1.0, 64.0):
            x = golden.values((6, length), dtype, spread=spread, seed=length)
            result = holds(masking, x, where)
            down = holds(masking, np.ascontiguousarray(x.T), kept.T, 0)
            assert same_bits(down.T, result)
            if masking.takes_temperature:
                holds(masking, x, where, temperature=3.7)
            # Whatever hides behind the mask: the bits are the same.
            for junk in (NAN, -NAN, INF, -INF, finfo(dtype).max, finfo(dtype).min):
                poisoned = np.where(kept, x, dtype.type(junk))
                assert same_bits(masking(poisoned, where=where), result)


def test_no_mask_is_all_true(masking: Function, dtype: np.dtype[Any]) -> None:
    for length in LENGTHS:
        x = golden.values((5, length), dtype, seed=length)
        expected = masking(x)
        for where in (None, True, np.True_, np.ones((5, length), bool), [True] * length):
            assert same_bits(masking(x, where=where), expected)


@pytest.mark.parametrize("layout", layouts(2), ids=lambda layout: layout.name)
def test_layouts(masking: Function, dtype: np.dtype[Any], layout: Layout) -> None:
    for shape in ((3, 1), (7, 33), (40, 103), (300, 3)):
        x = golden.values(shape, dtype)
        kept = layout.build(pattern(shape))  # broadcast layouts change the values
        before = kept.tobytes()
        for axis in axes(2):
            expected = masking(x, axis=axis, where=np.array(kept))
            for threads in (1, 2):
                result = masking(x, axis=axis, where=kept, num_threads=threads)
                assert same_bits(result, expected)
            if layout.keeps_values:
                result = masking(layout.build(x), axis=axis, where=kept)
                assert same_bits(result, expected)
                result = masking(layout.build(x), axis=axis, where=np.array(kept))
                assert same_bits(result, expected)
            if layout.writable:
                out = layout.build(np.zeros(expected.shape, dtype))
                assert masking(x, axis=axis, where=kept, out=out) is out
                assert same_bits(out, expected)
        assert kept.tobytes() == before


def test_shapes_and_axes(masking: Function, dtype: np.dtype[Any]) -> None:
    for shape in shapes(dtype):
        x = golden.values(shape, dtype)
        for axis in axes(len(shape)):
            whole = pattern(shape)
            holds(masking, x, whole, axis)
            # Broadcast along each axis, and along those in front.
            for a in range(len(shape)):
                if shape[a]:
                    holds(masking, x, whole.take([0], a), axis)
                if a and all(shape):
                    holds(masking, x, whole[(0,) * a], axis)


def test_causal_window(masking: Function, dtype: np.dtype[Any]) -> None:
    # One buffer for all masks of a row: 0-stride in front, overlapping rows behind.
    n = 60
    line = np.arange(2 * n - 1) < n
    step = line.strides[0]
    window = np.lib.stride_tricks.as_strided(line[n - 1 :], (4, n, n), (0, -step, step))
    assert (window[0] == np.tri(n, dtype=bool)).all()
    x = golden.values((4, n, n), dtype)
    assert same_bits(holds(masking, x, window), masking(x, where=np.array(window)))
    # Row i of a causal mask is the row cut off after i.
    result = masking(x, where=window)
    for i in (0, 1, 16, 31, n - 1):
        exact = masking.exact((x[:, i, : i + 1],))
        error = masking.error(result[:, i, : exact.shape[-1]], exact, -1)
        assert error <= masking.allowed(dtype)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_kept_nan(masking: Function, dtype: np.dtype[Any], length: int) -> None:
    x = golden.values((4, length), dtype)
    kept = pattern((4, length))
    kept[:, length // 2] = True
    clean = masking(x, where=kept)
    for value in (NAN, masking.sign * INF):
        poisoned = x.copy()
        poisoned[1, length // 2] = value
        result = masking(poisoned, where=kept)
        if masking.reduces:
            assert_equal(result[1], np.array([value]))
        else:
            assert np.isnan(result[1][kept[1]]).all()
            assert (result[1][~kept[1]] == masking.left_out).all()
        assert same_bits(np.delete(result, 1, 0), np.delete(clean, 1, 0))


@pytest.mark.parametrize("length", LENGTHS)
def test_kept_are_all_minus_infinity(masking: Function, dtype: np.dtype[Any], length: int) -> None:
    x = golden.values((4, length), dtype)
    kept = pattern((4, length))
    kept[:, 0] = True
    x[2][kept[2]] = -masking.sign * INF
    result = masking(x, where=kept)
    if masking.reduces:
        assert result[2] == -INF
    else:
        assert np.isnan(result[2][kept[2]]).all()
        assert (result[2][~kept[2]] == masking.left_out).all()
    holds(masking, x, kept)


def test_integers(masking: Function) -> None:
    for given in ("?", "b", "B", "i4", "u8", ">i2"):
        x = golden.values((5, 70), np.float64, spread=60.0).astype(np.int8).astype(given)
        kept = pattern((5, 70))
        result = masking(x, where=kept)
        assert result.dtype == np.float64
        assert same_bits(result, masking(x.astype(np.float64), where=kept))


def test_dtype_argument(masking: Function, dtype: np.dtype[Any]) -> None:
    x = golden.values((5, 70), np.float32)
    x[pattern((5, 70), 1)] = NAN
    kept = ~pattern((5, 70), 1)
    result = masking(x, where=kept, dtype=dtype)
    wide = np.where(kept, x, 0).astype(np.result_type(x.dtype, dtype))
    with np.errstate(all="ignore"):
        assert same_bits(result, masking(wide, where=kept).astype(dtype))


@pytest.mark.parametrize(
    "where",
    [
        1,
        0.0,
        np.ones((4, 5), np.int8),
        np.ones((4, 5), np.uint8),
        np.ones((4, 5)),
        [1, 0, 1, 0, 1],
        "True",
        np.full((4, 5), True, object),
        np.ones((4, 5), complex),
        np.ones((4, 5), "M8[s]"),
        [],
    ],
    ids=lambda where: f"{type(where).__name__} of {np.asarray(where).dtype}",
)
def test_not_bool(masking: Function, where: Any) -> None:
    out = np.full(masking.result_shape((4, 5)), -7.0)
    with pytest.raises(TypeError, match=mentions("where", "bool")):
        masking(golden.values((4, 5), np.float64), where=where, out=out)
    assert (out == -7).all()


@pytest.mark.parametrize(
    "shape", [(4, 4), (5, 4), (3, 5), (4, 5, 1), (2, 4, 5), (1, 1, 1, 5), (0,)]
)
def test_does_not_broadcast(masking: Function, shape: tuple[int, ...]) -> None:
    out = np.full(masking.result_shape((4, 5)), -7.0)
    if masking.reduces and len(shape) > 2 and shape[-2:] == (4, 5):
        pytest.skip("a reduction broadcasts its input, too")
    with pytest.raises(ValueError, match=mentions("where", str(shape)[1:-1], "4, 5")):
        masking(golden.values((4, 5), np.float64), where=np.ones(shape, bool), out=out)
    assert (out == -7).all()


def test_masked_mask(masking: Function) -> None:
    with pytest.raises(TypeError, match=mentions("where", "MaskedArray")):
        masking(np.ones((4, 5)), where=np.ma.MaskedArray(np.ones((4, 5), bool)))


def test_mask_of_windows(masking: Function, dtype: np.dtype[Any]) -> None:
    kept = np.lib.stride_tricks.sliding_window_view(pattern((48,)), 40)
    x = golden.values((9, 40), dtype)
    assert same_bits(masking(x, where=kept), masking(x, where=np.array(kept)))


def test_mask_overlaps_out(masking: Function, dtype: np.dtype[Any]) -> None:
    x = golden.values((9, 40), dtype)
    for axis in axes(2):
        shape = masking.result_shape(x.shape, axis)
        for offset in (0, 1, 3, 17):
            memory = np.zeros(x.nbytes + 9 * 40 + 17, np.uint8)
            kept = memory[offset : offset + 360].view(bool).reshape(9, 40)
            kept[...] = pattern((9, 40))
            expected = masking(x, axis=axis, where=kept.copy())
            out = np.ndarray(shape, dtype, memory)
            assert masking(x, axis=axis, where=kept, out=out) is out
            assert same_bits(out, expected)


def test_mask_lies_in_the_input(masking: Function) -> None:
    flags = pattern((9, 40))
    for out in (None, np.empty(masking.result_shape((9, 40)))):
        assert same_bits(masking(flags, where=flags, out=out), masking(flags * 1, where=flags))


def test_in_place(masking: Function, dtype: np.dtype[Any]) -> None:
    if masking.reduces:
        pytest.skip(f"{masking.name} has results of another shape")
    for length in LENGTHS:
        x = golden.values((6, length), dtype)
        kept = pattern((6, length))
        expected = masking(x, where=kept)
        masking(x, where=kept, out=x)
        assert same_bits(x, expected)


@pytest.mark.parametrize("length", [40, 1030])
def test_threads(masking: Function, dtype: np.dtype[Any], length: int) -> None:
    x = golden.values((1 + 300_000 // length, length), dtype, spread=30.0)
    kept = pattern(x.shape)
    kept[::5] = False
    expected = masking(x, where=kept, num_threads=1)
    for threads in (2, 3, 5):
        assert same_bits(masking(x, where=kept, num_threads=threads), expected)
        down = masking(x.T.copy(), axis=0, where=kept.T, num_threads=threads)
        assert same_bits(down.T, expected)
    for i in (0, 1, 2, len(x) - 1):
        assert same_bits(masking(x[i : i + 1].copy(), where=kept[i]), expected[i : i + 1])


def test_one_long_row(masking: Function, dtype: np.dtype[Any]) -> None:
    x = golden.values((300_007,), dtype, spread=4.0)
    kept = pattern(x.shape)
    kept[100_000:200_000] = False
    expected = holds(masking, x, kept)
    for threads in (1, 2, 3, 7):
        assert same_bits(masking(x, where=kept, num_threads=threads), expected)
        assert same_bits(masking(x, where=kept[::-1].copy()[::-1], num_threads=threads), expected)


def test_every_function_with_a_mask_is_here() -> None:
    public = [name for name in softlane.__all__ if callable(getattr(softlane, name))]
    takes = {n for n in public if "where" in inspect.signature(getattr(softlane, n)).parameters}
    # The masks of losses and gradients are tested where those are.
    losses = {"cross_entropy", "cross_entropy_value_and_grad"}
    gradients = {"logsumexp_vjp", "logsumexp_vjp_b"}
    assert takes == {f.name for f in MASKING} | losses | gradients
