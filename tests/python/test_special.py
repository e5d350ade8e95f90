"""NaN, infinities, zeros and empty rows: the table of special values, wherever they stand."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import golden
import softlane
from cases import (
    BY_NAME,
    DTYPES,
    FUNCTIONS,
    Function,
    Layout,
    assert_equal,
    axes,
    layouts,
    same_bits,
)
from reference import Array, finfo

pytestmark = pytest.mark.filterwarnings("error")

NAN, INF = np.nan, np.inf
LENGTHS = (1, 2, 3, 10, 16, 17, 100, 5000)


@dataclass(frozen=True)
class Special:
    """A kind of row, and what each function makes of it."""

    name: str
    place: Callable[[Array, int], None]  # writes special values into a row, at a position
    softmax: Callable[[Array], Array]  # NaN where any NaN will do
    logsumexp: Callable[[Array], Any]
    min_length: int = 1


def _at(value: float) -> Callable[[Array, int], None]:
    def place(row: Array, position: int) -> None:
        row[position] = value

    return place


def _only_at(value: float) -> Callable[[Array, int], None]:
    """Leave one finite entry among copies of ``value``."""

    def place(row: Array, position: int) -> None:
        finite = row[position]
        row[...] = value
        row[position] = finite

    return place


def _pair(first: float, second: float) -> Callable[[Array, int], None]:
    def place(row: Array, position: int) -> None:
        row[position] = first
        row[position - 1] = second

    return place


def _all(value: float) -> Callable[[Array, int], None]:
    def place(row: Array, position: int) -> None:
        row[...] = value

    return place


def _largest_at(row: Array, position: int) -> None:
    row[...] = finfo(row.dtype).min
    row[position] = finfo(row.dtype).max


def _all_the(name: str) -> Callable[[Array, int], None]:
    """Fill with a number of the dtype's own: its largest, its least above 0."""

    def place(row: Array, position: int) -> None:
        row[...] = getattr(finfo(row.dtype), name)

    return place


def _all_nan(row: Array) -> Array:
    return np.full(row.shape, NAN, np.longdouble)


def _even(row: Array) -> Array:
    return np.full(row.shape, 1 / np.longdouble(row.size), np.longdouble)


def _one_hot(row: Array) -> Array:
    hot: Array = np.equal(row, row.max()).astype(np.longdouble)
    return hot


def _even_sum(row: Array) -> Any:
    return row[0].astype(np.longdouble) + np.log(np.longdouble(row.size))


def _gives(value: float) -> Callable[[Array], Any]:
    return lambda row: value


SPECIALS = (
    Special("NaN", _at(NAN), _all_nan, _gives(NAN)),
    Special("-NaN", _at(-NAN), _all_nan, _gives(NAN)),
    Special("all NaN", _all(NAN), _all_nan, _gives(NAN)),
    Special("+inf", _at(INF), _all_nan, _gives(INF)),
    Special("all +inf", _all(INF), _all_nan, _gives(INF)),
    Special("all -inf", _all(-INF), _all_nan, _gives(-INF)),
    Special("+inf and -inf", _pair(INF, -INF), _all_nan, _gives(INF), 2),
    Special("NaN and +inf", _pair(NAN, INF), _all_nan, _gives(NAN), 2),
    Special("NaN and -inf", _pair(NAN, -INF), _all_nan, _gives(NAN), 2),
    Special("one finite among -inf", _only_at(-INF), _one_hot, np.max),
    Special("the largest and the lowest", _largest_at, _one_hot, np.max),
    Special("all -0.0", _all(-0.0), _even, _even_sum),
    Special("all the largest", _all_the("max"), _even, _even_sum),
    Special("all the lowest", _all_the("min"), _even, _even_sum),
    Special("all subnormal", _all_the("smallest_subnormal"), _even, _even_sum),
)


