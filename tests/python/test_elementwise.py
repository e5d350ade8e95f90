"""sigmoid and log_sigmoid, which know no rows: accuracy, special values, bits, `out`, bad input."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import golden
import reference
import softlane
from cases import EXACT, SHAPES, Layout, layouts, overlapping_windows, same_bits
from reference import Array

pytestmark = pytest.mark.filterwarnings("error")

NAN, INF = np.nan, np.inf
BOUND = 2.0  # ULP
HALF_BOUND = 0.51


def bound(dtype: np.dtype[Any]) -> float:
    return HALF_BOUND if dtype.itemsize == 2 else BOUND


@dataclass(frozen=True)
class Elementwise:
    """A function of softlane, and its twins."""

    name: str
    twin: Callable[[Array], Array]
    judge: Callable[[Array], list[Any]]  # in mpmath

    def __call__(self, *arrays: Any, **options: Any) -> Any:
        return getattr(softlane, self.name)(*arrays, **options)


@pytest.fixture(
    params=[
        Elementwise("sigmoid", reference.sigmoid, reference.sigmoid_row),
        Elementwise("log_sigmoid", reference.log_sigmoid, reference.log_sigmoid_row),
    ],
    ids=lambda f: f.name,
)
def function(request: pytest.FixtureRequest) -> Elementwise:
    chosen: Elementwise = request.param
    return chosen


# ---------------------------------------------------------------------------------- accuracy


def spread_out(dtype: np.dtype[Any], count: int) -> dict[str, Array]:
    """Return numbers of several kinds, more of them where the results are small."""
    rng = np.random.default_rng(5)
    lowest = float(np.log(ml_dtypes.finfo(dtype).smallest_subnormal)) - 2
    subnormal = float(np.log(ml_dtypes.finfo(dtype).tiny)) + 2
    largest = np.log10(float(ml_dtypes.finfo(dtype).max)) - 0.1
    signs = rng.choice([-1, 1], count)
    kinds = {
        "normal": 3 * rng.standard_normal(count),
        "near zero": signs * 10.0 ** rng.uniform(-30, 0, count),
        "whole domain": rng.uniform(lowest, -lowest, count),
        "small results": signs * rng.uniform(lowest, subnormal, count),
        "huge": signs * 10.0 ** rng.uniform(2, largest, count),
    }
    return {kind: x.astype(dtype) for kind, x in kinds.items()}


def test_accuracy(
    function: Elementwise, dtype: np.dtype[Any], record_property: Callable[[str, object], None]
) -> None:
    if dtype == np.float64 and not reference.LONGDOUBLE_IS_WIDE:
        pytest.skip("longdouble is no wider than float64 here")
    for kind, x in spread_out(dtype, 200_000).items():
        error = reference.error_by_entry(function(x), function.twin(x))
        record_property(f"{function.name} {dtype} {kind}", error)
        print(f"{function.name} {dtype} {kind}: {error:.3f} ULP")
        assert error <= bound(dtype), kind


def test_accuracy_to_50_digits(function: Elementwise, dtype: np.dtype[Any]) -> None:
    for kind, x in spread_out(dtype, 300).items():
        exact = reference.from_mpmath(function.judge(x), dtype)
        assert reference.error_by_entry(function(x), exact) <= bound(dtype), kind


def test_small_results_are_not_flushed() -> None:
    assert softlane.sigmoid(np.float32(-100)) == np.float32(3.783506e-44)
    assert softlane.sigmoid(np.float32(-103.5)) == np.finfo(np.float32).smallest_subnormal
    assert softlane.sigmoid(-745.0) == np.finfo(np.float64).smallest_subnormal
    assert softlane.log_sigmoid(np.float32(100)) == np.float32(-3.783506e-44)
    assert softlane.log_sigmoid(745.0) == -np.finfo(np.float64).smallest_subnormal
    assert softlane.log_sigmoid(40.0) == -4.248354255291589e-18


# ---------------------------------------------------------------------------- special values


def test_special_values(dtype: np.dtype[Any]) -> None:
    x = np.array([NAN, -NAN, INF, -INF, 0.0, -0.0, 1000, -1000], dtype)
    half = np.log(0.5).astype(dtype)
    table = {
        "sigmoid": [NAN, NAN, 1, 0, 0.5, 0.5, 1, 0],
        "log_sigmoid": [NAN, NAN, -0.0, -INF, half, half, -0.0, -1000],
    }
    for name, row in table.items():
        expected = np.array(row, dtype)
        expected[np.isnan(expected)] = np.copysign(dtype.type(NAN), 1)
        assert same_bits(getattr(softlane, name)(x), expected)


def test_the_sign_of_zero_is_that_of_the_formula(dtype: np.dtype[Any]) -> None:
    x = np.array([INF, ml_dtypes.finfo(dtype).max, 1000], dtype)
    with np.errstate(under="ignore"):
        assert same_bits(softlane.log_sigmoid(x), -np.log1p(np.exp(-x)))


def test_the_largest_numbers(dtype: np.dtype[Any]) -> None:
    largest, lowest = ml_dtypes.finfo(dtype).max, ml_dtypes.finfo(dtype).min
    assert softlane.sigmoid(largest) == 1
    assert softlane.sigmoid(lowest) == 0
    assert softlane.log_sigmoid(lowest) == lowest


def test_nan_stays_where_it_is(function: Elementwise, dtype: np.dtype[Any]) -> None:
    x = golden.values((100,), dtype)
    clean = function(x)
    for position in (0, 15, 16, 50, 99):
        poisoned = x.copy()
        poisoned[position] = NAN
        result = function(poisoned)
        assert np.isnan(result[position])
        assert same_bits(np.delete(result, position), np.delete(clean, position))


# -------------------------------------------------------------------------------------- bits

DENSE = {"C", "F", "transposed", "read-only"}


def test_every_layout(function: Elementwise, dtype: np.dtype[Any]) -> None:
    for shape in SHAPES:
        x = golden.values(shape, dtype, spread=32.0)
        for layout in layouts(len(shape)):
            given = layout.build(x)
            expected = function(np.ascontiguousarray(given).astype(dtype)).reshape(shape)
            result = function(given)
            assert same_bits(np.asarray(result), np.asarray(expected)), (shape, layout.name)
            if layout.name in DENSE and x.size > 1:
                long = [axis for axis, size in enumerate(shape) if size > 1]
                assert [result.strides[a] for a in long] == [given.strides[a] for a in long]


def test_one_entry_at_a_time(function: Elementwise, dtype: np.dtype[Any]) -> None:
    x = golden.values((300,), dtype, spread=32.0)
    assert same_bits(np.array([function(v) for v in x]), function(x))


@pytest.mark.parametrize("order", "CF")
def test_number_of_threads(function: Elementwise, dtype: np.dtype[Any], order: Any) -> None:
    x = golden.values((701, 433), dtype, spread=32.0).copy(order=order)
    expected = function(x, num_threads=1)
    for given in (x, x[:, 1:], x[::2], x[::-1, ::-2]):
        wanted = function(given.copy(), num_threads=1)
        for threads in (1, 2, 3, 8):
            assert same_bits(function(given, num_threads=threads), wanted)
    assert same_bits(np.stack([function(row) for row in x]), expected)


def test_on_one_thread_of_a_long_array(function: Elementwise) -> None:
    # From 2^22 entries on, the work is cut so that it can be interrupted.
    x = np.tile(golden.values((1 << 16,), np.float32), 65)
    assert same_bits(function(x, num_threads=1), np.tile(function(x[: 1 << 16]), 65))


def test_it_is_the_softmax_of_two_classes(dtype: np.dtype[Any]) -> None:
    x = golden.values((1000,), dtype, spread=32.0)
    pairs = np.stack([x, np.zeros_like(x)], axis=1)
    for ours, general in (("sigmoid", "softmax"), ("log_sigmoid", "log_softmax")):
        mine = getattr(softlane, ours)(x)
        theirs = getattr(softlane, general)(pairs)[:, 0]
        assert reference.error_by_entry(mine, theirs) <= 2 * BOUND


# -------------------------------------------------------------------------------------- dtypes


@pytest.mark.parametrize("given", EXACT, ids=str)
def test_integers_become_float64(function: Elementwise, given: np.dtype[Any]) -> None:
    x = golden.values((60,), np.float64, spread=100.0).astype(np.int64).astype(given)
    result = function(x)
    assert result.dtype == np.float64
    assert same_bits(result, function(x.astype(np.float64)))


def test_lists_and_numbers_of_python(function: Elementwise) -> None:
    assert same_bits(function([[1, 2.5], [True, -3]]), function(np.array([[1, 2.5], [1, -3]])))
    for scalar in (2, 2.0, np.float64(2), np.array(2)):
        assert function(scalar) == function([2.0])[0]
    assert function(np.float32(2)) == function(np.array([2], np.float32))[0]


def test_dtype(function: Elementwise) -> None:
    x = golden.values((500,), np.float32, spread=90.0)
    wide = function(x.astype(np.float64))
    assert same_bits(function(x, dtype=np.float64), wide)
    assert same_bits(function(x, dtype="f4"), function(x))
    with np.errstate(under="ignore"):
        narrow = wide.astype(np.float32)
    assert same_bits(function(x.astype(np.float64), dtype=np.float32), narrow)
    out = np.empty(x.shape, np.float32)
    assert function(x, dtype=np.float64, out=out) is out
    assert same_bits(out, narrow)


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", ">f8"])
def test_zero_dimensions_give_a_scalar(function: Elementwise, dtype: str) -> None:
    result = function(np.array(1.5, dtype))
    assert type(result) is np.dtype(dtype).type
    assert result == function(np.array([1.5], dtype))[0]
    out = np.empty((), dtype)
    assert function(1.5, out=out) is out
    assert out == function(np.float64(1.5)).astype(dtype)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)])
def test_empty(function: Elementwise, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    result = function(np.zeros(shape, dtype))
    assert result.shape == shape
    assert result.dtype == dtype
    out = np.zeros(shape, dtype)
    assert function(out, out=out) is out


# ----------------------------------------------------------------------------------------- out


@pytest.mark.parametrize("layout", layouts(4, writable=True), ids=lambda layout: layout.name)
def test_every_layout_of_out(function: Elementwise, dtype: np.dtype[Any], layout: Layout) -> None:
    for shape in SHAPES:
        if len(shape) < layout.min_ndim:
            continue
        x = golden.values(shape, dtype, spread=32.0)
        expected = np.asarray(function(x))
        out = layout.build(np.full(shape, -7, dtype))
        assert function(x, out=out) is out
        assert same_bits(out, expected)
        place = layout.build(x)
        assert function(place, out=place) is place
        assert same_bits(place, expected)


def test_what_surrounds_out_is_left_alone(function: Elementwise, dtype: np.dtype[Any]) -> None:
    x = golden.values((7, 33), dtype)
    base = np.full((20, 80), -7, dtype)
    expected = base.copy()
    function(x, out=base[3:17:2, 70:4:-2])
    expected[3:17:2, 70:4:-2] = function(x)
    assert same_bits(base, expected)


@pytest.mark.parametrize("by", [1, -1, 16, -16, 500, -500])
def test_overlap(function: Elementwise, dtype: np.dtype[Any], by: int) -> None:
    for count in (1000, 200_000):
        for threads in (1, 2):
            buffer = golden.values((count + 500,), dtype)
            expected = buffer.copy()
            first, second = slice(0, count), slice(abs(by), count + abs(by))
            source, target = (first, second) if by > 0 else (second, first)
            expected[target] = function(buffer[source])
            function(buffer[source], out=buffer[target], num_threads=threads)
            assert same_bits(buffer, expected)


def test_transposed_overlap(function: Elementwise, dtype: np.dtype[Any]) -> None:
    x = golden.values((90, 90), dtype)
    expected = function(x)
    function(x, out=x.T)
    assert same_bits(x.T, expected)


@pytest.mark.parametrize("out_dtype", ["f4", "f8", ">f4", ">f8"])
@pytest.mark.parametrize("given", ["f4", "f8", ">f4", "u1", "?"])
def test_casting(function: Elementwise, given: str, out_dtype: str) -> None:
    x = golden.values((6, 90), np.float64, spread=50.0).astype(given)
    expected = function(x).astype(np.dtype(out_dtype).newbyteorder("="))
    out = np.empty(x.shape, out_dtype)
    assert function(x, out=out) is out
    assert same_bits(out, expected)


# ----------------------------------------------------------------------------------- bad input


def _read_only() -> Array:
    out = np.zeros((4, 5))
    out.setflags(write=False)
    return out


BAD_OUT: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("list", lambda: [[0.0] * 5] * 4, TypeError, "out.*list"),
    ("shape", lambda: np.zeros((5, 4)), ValueError, "out.*5, 4.*4, 5"),
    ("more dimensions", lambda: np.zeros((1, 4, 5)), ValueError, "out.*1, 4, 5"),
    ("read-only", _read_only, ValueError, "out.*read-only"),
    ("int64", lambda: np.zeros((4, 5), np.int64), TypeError, "out.*int64.*same_kind"),
    ("windows", lambda: overlapping_windows(4, 5, np.float64), ValueError, "out.*overlap"),
    ("masked", lambda: np.ma.MaskedArray(np.zeros((4, 5))), TypeError, "out.*masked"),
]


@pytest.mark.parametrize(
    ("build", "error", "says"), [row[1:] for row in BAD_OUT], ids=[row[0] for row in BAD_OUT]
)
def test_bad_out(
    function: Elementwise, build: Callable[[], Any], error: type[Exception], says: str
) -> None:
    out = build()
    before = np.array(out)
    with pytest.raises(error, match=f"(?is){says}"):
        function(golden.values((4, 5), np.float64), out=out)
    np.testing.assert_array_equal(out, before)


REFUSED = [
    *(np.dtype(t) for t in (np.complex128, np.longdouble, object, "U3", "S3", "M8[s]", "m8[s]")),
]


@pytest.mark.parametrize("dtype", REFUSED, ids=str)
def test_refused_dtypes(function: Elementwise, dtype: np.dtype[Any]) -> None:
    out = np.full((4, 5), -7.0)
    with pytest.raises(TypeError, match=re.escape(f"x has dtype {dtype},")):
        function(np.zeros((4, 5), dtype), out=out)
    with pytest.raises(TypeError, match=re.escape(f"dtype is {dtype},")):
        function(np.zeros((4, 5)), out=out, dtype=dtype)
    assert (out == -7).all()


def test_refused_inputs(function: Elementwise) -> None:
    masked = np.ma.MaskedArray(np.zeros(3), mask=[True, False, False])
    with pytest.raises(TypeError, match="MaskedArray"):
        function(masked)
    with pytest.raises(ValueError, match="inhomogeneous"):
        function([[1.0, 2.0], [3.0]])
    for junk in (None, object(), "text", {1: 2.0}):
        with pytest.raises(TypeError):
            function(junk)


@pytest.mark.parametrize("num_threads", [0, -1, -(2**40)])
def test_num_threads_out_of_range(function: Elementwise, num_threads: int) -> None:
    with pytest.raises(ValueError, match=f"num_threads.*{num_threads}"):
        function([1.0], num_threads=num_threads)


@pytest.mark.parametrize("num_threads", [1.0, "2", [1]])
def test_num_threads_of_wrong_type(function: Elementwise, num_threads: Any) -> None:
    with pytest.raises(TypeError, match="num_threads"):
        function([1.0], num_threads=num_threads)


def test_signature(function: Elementwise) -> None:
    x = golden.values((4, 5), np.float64)
    signature = inspect.signature(getattr(softlane, function.name))
    assert str(signature) == "(x, /, *, out=None, dtype=None, num_threads=None)"
    for options in ({"axis": -1}, {"temperature": 1.0}, {"where": True}):
        with pytest.raises(TypeError, match=next(iter(options))):
            function(x, **options)
    for arrays in ((), (x, x)):
        with pytest.raises(TypeError):
            function(*arrays)
    with pytest.raises(TypeError):
        function(x=x)
