"""Gradients of cross-entropy times weights and cotangents: as exact as without, however small."""

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

import golden
from judges import DIGITS
from loss_reference import cross_entropy_row
from losses import cross_entropy_value_and_grad, labels
from reference import Array, error_by_entry, from_mpmath

GRADIENT = {np.dtype(np.float32): 2.0, np.dtype(np.float64): 3.0}
FLOATS = tuple(GRADIENT)


def errors_of_scaled_gradients(dx: Array, exact: list[list[mpmath.mpf]]) -> float:
    """Return the worst error of normal entries; of others a step is as much as may be lost."""
    wanted = [from_mpmath(row, dx.dtype) for row in exact]
    least = float(np.finfo(dx.dtype).tiny)
    normal = np.array([[abs(entry) >= least for entry in row] for row in exact])
    steps = np.abs(dx.astype(wanted[0].dtype) - np.stack(wanted))[~normal]
    assert (steps <= np.finfo(dx.dtype).smallest_subnormal).all()
    return max((error_by_entry(dx[i][n], wanted[i][n]) for i, n in enumerate(normal)), default=0.0)


def times(row: list[mpmath.mpf], factor: float | Fraction) -> list[mpmath.mpf]:
    with mpmath.workdps(DIGITS):
        exact = Fraction(factor)
        return [entry * exact.numerator / exact.denominator for entry in row]


# Exponentials are powers of two up to 2^64, which a small factor must not leave without digits.
POWERS = (-40, -62, -80, -104, -126, -140, -300, -900, -960, -1020, -1060)


@pytest.mark.parametrize(("rows", "classes"), [(1, 3), (40, 3), (40, 70), (2, 1000), (2, 5000)])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_small_factors_of_gradients(dtype: Any, rows: int, classes: int) -> None:
    x = golden.values((rows, classes), dtype, spread=3.0, seed=classes)
    y = labels((rows,), classes)
    tested = sorted({0, 1 % rows})
    gradients = [
        cross_entropy_row(x[i], (np.arange(classes) == y[i]).astype(float))[1] for i in tested
    ]
    for power in POWERS:
        factor = 1.5 * 2.0**power
        each = factor * np.where(np.arange(rows) % 3 == 1, 2.0 ** (-power // 2), 1.0)
        given: list[tuple[dict[str, Any], Array]] = [
            ({"reduction": "sum", "dloss": factor}, np.full(rows, factor)),
            ({"reduction": "sum", "weight": np.full(classes, factor)}, np.full(rows, factor)),
            ({"reduction": "none", "dloss": each}, each),
        ]
        for options, factors in given:
            exact = [times(gradients[k], factors[i]) for k, i in enumerate(tested)]
            dx = cross_entropy_value_and_grad(x, y, **options)[1]
            assert errors_of_scaled_gradients(dx[tested], exact) <= GRADIENT[dtype]
            columns = cross_entropy_value_and_grad(x.T.copy(), y, 0, **options)[1]
            np.testing.assert_array_equal(columns.T, dx)


def test_small_factors_of_gradients_in_place_and_masked() -> None:
    x = golden.values((20, 33), np.dtype(np.float32), spread=3.0)
    y, kept = labels((20,), 33), np.arange(33) % 5 > 0
    y[y % 5 == 0] += 1
    whole = cross_entropy_value_and_grad(x, y, where=kept, reduction="sum")[1]
    dx = cross_entropy_value_and_grad(x, y, where=kept, reduction="sum", dloss=2.0**-70, out=x)[1]
    assert dx is x
    np.testing.assert_array_equal(dx, whole * np.float32(2.0**-70))
    assert (dx[:, ~kept] == 0).all()
    y[3] = -100
    x = golden.values((20, 33), np.dtype(np.float32), spread=3.0)
    dx = cross_entropy_value_and_grad(x, y, reduction="sum", dloss=2.0**-70)[1]
    assert (dx[3] == 0).all()
    assert (dx[4] != 0).all()


def test_weighted_means_are_exact() -> None:
    rng = np.random.default_rng(5)
    for classes in (4, 300):
        for _ in range(20):
            x, weight = rng.normal(size=(3, classes)), rng.uniform(0.5, 2.0, classes)
            y = rng.integers(0, classes, 3)
            total = sum(Fraction(float(w)) for w in weight[y])
            exact = []
            for row, label in zip(x, y, strict=True):
                gradient = cross_entropy_row(row, (np.arange(classes) == label).astype(float))[1]
                exact.append(times(gradient, Fraction(float(weight[label])) / total))
            dx = cross_entropy_value_and_grad(x, y, weight=weight)[1]
            assert errors_of_scaled_gradients(dx, exact) <= 2


@pytest.mark.parametrize("size", [1e308, 1e-310, 1e-320])
def test_only_ratios_of_weights_count_in_a_mean(size: float) -> None:
    x, y = golden.values((5, 2), np.dtype(np.float64)), labels((5,), 2)
    wanted = cross_entropy_value_and_grad(x, y)
    got = cross_entropy_value_and_grad(x, y, weight=[size, size])
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-15)