def expected_of(function: Function, special: Special, row: Array) -> Array:
    """Return what a function makes of a special row, as exactly as longdouble holds it."""
    row = function.sign * row
    if function.reduces:
        return np.array([special.logsumexp(row)], np.longdouble)
    p = special.softmax(row)
    if function.name != "log_softmax":
        return p
    with np.errstate(divide="ignore"):
        return np.log(p)


TABLE = [
    pytest.param(function, special, length, id=f"{function.name}-{special.name}-{length}")
    for function in FUNCTIONS
    if function.takes_where  # those of logits
    for special in SPECIALS
    for length in LENGTHS
    if length >= special.min_length
]


def positions(length: int) -> set[int]:
    return {0, length // 2, length - 1}


def rows_with(
    function: Function, special: Special, length: int, dtype: np.dtype[Any], position: int
) -> Array:
    """Return four rows of which the second and the fourth are special."""
    x: Array = golden.values((4, length), dtype)
    special.place(x[1], position)
    special.place(x[3], length - 1 - position)
    return function.sign * x


@pytest.mark.parametrize(("function", "special", "length"), TABLE)
def test_table(function: Function, special: Special, length: int, dtype: np.dtype[Any]) -> None:
    for position in positions(length):
        x = rows_with(function, special, length, dtype, position)
        expected = function(x)
        for row in (1, 3):
            exact = expected_of(function, special, x[row])
            assert function.error(expected[row], exact, -1) <= function.allowed(dtype)
        for row in (0, 2):  # the neighbours are as if alone
            assert np.isfinite(expected[row]).all()
            assert same_bits(expected[row], function(x[row]))
        for layout in layouts(2):
            if layout.keeps_values:
                assert_equal(function(layout.build(x)), expected)
                assert_equal(function(layout.build(x.T), axis=0), expected.T)
        cube = np.stack([x, x[::-1]])
        assert_equal(function(cube.swapaxes(1, 2), axis=1)[0], expected.T)
        for threads in (1, 2):
            assert_equal(function(cube, num_threads=threads)[1, ::-1], expected)
        if not function.reduces:
            assert_equal(function(x, out=x), expected)


@pytest.mark.parametrize("length", LENGTHS)
def test_minus_infinity_is_exactly_zero(length: int, dtype: np.dtype[Any]) -> None:
    softmax = BY_NAME["softmax"]
    x = golden.values((3, length), dtype, spread=1.0)  # no other probability underflows
    x[:, ::2] = -INF
    x[:, length // 2] = 1.0
    p = softmax(x)
    assert np.array_equal(p == 0, np.isneginf(x))
    assert not np.signbit(p).any()
    assert softmax.error(p, softmax.exact((x,)), -1) <= softmax.allowed(dtype)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_sign_of_zero_does_not_matter(
    function: Function, length: int, dtype: np.dtype[Any]
) -> None:
    arrays = function.inputs(golden.values((3, length), dtype))
    logits = arrays[0]
    logits[:, ::2] = 0.0
    negative = np.where(logits == 0, -logits, logits)
    assert_equal(function(negative, *arrays[1:]), function(*arrays))


@pytest.mark.parametrize("layout", layouts(1), ids=lambda layout: layout.name)
def test_length_one(dtype: np.dtype[Any], layout: Layout) -> None:
    softmax = BY_NAME["softmax"]
    large, least = float(finfo(dtype).max), float(finfo(dtype).smallest_subnormal)
    for value in (0.0, -0.0, -large / 8, large, 3 * least):
        assert softmax(layout.build(np.array([value], dtype)))[0] == 1
    assert (softmax(golden.values((6, 1), dtype)) == 1).all()
    assert (softmax(golden.values((1, 6), dtype), axis=0) == 1).all()


@pytest.mark.parametrize("axis", [-1, 0, None, ()])
def test_zero_dimensions(function: Function, dtype: np.dtype[Any], axis: Any) -> None:
    arrays = function.inputs(np.array(3.5, dtype), axis)
    result = function(*arrays, axis=axis)
    assert np.shape(result) == ()
    assert result.dtype == dtype
    assert result == function.exact(arrays, axis)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4), (0, 0)])
