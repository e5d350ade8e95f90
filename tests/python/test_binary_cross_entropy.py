"""binary_cross_entropy and its gradient: special values, dtypes, bits, `out`, bad input."""

import hashlib
import inspect
import itertools
import re
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import golden
import processes
import softlane
from binary_cases import (
    FLOAT32,
    FLOAT64,
    INF,
    NAN,
    REDUCTIONS,
    calls,
    evaluate,
    evaluate_in,
    labels,
    loss_dtype,
    soft,
    weights,
)
from cases import DTYPES, EXACT, SHAPES, layouts, overlapping_windows, rounded, same_bits
from reference import Array
from softlane import binary_cross_entropy, binary_cross_entropy_value_and_grad

pytestmark = pytest.mark.filterwarnings("error")


# ------------------------------------------------------------------------------ special values


def test_infinities(dtype: np.dtype[Any]) -> None:
    x = np.array([-INF, INF, NAN], dtype)
    table = {
        0.0: ([0, INF, NAN], [0, 1, NAN]),
        1.0: ([INF, 0, NAN], [-1, 0, NAN]),
        0.25: ([INF, INF, NAN], [-0.25, 0.75, NAN]),
    }
    for target, expected in table.items():
        loss, gradient = evaluate(x, np.full(3, target, dtype), reduction="none")
        for actual, row in zip((loss, gradient), expected, strict=True):
            np.testing.assert_array_equal(actual.astype(np.float64), row)


def test_infinite_and_unknown_sums(dtype: np.dtype[Any]) -> None:
    x = np.zeros(5000, dtype)
    t = np.zeros(5000, dtype)
    for place in (0, 17, 4999):
        for value, expected in ((INF, INF), (NAN, NAN), (-INF, None)):
            x[place] = value
            for reduction in ("mean", "sum"):
                loss = binary_cross_entropy(x, t, reduction=reduction)
                if expected is None:
                    assert np.isfinite(loss)
                else:
                    np.testing.assert_equal(float(loss), expected)
            x[place] = 0


def test_a_sum_may_be_larger_than_the_largest_number() -> None:
    x, t = np.full(20, np.finfo(np.float64).max), np.zeros(20)
    assert binary_cross_entropy(x, t, reduction="sum") == INF
    assert binary_cross_entropy(x, t) == INF
    x, t = np.full(20, np.finfo(np.float32).max), np.zeros(20, np.float32)
    assert binary_cross_entropy(x, t, reduction="sum") == INF
    assert binary_cross_entropy(x, t) == np.finfo(np.float32).max


def test_a_weight_of_zero_leaves_an_element_out(dtype: np.dtype[Any]) -> None:
    x = np.array([NAN, INF, -INF, 2], dtype)
    loss, gradient = evaluate(x, np.array([0.5, 0, 1, 1], dtype), weight=0, reduction="none")
    assert same_bits(loss, np.zeros(4, loss_dtype(dtype)))
    np.testing.assert_array_equal(gradient.astype(np.float64), 0)
    # The positive class alone.
    loss, gradient = evaluate(x[1:], np.array([0, 1, 1]), pos_weight=0, reduction="none")
    np.testing.assert_array_equal(loss, [INF, 0, 0])
    np.testing.assert_array_equal(gradient.astype(np.float64), [1, 0, 0])


def test_the_nan_is_the_usual_one(dtype: np.dtype[Any]) -> None:
    x = np.array([NAN, -NAN], dtype)
    loss, gradient = evaluate(x, np.array([0, 1]), reduction="none")
    assert same_bits(loss, np.full(2, np.copysign(loss.dtype.type(NAN), 1)))
    assert same_bits(gradient, np.full(2, np.copysign(dtype.type(NAN), 1)))
    for both in (x, x[::-1]):
        for reduction in ("mean", "sum"):
            loss, _ = evaluate(both, np.array([0, 0]), reduction=reduction)
            assert not np.signbit(loss)


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    x = np.empty(shape, dtype)
    for reduction in ("mean", "sum"):
        loss, gradient = evaluate(x, x, reduction=reduction)
        assert same_bits(np.asarray(loss), np.zeros((), loss_dtype(dtype)))
        assert same_bits(gradient, x)
    loss, gradient = evaluate(x, x, reduction="none", weight=2.0, dloss=3.0)
    assert same_bits(loss, np.empty(shape, loss_dtype(dtype)))
    assert same_bits(gradient, x)


