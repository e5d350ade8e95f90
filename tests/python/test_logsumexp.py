"""logsumexp: weights and signs, sums near 1 and near 0, axes, and where the result goes."""

from typing import Any

import numpy as np
import pytest

import golden
import reference
import softlane
from cases import DTYPES, HALVES, SLACK, Layout, axes, layouts, rounded, same_bits, shapes
from reference import Array, finfo
from test_errors import mentions

pytestmark = pytest.mark.filterwarnings("error")

NAN, INF = np.nan, np.inf
logsumexp: Any = softlane.logsumexp  # the options vary as no overload does
LENGTHS = (1, 2, 3, 7, 16, 17, 33, 100, 1030)


def bound(dtype: np.dtype[Any]) -> float:
    return 0.51 if dtype in HALVES else 2.0 + (SLACK if dtype == np.float64 else 0.0)


def holds(x: Array, *, sign_too: bool = True, **options: Any) -> Any:
    """Hold the logarithm, and its sign, against the twin; return the logarithm."""
    result = logsumexp(x, **options)
    exact = reference.logsumexp(x, **options)
    assert np.shape(result) == exact.shape
    assert reference.error_by_entry(np.asarray(result), exact) <= bound(result.dtype)
    if sign_too:
        size, sign = logsumexp(x, return_sign=True, **options)
        exact, exact_sign = reference.logsumexp(x, return_sign=True, **options)
        assert sign.dtype == size.dtype == result.dtype
        np.testing.assert_array_equal(np.asarray(sign, np.float64), exact_sign)
        assert reference.error_by_entry(np.asarray(size), exact) <= bound(result.dtype)
    return result


def holds_weighted(x: Array, b: Array, **options: Any) -> None:
    """Hold a weighted sum against the twin; what cancels among its terms may cost digits."""
    size, sign = logsumexp(x, b=b, return_sign=True, **options)
    exact, exact_sign = reference.logsumexp(x, b=b, return_sign=True, **options)
    assert size.dtype == sign.dtype == reference.result_dtype(x, b)
    assert np.shape(size) == np.shape(sign) == exact.shape
    np.testing.assert_array_equal(np.asarray(sign, np.float64), exact_sign)
    np.testing.assert_array_equal(np.isneginf(size), exact_sign == 0)
    shape = np.broadcast_shapes(np.shape(x), np.shape(b))
    wide = np.broadcast_to(np.asarray(x, np.longdouble), shape).copy()
    terms = np.asarray(np.abs(np.asarray(b, np.longdouble)))
    with np.errstate(divide="ignore"):
        terms = np.asarray(wide + np.log(terms))
    hidden = ~np.broadcast_to(options.pop("where", True), wide.shape)
    wide[hidden] = terms[hidden] = -INF
    largest, top = (v.max(axis=options["axis"], initial=-INF, keepdims=True) for v in (terms, wide))
    largest, top = (np.reshape(v, exact.shape) for v in (largest, top))
    some = exact_sign != 0
    exact, largest, top = exact[some], largest[some], top[some]
    # Computed in float64, with an error of 2⁻⁵⁰ of the largest term; rounded once.
    lost = 2.0**-50 * np.exp(largest - exact)
    lost += 2 * np.spacing(np.maximum(np.abs(top), np.abs(exact)).astype(np.float64))
    unit = reference.ulp(exact, size.dtype)
    rounding = 0.51 if size.dtype != np.float64 else 2.0
    assert (np.abs(size[some].astype(np.longdouble) - exact) <= rounding * unit + lost).all()
    # Without the sign it is the same number, or none.
    alone = logsumexp(x, b=b, **options, **({"where": ~hidden} if hidden.any() else {}))
    np.testing.assert_array_equal(np.isnan(alone), exact_sign < 0)
    positive = exact_sign >= 0
    assert same_bits(np.asarray(alone)[positive], np.asarray(size)[positive])


# Sums