@pytest.mark.parametrize("layout", layouts(1), ids=lambda layout: layout.name)
def test_empty(
    function: Function, dtype: np.dtype[Any], shape: tuple[int, ...], layout: Layout
) -> None:
    for axis in axes(len(shape)):
        arrays = function.inputs(np.zeros(shape, dtype), axis)
        result = function(*map(layout.build, arrays), axis=axis)
        assert result.shape == function.result_shape(shape, axis)
        assert result.dtype == dtype
        assert (result == -INF).all() or not function.reduces
        out = np.zeros(result.shape, dtype)
        assert function(*arrays, axis=axis, out=out) is out


@pytest.mark.parametrize("name", ["softmax_vjp", "softmax_jvp"])
@pytest.mark.parametrize("length", LENGTHS)
def test_gradient_of_certainty_is_zero(name: str, length: int, dtype: np.dtype[Any]) -> None:
    function = BY_NAME[name]
    for position in positions(length):
        y = np.zeros((2, length), dtype)
        y[:, position] = 1
        assert (function(y, golden.values(y.shape, dtype)) == 0).all()


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("axis", [0, -1])
def test_nan_stays_in_its_row(
    function: Function, length: int, axis: int, dtype: np.dtype[Any]
) -> None:
    arrays = function.inputs(golden.values((5, length), dtype))
    clean = function(*arrays)
    for which in range(len(arrays)):
        for position in positions(length):
            poisoned = [a.copy() for a in arrays]
            poisoned[which][2, position] = NAN
            turned = [a.T if axis == 0 else a for a in poisoned]
            result = function(*turned, axis=axis)
            rows = result.T if axis == 0 else result
            assert np.isnan(rows[2]).all()
            assert same_bits(np.delete(rows, 2, 0), np.delete(clean, 2, 0))


# Logits, a temperature, and the exact log_softmax: the quotient is out of reach of the type.
COLD = [
    (np.zeros(2, "f4"), 1e-300, [-np.log(2)] * 2),
    (np.array([1e10, 0], "f4"), 1e-29, [0, -INF]),
    (np.full(2, 1e15, "f4"), 1e-24, [-np.log(2)] * 2),
    (np.full(2, 60000, "f2"), 1e-35, [-np.log(2)] * 2),
    (np.array([1e-45, 0], "f4"), 1e-45, [-np.log1p(np.exp(-1.4013)), -np.log1p(np.exp(1.4013))]),
    (np.full(2, 1e20), 1e-300, [-np.log(2)] * 2),
    (np.array([1e300, -1e300]), 1e-300, [0, -INF]),
    (np.array([3e-310, 0]), 1e-310, [-np.log1p(np.exp(-3.0)), -np.log1p(np.exp(3.0))]),
]


@pytest.mark.parametrize(("x", "temperature", "exact"), COLD)
@pytest.mark.parametrize("count", [1, 40])
def test_quotients_beyond_the_type(
    x: Array, temperature: float, exact: list[float], count: int
) -> None:
    for result in (
        softlane.log_softmax(np.tile(x, (count, 1)), temperature=temperature),
        softlane.log_softmax(np.tile(x, (count, 1)).T, axis=0, temperature=temperature).T,
    ):
        np.testing.assert_allclose(result, np.tile(exact, (count, 1)), rtol=2.0**-9)


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("exponent", [*range(-280, -30, 7), -1074])
def test_the_smallest_differences_over_small_temperatures(exponent: int, count: int) -> None:
    # Down to where the smallest of float32 over the temperature is beyond float32.
    for difference in (2.0**-149, 3 * 2.0**-140, 2.0**-60):
        for temperature in (2.0**exponent, 1.3 * 2.0**exponent):
            quotient = Fraction(difference) / Fraction(temperature)
            with np.errstate(over="ignore"):
                exact = np.float32(-float(min(quotient, Fraction(2) ** 200)))
            rows = np.tile(np.array([0.0, difference], np.float32), (count, 1))
            found = softlane.log_softmax(rows, temperature=temperature)
            if quotient > 20:
                # The other term of the logarithm is below the last place.
                np.testing.assert_array_max_ulp(found[:, 0], np.full(count, exact), 2)
                assert (np.abs(found[:, 1]) < 1e-8).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_is_beyond_every_number_over_a_temperature(dtype: np.dtype[Any]) -> None:
    lowest = float(finfo(dtype).min)
    temperatures = golden.values((400,), np.float64) ** 2 + 1.0
    for temperature in temperatures * 2.0 ** np.arange(-1000, 1000, 5):
        for rows in (1, 20):
            x = np.tile(np.array([0, -INF, lowest], dtype), (rows, 1))
            found = softlane.log_softmax(x, temperature=temperature)
            assert (found[:, 1] == -INF).all()
            assert (found[:, 2] <= found[:, 0]).all()
            if temperature < 1:
                assert (found[:, 2] <= lowest).all()


