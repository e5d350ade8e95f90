"""Every function equals its plain twin: dtype × layout × axis × shape, and every kind of input."""

import itertools
import warnings
from typing import Any

import numpy as np
import pytest

import golden
import reference
from cases import (
    BY_NAME,
    DTYPES,
    EXACT,
    FUNCTIONS,
    HALVES,
    Function,
    Layout,
    axes,
    layouts,
    rounded,
    same_bits,
    shapes,
)
from reference import Array, Axis

PRODUCT = [
    (function, dtype, layout, shape)
    for function in FUNCTIONS
    for dtype in DTYPES
    for shape in shapes(dtype)
    for layout in layouts(len(shape))
]


def name_of(value: Any) -> str:
    """Return the id of a parameter."""
    return getattr(value, "name", str(value))


def check(function: Function, arrays: tuple[Any, ...], axis: Axis = -1, **options: Any) -> Array:
    """Call a function and hold shape, dtype and values against the twin."""
    result = function(*arrays, axis=axis, **options)
    exact = function.exact(arrays, axis, options.get("temperature", 1.0))
    assert isinstance(result, np.ndarray | np.generic)
    assert result.shape == exact.shape
    assert result.dtype == reference.result_dtype(*map(np.asarray, arrays))
    assert result.dtype.isnative
    error = function.error(np.asarray(result), exact, axis)
    assert error <= function.allowed(result.dtype), f"axis {axis}"
    return np.asarray(result)


@pytest.mark.parametrize(("function", "dtype", "layout", "shape"), PRODUCT, ids=name_of)
def test_product(
    function: Function, dtype: np.dtype[Any], layout: Layout, shape: tuple[int, ...]
) -> None:
    x = golden.values(shape, dtype, seed=len(shape))
    for axis in axes(len(shape)):
        arrays = tuple(layout.build(a) for a in function.inputs(x, axis))
        before = [a.tobytes() for a in arrays]
        result = check(function, arrays, axis)
        assert [a.tobytes() for a in arrays] == before
        assert not any(np.shares_memory(result, a) for a in arrays)


def test_the_product_is_complete() -> None:
    # A filter gone wrong in the tables would otherwise pass as a green, shorter run.
    cases = [(f, d, axis) for f, d, _, shape in PRODUCT for axis in axes(len(shape))]
    for function in FUNCTIONS:
        for dtype in DTYPES:
            count = sum(case[:2] == (function, dtype) for case in cases)
            assert count > (300 if dtype in HALVES else 1250)
    assert {layout.name for _, _, layout, _ in PRODUCT} >= {"broadcast1", "reversed3", "misaligned"}


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2, np.float32(3.7), np.int64(7), 1e3])
def test_temperature(tempered: Function, dtype: np.dtype[Any], temperature: Any) -> None:
    x = golden.values((6, 45), dtype)
    check(tempered, tempered.inputs(x, temperature=float(temperature)), temperature=temperature)


@pytest.mark.parametrize("layout", layouts(2), ids=lambda layout: layout.name)
@pytest.mark.parametrize("exact", EXACT, ids=lambda d: d.name)
def test_integers_become_float64(function: Function, exact: np.dtype[Any], layout: Layout) -> None:
    x = golden.values((4, 37), np.float64, spread=90.0).astype(np.int8).astype(exact)
    arrays = tuple(layout.build(a) for a in function.inputs(x))
    assert check(function, arrays).dtype == np.float64


@pytest.mark.parametrize("exact", EXACT, ids=lambda d: d.name)
def test_extreme_integers(function: Function, exact: np.dtype[Any]) -> None:
    # Converted before any arithmetic: 0 - 255 must not wrap around in uint8.
    low, high = (0, 1) if exact.kind == "b" else (np.iinfo(exact).min, np.iinfo(exact).max)
    x = np.array([low, high, low, high, high], exact)
    check(function, function.inputs(x))
    if function.takes_temperature:
        check(function, function.inputs(x), temperature=1e3)


def test_uint8_does_not_wrap() -> None:
    softmax = BY_NAME["softmax"]
    assert same_bits(softmax(np.array([0, 255], np.uint8)), softmax([0.0, 255.0]))
    assert softmax(np.array([0, 255], np.uint8))[1] == 1.0


@pytest.mark.parametrize(
    "x",
    [
        0.5,
        3,
        True,
        np.float32(2.5),
        np.float64(-1.0),
        np.int16(4),
        [0.1, 2.0, -3.0],
        (1, 2, 3),
        [[1.5, 2.5], [3.5, -4.5]],
        [True, False],
        [],
        [np.float32(1.0), np.float32(2.0)],
        range(5),
    ],
    ids=repr,
)
def test_what_asarray_accepts(function: Function, x: Any) -> None:
    check(function, tuple(x for _ in function.arguments))


def test_mixed_dtypes_promote_as_in_numpy(function: Function) -> None:
    if len(function.arguments) < 2:
        pytest.skip(f"{function.name} takes one array")
    x = golden.values((3, 21), np.float32)
    y, dy = function.inputs(x)
    check(function, (y, dy.astype(np.float64)))
    check(function, (y.astype(np.float64), dy))
    check(function, (y, np.arange(63).reshape(3, 21)))
    check(function, (y.astype(">f4"), dy.astype("<f4")))
    for first, second in itertools.permutations(DTYPES, 2):
        check(function, (rounded(y, first), dy.astype(second)))


class HasArray:
    """Something with ``__array__`` and nothing else."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.array if dtype is None else self.array.astype(dtype)


class HasDLPack:
    """Something with the DLPack protocol and nothing else."""

    device = (1, 0)  # the CPU

    def __init__(self, array: Array) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


class HasOldDLPack(HasDLPack):
    """An exporter from before DLPack 1.0, which knows ``stream`` alone."""

    def __dlpack__(self, *, stream: Any = None) -> Any:  # type: ignore[override]
        return self.array.__dlpack__(stream=stream)


class OnAnotherDevice(HasDLPack):
    """Memory of the CPU that claims to be CUDA's: reading it would give a number, not a crash."""

    device = (2, 0)