@pytest.mark.parametrize("length", LENGTHS)
def test_log_probabilities(dtype: np.dtype[Any], length: int) -> None:
    # They sum to nearly 1: the result is what their roundings leave.
    for spread in (0.5, 8.0, 40.0):
        x = golden.values((12, length), dtype, spread=spread, seed=length)
        logs = rounded(reference.log_softmax(x), dtype)
        holds(logs, axis=-1)


@pytest.mark.parametrize("length", LENGTHS)
def test_one_dominant_term(dtype: np.dtype[Any], length: int) -> None:
    x = golden.values((40, length), dtype, spread=3.0, seed=length)
    x -= np.linspace(3, 90, 40).astype(dtype)[:, None]
    for top in (0.0, float(finfo(dtype).smallest_subnormal), -(2.0**-9), 2.0**-7, 0.75, -30.0):
        x[:, length // 2] = top
        holds(x, axis=-1)


def test_near_zero(dtype: np.dtype[Any]) -> None:
    # x and log(1 - exp(x)): the result is a rounding error, to 2 ULP of itself.
    first = -np.geomspace(2.0**-7, -np.log(float(finfo(dtype).tiny)), 500)
    second = rounded(np.log(-np.expm1(first.astype(dtype).astype(np.longdouble))), dtype)
    holds(np.stack([first.astype(dtype), second], axis=-1), axis=-1)


def test_equal_entries(dtype: np.dtype[Any]) -> None:
    for n in (1, 2, 3, 10, 1000):
        for value in (0.0, 1.0, -2.5, -float(np.log(n))):
            holds(np.full((2, n), value, dtype), axis=1)


# Weights


@pytest.mark.parametrize("length", LENGTHS)
def test_weights(dtype: np.dtype[Any], length: int) -> None:
    for spread in (0.25, 4.0, 60.0):
        x = golden.values((12, length), dtype, spread=spread, seed=length)
        b = golden.values((12, length), dtype, spread=4.0, seed=length + 1)
        b[::3] = np.abs(b[::3])
        b[1, ::2] = 0
        for axis in (-1, 0, None):
            holds_weighted(x, b, axis=axis)
        for some in (b[:, :1], b[0], np.abs(b)):
            holds_weighted(x, some, axis=-1)
        kept = golden.values(x.shape, np.float32, seed=3) < 0
        holds_weighted(x, b, axis=-1, where=kept)


@pytest.mark.parametrize("length", LENGTHS)
def test_masked_weights_do_not_matter(dtype: np.dtype[Any], length: int) -> None:
    x = golden.values((12, length), dtype, seed=length)
    b = golden.values((12, length), dtype, spread=4.0, seed=length + 1)
    kept = golden.values(x.shape, np.float32, seed=3) < 0
    for value in (NAN, INF, -INF):
        hidden = np.where(kept, b, dtype.type(value)), np.where(kept, x, dtype.type(value))
        assert same_bits(
            logsumexp(hidden[1], -1, b=hidden[0], where=kept, return_sign=True)[0],
            logsumexp(x, -1, b=b, where=kept, return_sign=True)[0],
        )


def test_weights_broadcast_the_input(dtype: np.dtype[Any]) -> None:
    x = golden.values((1, 7), dtype)
    b = golden.values((3, 5, 7), dtype, seed=1)
    for axis in axes(3):
        holds_weighted(x, b, axis=axis)
        kept = logsumexp(x, axis, b=np.abs(b), keepdims=True)
        assert kept.shape == reference.logsumexp(x, axis, np.abs(b), keepdims=True).shape


@pytest.mark.parametrize("first", DTYPES, ids=str)
def test_dtypes_of_weights(first: np.dtype[Any], dtype: np.dtype[Any]) -> None:
    x = golden.values((6, 33), first)
    b = golden.values((6, 33), dtype, seed=1)
    for weights in (b, b > 0, np.arange(33)):
        holds_weighted(x, weights, axis=-1)


def test_python_numbers_as_weights(dtype: np.dtype[Any]) -> None:
    # As in NumPy, a Python number does not widen.
    x = golden.values((6, 33), dtype)
    for b in (2, 0.5):
        result = logsumexp(x, -1, b=b)
        assert result.dtype == dtype
        exact = reference.logsumexp(x, -1, b=np.array(b, dtype))
        assert reference.error_by_entry(result, exact) <= bound(dtype)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_weight_zero_leaves_out(dtype: np.dtype[Any], value: float) -> None:
    for length in LENGTHS[1:]:
        x = golden.values((4, length), dtype)
        b = np.ones_like(x)
        b[:, length // 2] = 0
        expected = logsumexp(x, -1, b=b, return_sign=True)
        x[:, length // 2] = value
        for zero in (0.0, -0.0):
            b[:, length // 2] = zero
            result = logsumexp(x, -1, b=b, return_sign=True)
            assert all(same_bits(a, e) for a, e in zip(result, expected, strict=True))
    nothing = logsumexp(x, -1, b=0, return_sign=True)
    assert (nothing[0] == -INF).all()
    assert (nothing[1] == 0).all()


def test_a_weight_that_is_nan_counts(dtype: np.dtype[Any]) -> None:
    x = golden.values((3, 20), dtype)
    b = np.ones_like(x)
    b[1, 7] = NAN
    result, sign = logsumexp(x, -1, b=b, return_sign=True)
    for v in (result, sign, logsumexp(x, -1, b=b)):
        assert np.isnan(v).tolist() == [False, True, False]


def test_negative_sums(dtype: np.dtype[Any]) -> None:
    x = golden.values((5, 40), dtype)
    size, sign = logsumexp(x, 1, b=-1, return_sign=True)
    assert (sign == -1).all()
    assert same_bits(size, logsumexp(x, 1))
    assert np.isnan(logsumexp(x, 1, b=-1)).all()


def test_sums_of_zero(dtype: np.dtype[Any]) -> None:
    x = np.array([[3.5, 3.5, -2, -2], [0, 0, 0, 0], [1, 1, 1, 1]], dtype)
    b = np.array([[1, -1, 2, -2], [1, 1, -3, 1], [1, 1, 1, -2]], dtype)
    result, sign = logsumexp(x, 1, b=b, return_sign=True)
    assert result.tolist()[:2] == [-INF, -INF]
    assert sign.tolist()[:2] == [0, 0]
    assert logsumexp(x, 1, b=b).tolist()[:2] == [-INF, -INF]
    assert result[2] == 1


@pytest.mark.parametrize(
    "b", [[1.7e308], [1e307, -1e306, 3.0], [1e280, 1e270], [1e300, 5e-324]], ids=str
)
def test_weights_near_the_largest_number(b: list[float]) -> None:
    x = np.linspace(0.25, -3.0, len(b))
    holds_weighted(x, np.array(b), axis=-1)
    holds_weighted(x - 700, np.array(b), axis=-1)
    holds_weighted(np.zeros(3), np.array([1e308, 1e308, 1e308]), axis=-1)


def test_sums_far_below_the_largest_exponential() -> None:
    for x, b, sign, exact in [
        ([0.0], [1e-310], 1, -713.8013788281541651),
        ([0.0], [-5e-324], -1, -744.44007192138126231),
        ([0.0, 1000.0], [1.0, 1e-310], 1, 286.1986211718458349),
        ([0.0, 1e-310], [1.0, -1.0], -1, -713.8013788281541651),
        ([0.0, -715.0], [1e-310, -1.0], 1, -714.16035612535148798),
    ]:
        result, found = logsumexp(x, b=b, return_sign=True)
        assert found == sign
        assert result == pytest.approx(exact, rel=3e-16)


def test_cancelling_sums(dtype: np.dtype[Any]) -> None:
    # The difference of two neighbours, and of numbers a few of their ULP apart.
    x = golden.values((200, 2), dtype, spread=3.0)
    for steps in (1, 2, 5):
        x[:, 1] = x[:, 0]
        for _ in range(steps):
            x[:, 1] = np.nextafter(x[:, 1], dtype.type(INF))
        b = np.array([1, -1], dtype)
        size, sign = logsumexp(x, 1, b=b, return_sign=True)
        assert (sign == -1).all()
        holds_weighted(x, b, axis=1)
        assert np.isfinite(size).all()


@pytest.mark.parametrize(
    ("x", "b", "expected"),
    [
        ([INF, 0], [1, 1], (INF, 1)),
        ([INF, 0], [-1, 1], (INF, -1)),
        ([INF, INF], [1, -1], (NAN, NAN)),
        ([INF, -INF], [1, 1], (INF, 1)),
        ([-INF, -INF], [1, -1], (-INF, 0)),
        ([-INF, 1], [5, 1], (1, 1)),
        ([0, 0], [INF, 1], (INF, 1)),
        ([0, 0], [-INF, 1], (INF, -1)),
        ([0, 0], [INF, -INF], (NAN, NAN)),
        ([-INF, 0], [INF, 1], (NAN, NAN)),
        ([NAN, 0], [1, 1], (NAN, NAN)),
        ([NAN, INF], [1, 1], (NAN, NAN)),
        ([], [], (-INF, 0)),
    ],
)
def test_special_weights(
    dtype: np.dtype[Any], x: list[float], b: list[float], expected: tuple[float, float]
) -> None:
    result = logsumexp(np.array(x, dtype), b=np.array(b, dtype), return_sign=True)
    np.testing.assert_array_equal(np.array(result).astype(np.float64), expected)


# Shapes


@pytest.mark.parametrize("keepdims", [False, True])
def test_axes(dtype: np.dtype[Any], keepdims: bool) -> None:
    for shape in shapes(dtype):
        x = golden.values(shape, dtype)
        b = golden.values(shape, dtype, seed=1)
        for axis in axes(len(shape)):
            plain = holds(x, axis=axis, keepdims=keepdims, sign_too=False)
            if x.size < 1000:
                holds_weighted(x, b, axis=axis)
            kept = logsumexp(x, axis, keepdims=True)
            assert same_bits(np.reshape(plain, np.shape(kept)), kept)
            out = np.empty(np.shape(plain), dtype)
            assert logsumexp(x, axis, keepdims=keepdims, out=out) is out
            assert same_bits(out, np.asarray(plain))


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (2, 0, 4), (0, 0)])
def test_empty(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    x = np.empty(shape, dtype)
    for axis in axes(len(shape)):
        result, sign = logsumexp(x, axis, return_sign=True)
        assert np.shape(result) == np.shape(sign) == reference.logsumexp(x, axis).shape
        assert (result == -INF).all()
        assert (sign == 0).all()


def test_scalars(dtype: np.dtype[Any]) -> None:
    for result in (logsumexp(dtype.type(1.5)), logsumexp(np.full((1, 1), 1.5, dtype))):
        assert type(result) is dtype.type
        assert result == 1.5
    for part in logsumexp(dtype.type(1.5), b=-1, return_sign=True):
        assert type(part) is dtype.type
    assert type(logsumexp(np.ones((2, 3), dtype), keepdims=True)) is np.ndarray
    assert type(logsumexp(3)) is np.float64


@pytest.mark.parametrize("layout", layouts(2), ids=lambda layout: layout.name)
def test_layouts_of_weights(dtype: np.dtype[Any], layout: Layout) -> None:
    x = golden.values((9, 41), dtype)
    b = layout.build(golden.values((9, 41), dtype, seed=1))
    plain = np.array(b, dtype, order="C")
    for axis in axes(2):
        expected = logsumexp(x, axis, b=plain, return_sign=True)
        for threads in (1, 2):
            result = logsumexp(x, axis, b=b, return_sign=True, num_threads=threads)
            for a, e in zip(result, expected, strict=True):
                assert same_bits(np.asarray(a), np.asarray(e))


@pytest.mark.parametrize("length", [40, 1030, 300_007])
def test_threads(dtype: np.dtype[Any], length: int) -> None:
    x = golden.values((1 + 300_000 // length, length), dtype)
    b = golden.values(x.shape, dtype, seed=1)
    expected = logsumexp(x, -1, b=b, return_sign=True, num_threads=1)
    for threads in (2, 3, 5):
        result = logsumexp(x, -1, b=b, return_sign=True, num_threads=threads)
        assert all(same_bits(a, e) for a, e in zip(result, expected, strict=True))
        down = logsumexp(x.T.copy(), 0, b=b.T, return_sign=True, num_threads=threads)
        assert all(same_bits(a, e) for a, e in zip(down, expected, strict=True))


# Where the result goes


@pytest.mark.parametrize("named", DTYPES, ids=str)
def test_dtype_argument(dtype: np.dtype[Any], named: np.dtype[Any]) -> None:
    x = golden.values((6, 50), dtype)
    b = golden.values((6, 50), dtype, seed=1)
    result, sign = logsumexp(x, 1, b=b, return_sign=True, dtype=named)
    assert result.dtype == sign.dtype == named
    wide = reference.result_dtype(np.empty(0, dtype), np.empty(0, named))
    computed = logsumexp(x.astype(wide), 1, b=b.astype(wide), return_sign=True)
    assert same_bits(result, rounded(computed[0], named))
    assert same_bits(sign, rounded(computed[1], named))


def test_out_and_sign(dtype: np.dtype[Any]) -> None:
    x = golden.values((6, 50), dtype)
    b = golden.values((6, 50), dtype, seed=1)
    expected, expected_sign = logsumexp(x, 1, b=b, return_sign=True)
    out = np.empty(6, dtype)
    result, sign = logsumexp(x, 1, b=b, return_sign=True, out=out)
    assert result is out
    assert same_bits(out, expected)
    assert same_bits(sign, expected_sign)
    assert not np.shares_memory(sign, out)


def test_out_lies_in_the_inputs(dtype: np.dtype[Any]) -> None:
    for column in (0, 17, 49):
        for which in (0, 1):
            arrays = [golden.values((6, 50), dtype, seed=s) for s in (0, 1)]
            expected = logsumexp(arrays[0], 1, b=arrays[1], return_sign=True)
            out = arrays[which][:, column]
            _, sign = logsumexp(arrays[0], 1, b=arrays[1], return_sign=True, out=out)
            assert same_bits(out, expected[0])
            assert same_bits(sign, expected[1])


# Errors


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"b": 1j}, TypeError, ("b", "complex128")),
        ({"b": "a"}, TypeError, ("b",)),
        ({"b": np.ones((4, 5), object)}, TypeError, ("b", "object")),
        ({"b": np.ones((4, 5), np.longdouble)}, TypeError, ("b", str(np.dtype(np.longdouble)))),
        ({"b": np.ones(4)}, ValueError, ("b", "4,", "4, 5")),
        ({"b": np.ma.MaskedArray(np.ones(5))}, TypeError, ("b", "where=~b.mask")),
        ({"temperature": 1.0}, TypeError, ("temperature",)),
        ({"out": np.zeros((4, 1)), "axis": 1}, ValueError, ("out", "4, 1", "4,")),
        ({"out": np.zeros(4), "axis": 1, "keepdims": True}, ValueError, ("out", "4,", "4, 1")),
        ({"out": np.zeros((4, 5))}, ValueError, ("out", "4, 5", "()")),
    ],
    ids=str,
)
def test_errors(options: dict[str, Any], error: type[Exception], words: tuple[str, ...]) -> None:
    with pytest.raises(error, match=mentions(*words)):
        logsumexp(golden.values((4, 5), np.float64), **options)