@pytest.mark.parametrize("temperature", [1e-140, 1e-44, 1e-20])
def test_nothing_over_a_small_temperature_is_nothing(temperature: float) -> None:
    y, d = np.full((20, 2), 0.5, "f4"), np.ones((20, 2), "f4")
    for rows in (y, y[:1]):
        assert (softlane.softmax_vjp(rows, d[: len(rows)], temperature=temperature) == 0).all()


# What is added to the maximum, in units of the smallest number: not lost, and not doubled.
@pytest.mark.parametrize("v", [-744.0373648002507, -736.5484607718862, -740.0, -743.0, -745.0])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_subnormal_logarithms(v: float, count: int) -> None:
    x = np.array([0.0] + [v] * count)
    exact = count * np.exp(np.longdouble(v)) / np.longdouble(2.0**-1074)
    for rows in (x, np.tile(x, (20, 1))):
        logs = (softlane.logsumexp(rows, axis=-1), -softlane.log_softmax(rows)[..., 0])
        for result in (*logs, softlane.cross_entropy(rows, np.zeros(rows.shape[:-1], int))):
            assert (np.abs(np.longdouble(result) / 2.0**-1074 - exact) <= 1).all()


@pytest.mark.parametrize("temperature", [1.5, 2.0, 3.0, 100.0, 1e30])
@pytest.mark.parametrize("count", [1, 40])
def test_cotangents_too_far_apart_for_a_difference(temperature: float, count: int) -> None:
    y, dy = [0.5, 0.25, 0.25], [3e38, -3e38, 1e38]
    arrays = [np.tile(np.array(row, np.float32), (count, 1)) for row in (y, dy)]
    mean = sum(Fraction(p) * Fraction(float(d)) for p, d in zip(y, arrays[1][0], strict=True))
    terms = [
        Fraction(p) * (Fraction(float(d)) - mean) for p, d in zip(y, arrays[1][0], strict=True)
    ]
    exact = np.array([float(term / Fraction(temperature)) for term in terms])
    found = softlane.softmax_vjp(*arrays, temperature=temperature)
    largest = np.spacing(np.abs(exact).max().astype(np.float32))
    assert np.abs(found - exact).max() <= 4 * largest


@pytest.mark.parametrize("function", [softlane.kl_divergence, softlane.cross_entropy])
@pytest.mark.parametrize("count", [1, 9])
def test_divergences_beyond_the_largest_number(function: Function, count: int) -> None:
    x, targets = np.array([0.0, -1.7e308, -1.7e308]), np.array([0.0, 1.0, 1.0])
    losses = function(np.tile(x, (count, 1)), np.tile(targets, (count, 1)), reduction="none")
    np.testing.assert_array_equal(losses, np.inf)
    targets[2] = np.inf
    with pytest.raises(ValueError, match=r"targets|labels"):
        function(np.tile(x, (count, 1)), np.tile(targets, (count, 1)))