def exports(dtype: np.dtype[Any]) -> None:
    """Skip where NumPy itself cannot export a dtype."""
    if dtype.kind != "f":
        pytest.skip(f"NumPy exports no {dtype} by DLPack")


@pytest.mark.parametrize("wrapper", [HasArray, HasDLPack, HasOldDLPack])
@pytest.mark.parametrize("axis", [-1, 0, None])
def test_protocols(function: Function, dtype: np.dtype[Any], wrapper: Any, axis: Axis) -> None:
    arrays = function.inputs(golden.values((7, 33), dtype), axis)
    if issubclass(wrapper, HasDLPack):
        exports(dtype)
    result = function(*map(wrapper, arrays), axis=axis)
    assert type(result) is np.ndarray
    assert same_bits(result, function(*arrays, axis=axis))


@pytest.mark.parametrize("axis", [-1, 0, None])
def test_any_byte_but_zero_is_true(function: Function, axis: Axis) -> None:
    truths = golden.values((7, 33), np.float64) > 0.0
    bytes_ = np.where(truths, np.arange(1, 232, dtype=np.uint8).reshape(7, 33), np.uint8(0))
    for bools in (bytes_.view(bool), bytes_[:, ::-1].copy()[:, ::-1].view(bool)):
        assert np.array_equal(bools, truths)
        arrays = tuple(bools for _ in function.arguments)
        assert same_bits(
            function(*arrays, axis=axis), function(*(truths for _ in arrays), axis=axis)
        )


def test_dlpack_strided_and_read_only(function: Function, dtype: np.dtype[Any]) -> None:
    exports(dtype)
    arrays = function.inputs(golden.values((7, 33), dtype))
    expected = function(*arrays)
    strided = tuple(HasDLPack(np.asfortranarray(a)) for a in arrays)
    assert same_bits(function(*strided), expected)
    for a in arrays:
        a.setflags(write=False)
    assert same_bits(function(*map(HasDLPack, arrays)), expected)


def test_dlpack_integers(function: Function) -> None:
    arrays = function.inputs(np.arange(12, dtype=np.int32).reshape(3, 4))
    assert same_bits(function(*map(HasDLPack, arrays)), function(*arrays))


def test_dlpack_on_another_device(function: Function, dtype: np.dtype[Any]) -> None:
    arrays = function.inputs(golden.values((2, 3), dtype))
    for position, name in enumerate(function.arguments):
        mixed: list[Any] = list(arrays)
        mixed[position] = OnAnotherDevice(arrays[position])
        with pytest.raises(BufferError, match=rf"(?s)(?=.*\b{name}\b)(?=.*device)"):
            function(*mixed)


def imported(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, exc_type=ImportError)


def test_torch_tensors(function: Function, dtype: np.dtype[Any]) -> None:
    exports(dtype)
    torch = imported("torch")
    arrays = function.inputs(golden.values((7, 33), dtype))
    tensors = [torch.from_numpy(a) for a in arrays]
    assert same_bits(function(*tensors), function(*arrays))
    columns = [t.T for t in tensors]
    assert same_bits(function(*columns, axis=0), function(*arrays).T)


def test_jax_arrays(function: Function) -> None:
    jax = imported("jax")
    arrays = function.inputs(golden.values((7, 33), np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        immutable = [jax.numpy.asarray(a) for a in arrays]
    assert same_bits(function(*immutable), function(*arrays))


class Subclass(np.ndarray[Any, Any]):
    """An ndarray by another name."""


@pytest.mark.parametrize("subclass", [Subclass, np.matrix, np.recarray, np.memmap])
@pytest.mark.parametrize("axis", [0, 1, None])
def test_subclasses_give_ndarray(function: Function, subclass: Any, axis: Axis) -> None:
    arrays = function.inputs(golden.values((4, 6), np.float64), axis)
    result = function(*(a.view(subclass) for a in arrays), axis=axis)
    assert type(result) is np.ndarray
    assert same_bits(result, function(*arrays, axis=axis))


DTYPE_SPELLINGS = [
    np.float32,
    np.float64,
    np.float16,
    float,
    "float32",
    "bfloat16",
    "e",
    "d",
    np.dtype(np.float32),
    reference.BFLOAT16,
    np.dtype(np.float16).newbyteorder("S"),
    np.dtype(np.float64).newbyteorder("S"),
]


@pytest.mark.parametrize("spelling", DTYPE_SPELLINGS, ids=str)
@pytest.mark.parametrize("given", [*DTYPES, np.dtype(np.uint8), np.dtype(bool)], ids=str)
def test_dtype_argument(spelling: Any, given: np.dtype[Any]) -> None:
    x = golden.values((5, 70), np.float64, spread=60.0).astype(given)
    wanted = np.dtype(spelling).newbyteorder("=")
    for function in FUNCTIONS:
        if function.takes_dtype:
            arrays = function.inputs(x)
            result = function(*arrays, dtype=spelling)
            assert result.dtype == wanted
            assert result.dtype.isnative
            # Computed in the wider of the two and rounded once.
            given_as = reference.result_dtype(*arrays)
            computed = reference.result_dtype(np.empty(0, wanted), np.empty(0, given_as))
            narrowed = wanted != computed
            bound = 0.51 if narrowed else function.allowed(computed)
            wide = tuple(a.astype(computed) for a in arrays)
            assert function.error(result, function.exact(wide), -1) <= bound
            assert same_bits(result, rounded(function(*wide), wanted))
