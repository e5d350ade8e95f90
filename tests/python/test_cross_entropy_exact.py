"""What cross-entropy promises beyond its formula: exactness, bits, special rows, errors, memory."""

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

import golden
import loss_reference
import processes
import softlane
from cases import DTYPES, HALVES, SLACK, same_bits
from loss_reference import cross_entropy_row
from losses import cross_entropy, cross_entropy_value_and_grad, labels, loss_dtype
from reference import Array, error_by_entry, from_mpmath

LENGTHS = (1, 2, 3, 7, 10, 16, 17, 33, 64, 65, 100, 257, 1000, 3000)
VALUE = {np.dtype(np.float32): 2.0, np.dtype(np.float64): 3.0}
GRADIENT = {np.dtype(np.float32): 2.0, np.dtype(np.float64): 3.0}
FLOATS = tuple(GRADIENT)


def judged(x: Array, target: int) -> tuple[float, float]:
    """Return the errors of loss and gradient of one row, in ULP of each exact number."""
    one_hot = np.zeros(len(x))
    one_hot[target] = 1
    loss, gradient, _ = cross_entropy_row(x, one_hot)
    got, dx = cross_entropy_value_and_grad(x, np.int64(target))
    # What lies below the normal numbers keeps an absolute accuracy of one step.
    least = mpmath.mpf(float(np.finfo(x.dtype).tiny)) if x.dtype not in HALVES else 0
    exact = from_mpmath(gradient, x.dtype)
    normal = np.array([abs(g) >= least for g in gradient])
    steps = np.abs(dx.astype(exact.dtype) - exact)[~normal]
    if x.dtype not in HALVES:
        assert (steps <= np.finfo(x.dtype).smallest_subnormal).all()
    wide = loss_dtype(x.dtype)
    return (
        error_by_entry(np.asarray(got).reshape(1), from_mpmath([loss], wide)),
        error_by_entry(dx[normal], exact[normal]),
    )


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_losses_and_gradients_are_exact(dtype: Any, length: int) -> None:
    for seed, spread in enumerate((1.0, 8.0, 32.0, 128.0)):
        x = golden.values((length,), dtype, spread=spread, seed=length + seed)
        for target in {int(np.argmax(x)), int(np.argmin(x)), length // 2}:
            value, gradient = judged(x, target)
            assert value <= VALUE[dtype]
            assert gradient <= GRADIENT[dtype]


def near_ties(n: int, dtype: Any) -> Array:
    steps = np.floor(golden.values((n,), np.float64, spread=8.0))
    return np.asarray(1 + steps * np.finfo(dtype).eps).astype(dtype)


def one_dominant(n: int, dtype: Any) -> Array:
    # By so much that the others together come to a hundredth of it.
    x = golden.values((n,), dtype, spread=1.0) - dtype.type(17)
    x[n // 3] = 0.5
    return np.asarray(x)


def alternating(n: int, dtype: Any) -> Array:
    return np.where(np.arange(n) % 2, 1e4, -1e4).astype(dtype)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [near_ties, one_dominant, alternating], ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_as_many_classes_as_a_language_model_has(
    dtype: Any, rows: Callable[[int, Any], Array]
) -> None:
    n = 200_000
    slack = SLACK if dtype == np.float64 else 0
    x = rows(n, dtype)[None]
    for target in (n // 3, n - 1):
        exact = loss_reference.cross_entropy(x, [target], reduction="none")
        loss, dx, lse = cross_entropy_value_and_grad(x, [target], reduction="none", return_lse=True)
        assert error_by_entry(loss, exact.loss) <= VALUE[dtype] + slack
        assert error_by_entry(lse, exact.lse) <= 2 + slack
        normal = np.abs(exact.gradient) >= np.finfo(dtype).tiny
        assert error_by_entry(dx[normal], exact.gradient[normal]) <= GRADIENT[dtype] + slack
        assert (dx[~normal] == exact.gradient[~normal]).all()  # the last are 0


@pytest.mark.parametrize("length", [2, 10, 100])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half_precision_is_rounded_once(dtype: Any, length: int) -> None:
    for seed, spread in enumerate((1.0, 8.0)):
        x = golden.values((length,), dtype, spread=spread, seed=length + seed)
        for target in (int(np.argmax(x)), length // 2):
            value, gradient = judged(x, target)
            assert value <= 2
            assert gradient <= 0.51


@pytest.mark.parametrize("others", [1, 5, 40, 700])
@pytest.mark.parametrize("distance", [0.0, 1e-3, 1.0, 3.0, 10.0, 20.0, 40.0, 80.0])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_nearly_certain_class_keeps_its_digits(dtype: Any, distance: float, others: int) -> None:
    x = golden.values((others + 1,), dtype, spread=0.5, seed=others) - dtype.type(distance)
    x[0] = 0.75
    value, gradient = judged(x, 0)
    assert value <= VALUE[dtype]
    assert gradient <= GRADIENT[dtype]


def test_the_gradient_of_a_certain_class_is_not_zero() -> None:
    loss, dx = cross_entropy_value_and_grad(np.array([[40.0, 0.0]]), [0])
    assert loss == 4.248354255291589e-18
    assert dx.tolist() == [[-4.248354255291589e-18, 4.248354255291589e-18]]


@pytest.mark.parametrize("shape", [(500, 10), (100, 257), (20, 3000)])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_rows_of_the_gradient_add_up_to_zero(dtype: Any, shape: tuple[int, int]) -> None:
    x = golden.values(shape, dtype, spread=10.0)
    dx = cross_entropy_value_and_grad(x, labels(shape[:1], shape[1]), reduction="sum")[1]
    sums = np.abs(dx.astype(np.longdouble).sum(axis=1))
    size = np.abs(dx.astype(np.longdouble)).sum(axis=1)
    assert (sums <= 2 * np.finfo(dtype).eps * size).all()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_sum_over_rows_is_as_exact_as_a_row(dtype: Any) -> None:
    x = golden.values((3001, 7), dtype, spread=6.0)
    y = labels((3001,), 7)
    exact = mpmath.fsum(
        cross_entropy_row(row, (np.arange(7) == t).astype(float))[0]
        for row, t in zip(x, y, strict=True)
    )
    for reduction, divisor in (("sum", 1), ("mean", 3001)):
        got = np.asarray(cross_entropy(x, y, reduction=reduction)).reshape(1)
        assert error_by_entry(got, from_mpmath([exact / divisor], dtype)) <= VALUE[dtype]


# Bits

CALLS = """
import hashlib, json, sys
import numpy as np
import golden, softlane
from losses import cross_entropy_value_and_grad, labels, weights
digest = {}
for dtype in ("float32", "float64", "float16", "bfloat16"):
    for n, c in ((3, 2), (40, 10), (33, 64), (7, 65), (9, 1000), (3, 5000), (2, 140_000)):
        x = golden.values((n, c), dtype, spread=8.0, seed=c)
        x[0, 0] = 30
        y = labels((n,), c)
        y[0] = 0
        for options in ({}, {"label_smoothing": 0.1}, {"weight": weights(c, "f8"), "z_loss": 1e-3}):
            results = cross_entropy_value_and_grad(x, y, reduction="none", **options)
            for reduction in ("mean", "sum"):
                results += cross_entropy_value_and_grad(x, y, reduction=reduction, **options)
            text = b"".join(np.ascontiguousarray(r).tobytes() for r in results)
            digest[f"{dtype} {n} {c} {sorted(options)}"] = hashlib.sha256(text).hexdigest()
print(json.dumps(digest))
"""


@pytest.mark.parametrize("isa", ["avx512", "avx2", "portable"])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_bits_on_every_instruction_set(isa: str, threads: str) -> None:
    if isa not in softlane.show_config()["isas"]:
        pytest.skip(f"this machine lacks {isa}")
    environment = {"SOFTLANE_ISA": isa, "SOFTLANE_NUM_THREADS": threads}
    found = json.loads(processes.output(CALLS, timeout=300, **environment))
    wanted = json.loads(processes.output(CALLS, timeout=300, SOFTLANE_NUM_THREADS="1"))
    assert found == wanted


@pytest.mark.parametrize("length", [1, 2, 3, 10, 16, 33, 64, 65, 257, 1030, 4099])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_row_knows_nothing_of_its_neighbours(dtype: Any, length: int) -> None:
    x = golden.values((24, length), dtype, spread=9.0, seed=length)
    x[::3, 0] = 40
    y = labels((24,), length)
    y[::3] = 0
    loss, dx = cross_entropy_value_and_grad(x, y, reduction="none")
    assert loss.tobytes() == cross_entropy(x, y, reduction="none").tobytes()
    for i in range(24):
        one, row = cross_entropy_value_and_grad(x[i].copy(), y[i], reduction="none")
        assert np.asarray(one).tobytes() == loss[i].tobytes()
        assert row.tobytes() == dx[i].tobytes()
    down, dxt = cross_entropy_value_and_grad(np.ascontiguousarray(x.T), y, 0, reduction="none")
    assert down.tobytes() == loss.tobytes()
    assert np.ascontiguousarray(dxt.T).tobytes() == dx.tobytes()
    inside = x.copy()
    again, out = cross_entropy_value_and_grad(inside, y, reduction="none", out=inside)
    assert out is inside
    assert again.tobytes() == loss.tobytes()
    assert inside.tobytes() == dx.tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_lse_is_logsumexp(dtype: Any) -> None:
    x = golden.values((50, 33), dtype, spread=9.0)
    y = labels((50,), 33)
    wanted = softlane.logsumexp(x, axis=1, dtype=loss_dtype(dtype))
    _, lse = cross_entropy(x, y, return_lse=True)
    assert lse.tobytes() == wanted.tobytes()
    *_, lse = cross_entropy_value_and_grad(x, y, return_lse=True, out=x)
    assert lse.tobytes() == wanted.tobytes()


# Special rows


@pytest.mark.parametrize("length", [2, 3, 7, 16, 33, 200])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_penalty_on_log_probabilities(dtype: Any, length: int) -> None:
    # Their logsumexp is what roundings left, and all that counts where the class has no weight.
    x = softlane.log_softmax(golden.values((length,), dtype, spread=4.0, seed=length))
    among = golden.values((20, length), dtype, seed=1)
    among[7] = x
    one_hot = np.zeros(length)
    options: dict[str, Any] = {"z_loss": 3.0, "reduction": "sum"}
    weight = np.zeros(length)
    loss, gradient = cross_entropy_value_and_grad(x, np.int64(1), weight=weight, **options)
    with mpmath.workprec(400):
        terms = [mpmath.exp(mpmath.mpf(float(v))) for v in x]
        lse = mpmath.log(mpmath.fsum(terms))
        exact_loss = from_mpmath([3 * lse**2], dtype)
        exact_gradient = from_mpmath([6 * lse * term / mpmath.fsum(terms) for term in terms], dtype)
    assert error_by_entry(np.asarray(loss).reshape(1), exact_loss) <= VALUE[dtype]
    assert error_by_entry(gradient, exact_gradient) <= GRADIENT[dtype]
    soft_loss, soft_gradient = cross_entropy_value_and_grad(x, one_hot, **options)
    assert error_by_entry(np.asarray(soft_loss).reshape(1), exact_loss) <= VALUE[dtype]
    assert error_by_entry(soft_gradient, exact_gradient) <= GRADIENT[dtype]
    assert same_bits(np.asarray(cross_entropy(x, one_hot, **options)), np.asarray(soft_loss))
    for turned in (among, np.asfortranarray(among)):
        classes = np.ones(20, int)
        _, all_gradients = cross_entropy_value_and_grad(turned, classes, weight=weight, **options)
        assert same_bits(all_gradients[7], gradient)


def test_special_rows() -> None:
    nan, inf = np.nan, np.inf
    rows = np.array([[nan, 1.0, 2.0], [inf, 0, 0], [-inf, -inf, -inf], [-inf, 0, 0], [0, 0, 0]])
    for dtype in DTYPES:
        x = rows.astype(dtype)
        loss, dx = cross_entropy_value_and_grad(x, [1, 1, 1, 0, 2], reduction="none")
        assert np.isnan(loss[:3]).all()
        assert np.isnan(dx[:3].astype(float)).all()
        assert loss[3] == inf
        assert dx[3].astype(float).tolist() == [-1, 0.5, 0.5]
        loss, dx = cross_entropy_value_and_grad(x, [7, 7, 7, 7, 2], ignore_index=7)
        assert loss == pytest.approx(np.log(3))
        assert (dx[:4].astype(float) == 0).all()


def test_nothing_counted() -> None:
    x = np.full((3, 4), np.nan)
    loss, dx = cross_entropy_value_and_grad(x, [-100] * 3)
    assert loss == 0.0
    assert (dx == 0).all()
    assert cross_entropy(np.zeros((0, 4)), np.zeros(0, int)) == 0.0


def test_weights_that_add_up_to_nothing() -> None:
    x, where = np.array([[1.0, 2.0, 3.0]]), np.array([True, False, True])
    for smoothing in (0.0, 0.1):
        given = {"weight": [0.0, 1.0, 1.0], "label_smoothing": smoothing, "where": where}
        loss, dx = cross_entropy_value_and_grad(x, [0], **given)
        assert np.isnan(loss) or loss == np.inf
        assert np.isnan(dx[0, where]).all()
        assert dx[0, 1] == 0


def test_masked_entries() -> None:
    x = np.array([[1.0, np.nan, 2.0], [np.inf, 3.0, 4.0], [5.0, 5.0, 5.0]])
    where = np.array([[True, False, True], [False, True, True], [False, False, False]])
    loss, dx = cross_entropy_value_and_grad(x, [0, 0, 1], where=where, reduction="none")
    assert loss[0] == pytest.approx(np.log1p(np.e))
    assert loss[1] == loss[2] == np.inf
    assert (dx[~where] == 0).all()
    assert dx[1, 1:].sum() == pytest.approx(1)
    out = np.zeros((3, 3))
    cross_entropy_value_and_grad(x, [0, 1, -100], where=where, out=out, label_smoothing=0.1)
    assert np.isfinite(out).all()


# Bad input

BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"labels": [0, 3]}, IndexError, r"labels must be from 0 to 2 .* got 3 at \(1,\)"),
    ({"labels": [-1, 0]}, IndexError, r"labels .* got -1 at \(0,\)"),
    ({"labels": np.array([2**64 - 1, 0], np.uint64)}, IndexError, "18446744073709551615"),
    ({"labels": [0]}, ValueError, r"labels has shape \(1,\), expected \(2,\)"),
    ({"labels": [[0.5, 0.5, 0.0]]}, ValueError, r"labels has shape \(1, 3\), expected \(2, 3\)"),
    ({"labels": [[0.5, 0.5, 0], [1, -0.5, 0]]}, ValueError, r"labels .* got -0.5 at \(1, 1\)"),
    ({"labels": [[0.5, np.nan, 0], [1, 0, 0]]}, ValueError, r"labels .* got nan at \(0, 1\)"),
    ({"labels": [True, False]}, TypeError, "labels has dtype bool"),
    ({"labels": [1j, 0]}, TypeError, "labels has dtype complex128"),
    ({"weight": [1.0, 1.0]}, ValueError, r"weight has shape \(2,\), expected \(3,\)"),
    ({"weight": [1.0, -1.0, 1.0]}, ValueError, r"weight must be .* got -1.0 at \(1,\)"),
    ({"weight": [1.0, np.nan, 1.0]}, ValueError, r"weight must be .* got nan at \(1,\)"),
    ({"weight": [1j, 1, 1]}, TypeError, "weight has dtype complex128"),
    ({"reduction": "avg"}, ValueError, "reduction must be 'mean', 'sum' or 'none', got 'avg'"),
    ({"reduction": 1}, TypeError, "reduction"),
    ({"label_smoothing": 1.5}, ValueError, "label_smoothing must be from 0 to 1, got 1.5"),
    ({"label_smoothing": np.nan}, ValueError, "label_smoothing must be from 0 to 1, got nan"),
    ({"label_smoothing": "a"}, TypeError, "label_smoothing must be a number"),
    ({"z_loss": -1.0}, ValueError, "z_loss must be finite and at least 0, got -1.0"),
    ({"z_loss": np.inf}, ValueError, "z_loss must be finite and at least 0, got inf"),
    ({"ignore_index": 1.5}, TypeError, "ignore_index must be an integer, got float"),
    ({"axis": None}, TypeError, "axis must be one integer.*got None"),
    ({"axis": (0, 1)}, TypeError, "axis must be one integer.*got a tuple"),
    ({"axis": 2}, np.exceptions.AxisError, "axis 2 is out of bounds"),
    ({"where": [1, 0, 1]}, TypeError, "where has dtype int64, expected bool"),
    ({"where": [True, False]}, ValueError, "where has shape"),
    ({"logits": 1.0, "labels": 0}, np.exceptions.AxisError, "out of bounds"),
    ({"num_threads": 0}, ValueError, "num_threads must be at least 1"),
]


@pytest.mark.parametrize(("wrong", "error", "message"), BAD, ids=lambda v: str(v)[:40])
def test_bad_input(wrong: dict[str, Any], error: type[Exception], message: str) -> None:
    given: dict[str, Any] = {"logits": np.zeros((2, 3)), "labels": [0, 1]} | wrong
    arrays = (given.pop("logits"), given.pop("labels"))
    with pytest.raises(error, match=message):
        cross_entropy(*arrays, **given)
    out = np.full(np.shape(arrays[0]), 7.0)
    with pytest.raises(error, match=message):
        cross_entropy_value_and_grad(*arrays, **given, out=out)
    assert (out == 7).all()


@pytest.mark.parametrize("return_lse", [False, True])
def test_bad_out_and_cotangent(return_lse: bool) -> None:
    x, y = np.zeros((2, 3)), [0, 1]
    for wrong, error, message in (
        ({"out": np.zeros((3, 2))}, ValueError, "out has shape"),
        ({"out": np.zeros((2, 3), int)}, TypeError, "same_kind"),
        ({"out": [0]}, TypeError, "out must be a numpy.ndarray"),
        ({"dloss": [1.0, 2.0]}, ValueError, "dloss has shape"),
        ({"dloss": [1.0, 2.0, 3.0], "reduction": "none"}, ValueError, "dloss has shape"),
    ):
        with pytest.raises(error, match=message):
            cross_entropy_value_and_grad(x, y, return_lse=return_lse, **wrong)


def test_out_may_be_anything_that_holds_it() -> None:
    x = golden.values((6, 5), np.float64)
    y = labels((6,), 5)
    wanted = cross_entropy_value_and_grad(x, y)[1]
    wide = np.zeros((12, 10))
    assert cross_entropy_value_and_grad(x, y, out=wide[::-2, ::2])[1].tolist() == wanted.tolist()
    overlapping = np.concatenate([x.ravel(), np.zeros(5)])
    out = overlapping[5:].reshape(6, 5)
    cross_entropy_value_and_grad(overlapping[:30].reshape(6, 5), y, out=out)
    assert out.tolist() == wanted.tolist()
    narrow = np.zeros((6, 5), np.float32)
    cross_entropy_value_and_grad(x, y, out=narrow)
    np.testing.assert_allclose(narrow, wanted, rtol=1e-6)


def test_no_array_of_the_logits_size_is_made() -> None:
    x = np.zeros((4096, 1000), np.float32)
    y = labels((4096,), 1000)
    out = np.empty_like(x)
    calls: list[Callable[[], Any]] = [
        lambda: cross_entropy(x, y),
        lambda: cross_entropy_value_and_grad(x, y, out=out),
        lambda: cross_entropy(x, y, label_smoothing=0.1),
    ]
    for call in calls:
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < x.nbytes // 20


# Divergence


def test_kl_divergence_against_mpmath() -> None:
    x = golden.values((7, 9), np.float64, spread=4.0)
    t = np.abs(golden.values((7, 9), np.float64, spread=1.0, seed=1))
    t[:, 2] = 0
    t /= t.sum(axis=1, keepdims=True)
    loss, dx = softlane.kl_divergence_value_and_grad(x, t, reduction="none")
    for row, q, value, gradient in zip(x, t, loss, dx, strict=True):
        surprise, exact, _ = cross_entropy_row(row, q)
        entropy = mpmath.fsum(mpmath.mpf(v) * mpmath.log(mpmath.mpf(v)) for v in q if v > 0)
        assert value == pytest.approx(float(surprise + entropy), rel=1e-14)
        np.testing.assert_allclose(gradient, [float(g) for g in exact], atol=1e-15)
    mean = softlane.kl_divergence(x, t)
    assert mean == pytest.approx(loss.mean())
    with pytest.raises(ValueError, match=r"targets must be .* got -1.0 at \(0, 0\)"):
        softlane.kl_divergence([[0.0, 1.0]], [[-1.0, 2.0]])
    assert softlane.kl_divergence([0.0, -np.inf], [1.0, 0.0]) == 0
    assert softlane.kl_divergence([0.0, -np.inf], [0.5, 0.5]) == np.inf
    same = softlane.softmax(x)
    assert np.abs(softlane.kl_divergence(x, same, reduction="none")).max() < 1e-15


@pytest.mark.parametrize("tiny", [5e-324, 6e-309, 5.6e-309, 1e-300, 2.0**-1000, 2.0**-1001])
def test_divergence_of_targets_near_zero(tiny: float) -> None:
    got = softlane.kl_divergence(np.zeros((1, 3)), np.array([[tiny, 0.5, 0.5]]))
    assert got == pytest.approx(np.log(1.5), rel=1e-15)
    # Alone, the target itself: q (ln q - ln p).
    alone = softlane.kl_divergence(np.array([[0.0, -np.inf]]), np.array([[tiny, 0.0]]))
    assert alone == pytest.approx(tiny * np.log(tiny), rel=1e-15)
