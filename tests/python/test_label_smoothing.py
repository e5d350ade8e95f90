"""Integer labels of which a part is spread over all classes."""

from typing import Any

import mpmath
import numpy as np
import pytest

import golden
from cases import DTYPES, HALVES, same_bits
from loss_reference import cross_entropy_row
from losses import cross_entropy, cross_entropy_value_and_grad, labels, loss_dtype
from reference import Array, error_by_entry, from_mpmath

PARTS = (1e-3, 0.1, 0.5, 1.0)
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
VALUE = {np.dtype(np.float32): 2, np.dtype(np.float64): 3}


def spread_over(classes: int, target: int, part: float) -> list[Any]:
    """Return the exact targets of a row."""
    with mpmath.workdps(50):
        row = [mpmath.mpf(part) / classes] * classes
        row[target] += 1 - mpmath.mpf(part)
    return row


@pytest.mark.parametrize("length", [1, 2, 3, 8, 10, 17, 65, 300, 2500])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_losses_and_gradients_are_exact(dtype: Any, length: int) -> None:
    wide = loss_dtype(dtype)
    for seed, part in enumerate(PARTS):
        x = golden.values((3, length), dtype, spread=8.0, seed=length + seed)
        x[1, 0] += 40  # nearly certain
        y = np.array([length // 2, 0, length - 1])
        loss, dx = cross_entropy_value_and_grad(x, y, label_smoothing=part, reduction="none")
        for i in range(3):
            targets = spread_over(length, int(y[i]), part)
            exact, gradient, _ = cross_entropy_row(x[i], targets)
            assert error_by_entry(loss[i : i + 1], from_mpmath([exact], wide)) <= VALUE[wide]
            wanted = from_mpmath(gradient, dtype)
            if dtype in HALVES:
                assert error_by_entry(dx[i], wanted) <= 0.51
                continue
            # 64 bits are as exact as the larger of two terms; shorter results have digits to spare.
            terms = np.maximum(np.abs(wanted), np.array([float(t) for t in targets]))
            size = terms if dtype == np.float64 else np.abs(wanted) + terms * 2.0**-26
            assert (np.abs(dx[i] - wanted) <= 2 * np.finfo(dtype).eps * size).all()


@pytest.mark.parametrize("length", [2, 10, 17, 65, 300, 2500])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_rows_of_the_gradient_add_up_to_zero(dtype: Any, length: int) -> None:
    x = golden.values((30, length), dtype, spread=9.0, seed=length)
    y = labels((30,), length)
    dx = cross_entropy_value_and_grad(x, y, label_smoothing=0.1, reduction="sum")[1]
    wide = dx.astype(np.longdouble)
    terms = np.abs(wide).sum(axis=1) + 2 * 0.1  # and the even shares that they are less by
    assert (np.abs(wide.sum(axis=1)) <= 2 * np.finfo(dtype).eps * terms).all()


@pytest.mark.parametrize("length", [3, 10, 65, 300, 2500])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_with_masks_and_weights(dtype: Any, length: int) -> None:
    x = golden.values((20, length), dtype, spread=6.0, seed=length)
    y = labels((20,), length)
    given = {"label_smoothing": 0.1, "reduction": "none"}
    plain = cross_entropy_value_and_grad(x, y, **given)
    again = cross_entropy_value_and_grad(x, y, **given, weight=np.ones(length))
    assert same_bits(again[0], plain[0])
    assert same_bits(again[1], plain[1])
    everywhere = np.ones(x.shape, bool)
    again = cross_entropy_value_and_grad(x, y, **given, where=everywhere)
    wide = loss_dtype(dtype)
    np.testing.assert_allclose(again[0], plain[0], rtol=4 * np.finfo(wide).eps)
    # One entry that is left out makes another sum, and not by a division by all.
    everywhere[4, (y[4] + 1) % length] = False
    loss, dx = cross_entropy_value_and_grad(x, y, **given, where=everywhere)
    assert dx[4, (y[4] + 1) % length] == 0
    kept = everywhere[4]
    alone = cross_entropy(x[4, kept], np.cumsum(kept)[y[4]] - 1, **given)
    np.testing.assert_allclose(loss[4], alone, rtol=1e-6 if dtype != np.float64 else 1e-14)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("length", [3, 10, 300, 2500])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_special_rows(dtype: Any, length: int, axis: int) -> None:
    """A class without a chance that is a target, however little: an infinite loss."""
    x: Array = golden.values((21, length), dtype, spread=2.0, seed=length)
    y = np.full(21, 1)
    x[3, 0] = -np.inf
    x[4, 1] = -np.inf
    x[5, 2] = np.nan
    x[6, 0] = np.inf
    x[7] = -np.inf
    y[9] = -100
    x[9] = np.nan
    for part in PARTS:
        given: dict[str, Any] = {"label_smoothing": part, "reduction": "none"}
        logits = np.ascontiguousarray(np.moveaxis(x, 1, axis))
        loss, dx = cross_entropy_value_and_grad(logits, y, axis, **given)
        dx = np.moveaxis(dx, axis, 1)
        assert same_bits(loss, cross_entropy(logits, y, axis, **given))
        assert (loss[3:5] == np.inf).all()
        assert np.isnan(loss[5:8]).all()
        assert loss[9] == 0
        others = np.delete(loss, [3, 4, 5, 6, 7, 9])
        assert np.isfinite(others).all()
        assert (others > 0).all()
        assert np.isnan(dx[5:8]).all()
        assert (dx[9] == 0).all()
        rest = np.delete(dx, [5, 6, 7], axis=0)
        assert np.isfinite(rest).all()
        # Without a chance, a class has no part but its target's.
        step = 6e-8  # the least that float16 has
        assert float(dx[3, 0]) == pytest.approx(-part / length, rel=0.01, abs=step)
        assert float(dx[4, 1]) == pytest.approx(part - 1 - part / length, rel=0.01, abs=step)


@pytest.mark.parametrize("length", [10, 300])
def test_logits_next_to_the_largest(length: int) -> None:
    x = np.full((20, length), 1.5e308)
    x[:, 0] = 1.7e308
    loss, dx = cross_entropy_value_and_grad(x, [0] * 20, label_smoothing=0.5, reduction="none")
    np.testing.assert_allclose(loss, 0.1e308 * ((length - 1) / length), rtol=1e-15)
    np.testing.assert_allclose(dx[:, 1:], -0.5 / length, rtol=1e-15)


@pytest.mark.parametrize("dloss", [1e-300, 1e-310, -1e300])
@pytest.mark.parametrize("length", [10, 300])
def test_cotangents_of_any_size(length: int, dloss: float) -> None:
    x = golden.values((20, length), np.dtype(np.float64), spread=5.0, seed=1)
    y = labels((20,), length)
    given: dict[str, Any] = {"label_smoothing": 0.2, "reduction": "none"}
    plain = cross_entropy_value_and_grad(x, y, **given)[1]
    scaled = cross_entropy_value_and_grad(x, y, **given, dloss=dloss)[1]
    wanted = plain.astype(np.longdouble) * np.longdouble(dloss)
    step = np.finfo(np.float64).smallest_subnormal
    terms = np.abs(wanted) + abs(dloss) * 0.2 / length
    assert (np.abs(scaled - wanted) <= 8e-16 * terms + step).all()


@pytest.mark.parametrize("part", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("length", [3, 20, 150])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_factors_of_the_gradient_far_apart(dtype: Any, length: int, part: float) -> None:
    """Results that are finite are right; what is beyond the type is infinite, of the right sign."""
    rng = np.random.default_rng(length)
    x = golden.values((12, length), dtype, spread=4.0, seed=length)
    y = labels((12,), length)
    dloss = rng.choice([-1.0, 1.0], 12) * 10.0 ** rng.uniform(-300, 300, 12)
    for z_loss in (0.0, 1e-200, 1e-4, 1e10, 1e300):
        given: dict[str, Any] = {"label_smoothing": part, "z_loss": z_loss, "reduction": "none"}
        with np.errstate(over="ignore"):
            dx = cross_entropy_value_and_grad(x, y, **given, dloss=dloss)[1]
        assert not np.isnan(dx).any()
        largest, step = float(np.finfo(dtype).max), float(np.finfo(dtype).smallest_subnormal)
        for i in range(12):
            targets = spread_over(length, int(y[i]), part)
            _, gradient, _ = cross_entropy_row(x[i], targets, z_loss)
            with mpmath.workdps(50):
                wanted = [g * mpmath.mpf(dloss[i]) for g in gradient]
                size = max(abs(g) for g in wanted)
                for got, want in zip(dx[i].tolist(), wanted, strict=True):
                    if abs(want) > 1.001 * largest:
                        assert got == (np.inf if want > 0 else -np.inf)
                    elif abs(want) < 0.999 * largest:
                        assert abs(got - want) <= 2 * np.finfo(dtype).eps * size + step


@pytest.mark.parametrize("length", [25, 30, 64, 100, 193, 200, 256, 300])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_rows_far_out_among_others(dtype: Any, length: int) -> None:
    # What a loss needs of its row must be there, too, where the row goes another way than others.
    x = golden.values((40, length), dtype, spread=5.0, seed=length)
    y = labels((40,), length)
    x[3, y[3]] = 1e30
    x[5] *= 1e30
    x[9, (y[9] + 1) % length] = -1e30
    x[16, 0] = np.nan
    x[23] = np.inf
    x[30:33] += 1e9
    options: dict[str, Any] = {"label_smoothing": 0.1, "reduction": "none"}
    for weights in (None, np.linspace(0.5, 2, length).astype(dtype)):
        loss, dx = cross_entropy_value_and_grad(x, y, weight=weights, **options)
        for i in range(len(x)):
            alone = cross_entropy_value_and_grad(x[i], y[i], weight=weights, **options)
            assert same_bits(loss[i], alone[0])
            assert same_bits(dx[i], alone[1])
        assert same_bits(cross_entropy(x, y, weight=weights, **options), loss)