# --------------------------------------------------------------------------------------- dtypes


def test_types_of_the_results(dtype: np.dtype[Any]) -> None:
    x, t = golden.values((3, 4), dtype), labels(12).reshape(3, 4)
    loss, gradient = evaluate(x, t)
    assert type(loss) is loss_dtype(dtype).type
    assert (type(gradient), gradient.dtype) == (np.ndarray, dtype)
    losses, _ = evaluate(x, t, reduction="none")
    assert (type(losses), losses.dtype) == (np.ndarray, loss_dtype(dtype))
    both = evaluate(x[0, 0], t[0, 0], reduction="none")
    assert [type(r) for r in both] == [loss_dtype(dtype).type, dtype.type]


@pytest.mark.parametrize("code", EXACT, ids=str)
def test_integers(code: np.dtype[Any], dtype: np.dtype[Any]) -> None:
    t = labels(40, code).reshape(4, 10)
    # As logits they are float64.
    loss, gradient = evaluate(t, t)
    expected_loss, expected = evaluate(t.astype(np.float64), t.astype(np.float64))
    assert same_bits(gradient, expected)
    assert same_bits(np.asarray(loss), np.asarray(expected_loss))
    # As targets they are what the logits are, and as weights float64.
    x = golden.values((4, 10), dtype, seed=3)
    for actual, wanted in zip(evaluate(x, t), evaluate(x, t.astype(dtype)), strict=True):
        assert same_bits(np.asarray(actual), np.asarray(wanted))
    wide = t.astype(np.float64)
    for actual, wanted in zip(
        evaluate(x, t, weight=t, pos_weight=t),
        evaluate(x, t, weight=wide, pos_weight=wide),
        strict=True,
    ):
        assert same_bits(np.asarray(actual), np.asarray(wanted))


def test_what_is_computed_in_float64() -> None:
    x, t = golden.values((2000,), np.float32, spread=10), soft(2000, FLOAT32)
    wide = x.astype(np.float64), t.astype(np.float64)
    expected = [r.astype(np.float32) for r in evaluate(*wide, weight=0.7, reduction="none")]
    for targets, weight in ((wide[1], 0.7), (t, np.float64(0.7)), (t, np.full(2000, 0.7))):
        actual = evaluate(x, targets, weight=weight, reduction="none")
        assert all(same_bits(a, b) for a, b in zip(actual, expected, strict=True))
    # A Python number is one of float32 here.
    narrow = evaluate(x, t, weight=0.7, reduction="none")
    same = evaluate(x, t, weight=np.full(2000, 0.7, np.float32), reduction="none")
    assert all(same_bits(a, b) for a, b in zip(narrow, same, strict=True))
    assert not same_bits(narrow[0], expected[0])


# ------------------------------------------------------------------------------ bits and layout


