"""What must hold for any input, found by random search and by structure."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.lib.stride_tricks import as_strided

import golden
import reference
from cases import BY_NAME, DTYPES, FLOATS, FUNCTIONS, Function, same_bits
from reference import Array, Axis, ulp

SOFTMAX = BY_NAME["softmax"]
# On grids that float16 and bfloat16 do not have.
WIDE = pytest.mark.parametrize("dtype", FLOATS, ids=str)
LENGTHS = (1, 2, 3, 7, 16, 17, 100, 1030, 20_000)

pytestmark = pytest.mark.filterwarnings("error")


def difference(a: Array, b: Array) -> float:
    """Return the largest difference of two results in ULP."""
    wide = reference.wider(a.dtype)
    return float((np.abs(a.astype(wide) - b.astype(wide)) / ulp(b.astype(wide), a.dtype)).max())


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("spread", [1.0, 16.0, 300.0])
def test_rows_sum_to_one(dtype: np.dtype[Any], length: int, spread: float) -> None:
    for temperature in (1.0, 0.3, 50.0):
        p = SOFTMAX(golden.values((20, length), dtype, spread=spread), temperature=temperature)
        sums = p.sum(axis=-1, dtype=reference.wider(dtype))
        info = reference.finfo(dtype)
        # 2 ULP an entry is at most 2 eps of the sum: tighter than the usual n · eps.
        bound = min(length, 2) * float(info.eps) + length * float(info.smallest_subnormal)
        assert np.abs(sums - 1).max() <= bound
        assert ((p >= 0) & (p <= 1)).all()


@WIDE
@pytest.mark.parametrize("length", LENGTHS)
def test_shift_invariance(dtype: np.dtype[Any], length: int) -> None:
    # On a grid of 2⁻⁶ these sums are exact in float32, so the exact results are the same.
    x = np.floor(golden.values((20, length), dtype, spread=2.0**11)).astype(dtype) / 2**6
    p = SOFTMAX(x)
    for shift in (1.0, -7.0, 1000.0, -4096.0, 2.0**16):
        moved = x + dtype.type(shift)
        assert ((moved - dtype.type(shift)) == x).all()
        assert difference(SOFTMAX(moved), p) <= 2 * SOFTMAX.bound


@pytest.mark.parametrize("length", LENGTHS)
def test_scaling_by_powers_of_two_is_temperature(dtype: np.dtype[Any], length: int) -> None:
    x = golden.values((20, length), dtype)
    for temperature in (0.25, 2.0, 64.0):
        p = SOFTMAX(x / dtype.type(temperature))
        assert difference(SOFTMAX(x, temperature=temperature), p) <= 2 * SOFTMAX.bound


@WIDE
@pytest.mark.parametrize("length", LENGTHS)
def test_order_is_kept(dtype: np.dtype[Any], length: int) -> None:
    # Steps of 2⁻¹⁶ are 64 float32 ULP and more apart after exp; equal entries stay equal bits.
    x = np.floor(golden.values((20, length), dtype, spread=2.0**18)).astype(dtype) / 2**16
    x[:, length // 3 : length // 2] = x[:, :1]
    p = SOFTMAX(x)
    order = np.argsort(x, axis=-1, kind="stable")
    sorted_x = np.take_along_axis(x, order, -1)
    sorted_p = np.take_along_axis(p, order, -1)
    rises = np.diff(sorted_x) > 0
    assert (np.diff(sorted_p)[rises] > 0).all()
    assert (np.diff(sorted_p)[~rises] == 0).all()


@pytest.mark.parametrize("length", LENGTHS)
def test_permutation(function: Function, dtype: np.dtype[Any], length: int) -> None:
    arrays = function.inputs(golden.values((10, length), dtype))
    order = np.argsort(golden.values((length,), np.float64, seed=5))
    result = function(*arrays)
    if not function.reduces:
        result = result[:, order]
    permuted = function(*(a[:, order] for a in arrays))
    if function.error is reference.error_by_row:
        # Ties for the argmax move the shift, and with it the last bits of the largest term.
        wide = result.astype(reference.wider(dtype))
        assert reference.error_by_row(permuted, wide, -1) <= function.bound
    else:
        assert difference(permuted, result) <= 2


@pytest.mark.parametrize("length", LENGTHS)
def test_gradient_is_linear(dtype: np.dtype[Any], length: int) -> None:
    for function in FUNCTIONS:
        if len(function.arguments) == 2:
            y, dy = function.inputs(golden.values((10, length), dtype))
            once = function(y, dy)
            twice = function(y, 2 * dy)
            # The least numbers of float16 are no powers of two away from each other.
            small = np.abs(twice) < 4 * float(reference.finfo(dtype).tiny)
            assert same_bits(twice[~small], 2 * once[~small])
            least = float(reference.finfo(dtype).smallest_subnormal)
            assert (np.abs(twice - 2 * once)[small] <= 2 * least).all()
            np.testing.assert_array_equal(function(y, -dy), -once)
            # The Jacobian annihilates constants; the shift by the cotangent makes that exact.
            assert (function(y, np.full_like(dy, 3.7)) == 0).all()


@pytest.mark.parametrize("length", [1, 2, 5, 16, 40])
def test_gradient_is_the_derivative(length: int) -> None:
    # Against the complete Jacobian from the definition, not the twin's own formula.
    for function in FUNCTIONS:
        if len(function.arguments) == 2:
            for temperature in (1.0, 0.5, 3.7):
                x = golden.values((length,), np.float64, spread=3.0)
                y = SOFTMAX(x, temperature=temperature)
                jacobian = (np.diag(y) - np.outer(y, y)) / temperature
                v = golden.values((length,), np.float64, seed=3)
                result = function(y, v, temperature=temperature)
                np.testing.assert_allclose(result, jacobian @ v, rtol=0, atol=1e-14)
                step = 1e-6
                ahead = SOFTMAX(x + step * v, temperature=temperature)
                behind = SOFTMAX(x - step * v, temperature=temperature)
                np.testing.assert_allclose(result, (ahead - behind) / (2 * step), atol=1e-7)


@st.composite
def strided_views(draw: st.DrawFn) -> tuple[Array, Axis]:
    """Draw any view there can be of a buffer: strides of every sign, overlapping, misaligned."""
    dtype: np.dtype[Any] = draw(st.sampled_from(DTYPES))
    ndim = draw(st.integers(0, 4))
    shape = tuple(draw(st.lists(st.integers(0, 9), min_size=ndim, max_size=ndim)))
    strides = draw(st.lists(st.integers(-11, 11), min_size=ndim, max_size=ndim))
    odd_bytes = draw(st.integers(0, dtype.itemsize - 1))
    reach = [(n - 1) * s if n else 0 for n, s in zip(shape, strides, strict=True)]
    first = -sum(r for r in reach if r < 0)
    size = first + sum(r for r in reach if r > 0) + 1
    raw = np.zeros(size * dtype.itemsize + odd_bytes, np.uint8)
    buffer = raw[odd_bytes:].view(dtype)
    spread = 2.0 ** draw(st.integers(-3, 9))
    buffer[...] = golden.values((size,), dtype, spread=spread, seed=draw(st.integers(0, 99)))
    if draw(st.booleans()):
        buffer = buffer.view(dtype.newbyteorder("S"))
        buffer[...] = golden.values((size,), dtype, spread=spread)
    view = as_strided(buffer[first:], shape, [s * dtype.itemsize for s in strides])
    every = tuple(range(-ndim, ndim))
    some = st.lists(st.sampled_from(every), unique_by=lambda a: a % ndim) if ndim else st.just([])
    axis = draw(st.one_of(st.none(), some.map(tuple), st.sampled_from(every or (-1,))))
    return view, axis


@pytest.mark.parametrize("name", [f.name for f in FUNCTIONS])
@given(case=strided_views(), temperature=st.floats(0.01, 100.0), threads=st.integers(1, 3))
def test_any_strided_view(
    name: str, case: tuple[Array, Axis], temperature: float, threads: int
) -> None:
    function = BY_NAME[name]
    view, axis = case
    native = view.dtype.newbyteorder("=")
    arrays = function.inputs(np.array(view, native, order="C"), axis, temperature)
    laid_out = (view, *arrays[1:]) if len(arrays) == 1 else (*arrays[:-1], view)
    plain = tuple(np.array(a, native, order="C") for a in laid_out)
    if not function.takes_temperature:
        temperature = 1.0
    options: dict[str, Any] = {"axis": axis, "temperature": temperature}
    expected = np.asarray(function(*plain, **options))
    exact = function.exact(plain, axis, temperature)
    assert function.error(expected, exact, axis) <= function.allowed(native)
    result = function(*laid_out, **options, num_threads=threads)
    assert same_bits(np.asarray(result), expected)
    out = np.empty(expected.shape[::-1], native).T
    assert function(*laid_out, **options, out=out, num_threads=threads) is out
    assert same_bits(out, expected)
    # Into the memory that is read, the other way round.
    flipped = plain[-1] if view.ndim == 0 else np.flip(plain[-1])
    if function.reduces:
        if view.size == 0:
            return
        part: tuple[Any, ...] = tuple(slice(n) for n in expected.shape)
        flipped = flipped[(*part, ...)]
    function(*plain, **options, out=flipped)
    assert same_bits(flipped, expected)