@pytest.mark.parametrize("shape", [s for s in SHAPES if 0 not in s], ids=str)
def test_layouts(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    for x, t, options in calls(shape, dtype):
        for layout in layouts(len(shape)):
            if not layout.keeps_values:
                continue
            laid = {
                name: layout.build(v) if np.shape(v) == shape else v for name, v in options.items()
            }
            for reduction in REDUCTIONS:
                expected = evaluate(x, t, reduction=reduction, **options)
                for arrays in (
                    (layout.build(x), t),
                    (x, layout.build(t)),
                    (layout.build(x), layout.build(t)),
                ):
                    actual = evaluate(*arrays, reduction=reduction, **laid)
                    for a, b in zip(actual, expected, strict=True):
                        assert same_bits(np.asarray(a), np.asarray(b)), layout.name


@pytest.mark.parametrize("count", [1, 100, 2049, 400_003])
def test_threads_and_neighbours(dtype: np.dtype[Any], count: int) -> None:
    for x, t, options in calls((count,), dtype):
        losses, gradients = evaluate(x, t, reduction="none", num_threads=1, **options)
        for reduction in REDUCTIONS:
            one = evaluate(x, t, reduction=reduction, num_threads=1, **options)
            for threads in (2, 3, 5):
                more = evaluate(x, t, reduction=reduction, num_threads=threads, **options)
                for a, b in zip(one, more, strict=True):
                    assert same_bits(np.asarray(a), np.asarray(b))
        for part in (slice(0, 1), slice(count // 3, None), slice(count - 1, count)):
            own = {k: v[part] if np.shape(v) == x.shape else v for k, v in options.items()}
            some = evaluate(x[part], t[part], reduction="none", **own)
            assert same_bits(some[0], losses[part])
            assert same_bits(some[1], gradients[part])


def digest() -> str:
    """Return a hash of all bits of a corpus."""
    found = hashlib.sha256()
    for dtype in DTYPES:
        for shape in ((1,), (7, 33), (40, 1030), (5, 3, 1), (9001,)):
            for x, t, options in calls(shape, dtype):
                exponents = np.resize([0, 1, 3, -9, 5], shape)
                x = rounded(np.ldexp(x.astype(np.float64), exponents), dtype)
                for targets, reduction in itertools.product((t, np.rint(t)), REDUCTIONS):
                    for result in evaluate(x, targets, reduction=reduction, **options):
                        found.update(np.asarray(result).tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("isa", ["avx512", "avx2", "portable"])
def test_instruction_sets(isa: str) -> None:
    if isa not in softlane.show_config()["isas"]:
        pytest.skip(f"this machine has no {isa}")
    code = "import test_binary_cross_entropy as tests; print(tests.digest())"
    assert processes.output(code, SOFTLANE_ISA=isa) == GOLDEN


GOLDEN = "bde651c183bd07c889a23aa59d086f7a838ef01aa46021ebd57b8ba49c74dd26"


# ------------------------------------------------------------------------------------------- out


@pytest.mark.parametrize("shape", [(5,), (7, 33), (3, 4, 5)], ids=str)
def test_out(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    for x, t, options in calls(shape, dtype):
        loss, expected = evaluate(x, t, **options)
        for layout in layouts(len(shape), writable=True):
            out = layout.build(np.zeros(shape, dtype))
            own_loss, given = evaluate(x, t, out=out, **options)
            assert given is out
            assert same_bits(out, expected)
            assert same_bits(np.asarray(own_loss), np.asarray(loss))
            # In place: of the logits, and of the targets.
            place = layout.build(x)
            assert same_bits(evaluate_in(place, place, t, **options), expected)
            place = layout.build(t)
            assert same_bits(evaluate_in(place, x, place, **options), expected)


@pytest.mark.parametrize("count", [50, 10_007])
@pytest.mark.parametrize("shift", [-3, -1, 1, 2])
def test_out_that_overlaps(dtype: np.dtype[Any], shift: int, count: int) -> None:
    x, t, w = golden.values((count,), dtype), soft(count, dtype), weights(count, dtype)
    expected = evaluate(x, t, weight=w, dloss=w, reduction="none")[1]
    for k in range(4):
        buffer = np.zeros(count + 6, dtype)
        arrays = [x, t, w, w]
        arrays[k] = buffer[3 : 3 + count]
        arrays[k][...] = (x, t, w, w)[k]
        out = buffer[3 + shift : 3 + shift + count]
        options = {"weight": arrays[2], "dloss": arrays[3], "reduction": "none"}
        assert same_bits(evaluate_in(out, *arrays[:2], **options), expected)


def test_out_that_overlaps_a_weight_that_repeats() -> None:
    x, t = golden.values((6, 5), np.float64), soft(30, FLOAT64).reshape(6, 5)
    out = np.abs(golden.values((6, 5), np.float64, seed=2))
    expected = evaluate(x, t, weight=out[2].copy())[1]
    assert same_bits(evaluate_in(out, x, t, weight=out[2]), expected)


def test_out_of_another_dtype() -> None:
    x, t = golden.values((100,), np.float64), labels(100)
    expected = evaluate(x, t)[1]
    for dtype in (np.float32, np.float16, ml_dtypes.bfloat16, ">f8"):
        out = np.zeros(100, dtype)
        assert same_bits(evaluate_in(out, x, t), expected.astype(dtype))
    with pytest.raises(TypeError, match="same_kind"):
        binary_cross_entropy_value_and_grad(x, t, out=np.zeros(100, np.int64))


# ----------------------------------------------------------------------------------- bad input

X = np.zeros((2, 3), np.float32)
T = np.zeros((2, 3), np.int64)


def with_value(value: float, dtype: Any = np.float32) -> Array:
    t = np.zeros((2, 3), dtype)
    t[1, 1] = t[1, 2] = value
    return t


BAD: list[tuple[tuple[Any, Any], dict[str, Any], type[Exception], str]] = [
    ((X, T[0]), {}, ValueError, "targets has shape (3,), expected (2, 3)"),
    ((X, with_value(1.5)), {}, ValueError, "targets must be from 0 to 1, got 1.5 at (1, 1)"),
    ((X, with_value(-0.25)), {}, ValueError, "targets must be from 0 to 1, got -0.25 at (1, 1)"),
    ((X, with_value(NAN)), {}, ValueError, "targets must be from 0 to 1, got nan at (1, 1)"),
    ((X, with_value(-INF)), {}, ValueError, "targets must be from 0 to 1, got -inf at (1, 1)"),
    ((X, with_value(2, int)), {}, ValueError, "targets must be from 0 to 1, got 2.0 at (1, 1)"),
    ((X, with_value(-1, int).T.copy().T), {}, ValueError, "got -1.0 at (1, 1)"),
    ((X, with_value(2, float)[:, ::-1]), {}, ValueError, "got 2.0 at (1, 0)"),
    ((np.float32(0), 3), {}, ValueError, "targets must be from 0 to 1, got 3.0 at ()"),
    (
        (X, T),
        {"weight": [1, -1, 1]},
        ValueError,
        "weight must be finite and at least 0, got -1.0 at (1,)",
    ),
    (
        (X, T),
        {"pos_weight": [[1.0], [NAN]]},
        ValueError,
        "pos_weight must be finite and at least 0, got nan at (1, 0)",
    ),
    (
        (X, T),
        {"weight": INF},
        ValueError,
        "weight must be finite and at least 0, got inf at ()",
    ),
    (
        (X, T),
        {"weight": [1, 1]},
        ValueError,
        "weight has shape (2,), which does not broadcast to (2, 3)",
    ),
    (
        (X, T),
        {"pos_weight": np.ones((1, 2, 3))},
        ValueError,
        "pos_weight has shape (1, 2, 3), which does not broadcast to (2, 3)",
    ),
    (
        (X, T),
        {"reduction": "average"},
        ValueError,
        "reduction must be 'mean', 'sum' or 'none', got 'average'",
    ),
    (
        (X, T),
        {"reduction": None},
        TypeError,
        "reduction must be 'mean', 'sum' or 'none', got NoneType",
    ),
    ((X, T), {"num_threads": 0}, ValueError, "num_threads must be at least 1, got 0"),
    ((X, T.astype(complex)), {}, TypeError, "targets has dtype complex128, expected bool"),
    ((np.longdouble(1), 1), {}, TypeError, "logits has dtype"),
    ((X, T), {"weight": "much"}, TypeError, "weight has dtype"),
]
BAD_GRADIENT: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"dloss": [1, 2, 3]}, ValueError, "dloss has shape (3,), expected ()"),
    (
        {"dloss": [1, 2], "reduction": "none"},
        ValueError,
        "dloss has shape (2,), which does not broadcast to (2, 3)",
    ),
    ({"dloss": "1"}, TypeError, "dloss has dtype"),
    ({"out": [1.0]}, TypeError, "out must be a numpy.ndarray, got list"),
    ({"out": np.zeros((3, 2), np.float32)}, ValueError, "out has shape (3, 2), expected (2, 3)"),
    ({"out": overlapping_windows(2, 3)}, ValueError, "overlap each other"),
    ({"out": np.broadcast_to(np.float32(0), (2, 3))}, ValueError, "read-only"),
]


@pytest.mark.parametrize(("arrays", "options", "error", "message"), BAD)
def test_bad_input(
    arrays: tuple[Any, Any], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    out = np.full(np.shape(arrays[0]), 7, np.float32)
    for call in (
        lambda: binary_cross_entropy(*arrays, **options),
        lambda: binary_cross_entropy_value_and_grad(*arrays, out=out, **options),
    ):
        with pytest.raises(error, match=re.escape(message)):
            call()
    assert np.all(out == 7)


@pytest.mark.parametrize(("options", "error", "message"), BAD_GRADIENT)
def test_bad_input_of_the_gradient(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        binary_cross_entropy_value_and_grad(X, T, **options)


def test_the_first_bad_target_is_named_whatever_the_threads() -> None:
    t = np.zeros((1000, 1001))
    t[777, 5] = 3
    t[777, 6:] = t[900] = 4
    for threads in (1, 2, 3):
        for layout in (t, np.asfortranarray(t)):
            with pytest.raises(ValueError, match=re.escape("got 3.0 at (777, 5)")):
                binary_cross_entropy(layout, layout, num_threads=threads)


def test_a_masked_array() -> None:
    with pytest.raises(TypeError, match="MaskedArray"):
        binary_cross_entropy(np.ma.masked_array(X), T)


def test_signatures() -> None:
    shared = "(logits, targets, /, *, weight=None, pos_weight=None, reduction='mean', "
    signatures: dict[Callable[..., Any], str] = {
        binary_cross_entropy: shared + "num_threads=None)",
        binary_cross_entropy_value_and_grad: shared + "dloss=None, out=None, num_threads=None)",
    }
    for function, signature in signatures.items():
        assert str(inspect.signature(function)) == signature


def test_cotangents(dtype: np.dtype[Any]) -> None:
    # Powers of two are exact factors of what is not subnormal.
    x, t = golden.values((4, 5), dtype, spread=2), labels(20).reshape(4, 5)
    for reduction in REDUCTIONS:
        one = evaluate(x, t, reduction=reduction)[1]
        assert same_bits(evaluate(x, t, reduction=reduction, dloss=1)[1], one)
        for number in (-2, np.float32(-2), np.array(-2.0), np.array(-2, dtype)):
            scaled = evaluate(x, t, reduction=reduction, dloss=number)[1]
            assert same_bits(scaled, one * dtype.type(-2))
    each = evaluate(x, t, reduction="none")[1]
    assert same_bits(each, evaluate(x, t, reduction="sum")[1])
    for dloss in (np.array([1, 2, 4, 8, -1]), np.array([[1], [2], [0.5], [4]])):
        own = evaluate(x, t, reduction="none", dloss=dloss)[1]
        factor = np.broadcast_to(dloss, (4, 5)).astype(dtype)
        assert same_bits(own, each * factor)
