"""Labels that are probabilities: near certainty, and beside a mask."""

from typing import Any

import numpy as np
import pytest

import golden
import loss_reference
import softlane as sl
from cases import same_bits
from loss_reference import cross_entropy_row
from losses import (
    cross_entropy,
    cross_entropy_value_and_grad,
    holds,
    kl_divergence_value_and_grad,
    labels,
    value_options,
    weights,
)
from reference import error_by_entry, from_mpmath

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
BOUND = {np.dtype(np.float32): 2, np.dtype(np.float64): 3}


@pytest.mark.parametrize("length", [1, 2, 3, 8, 10, 17, 65, 300, 2500])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_one_hot_rows_are_as_exact_as_classes(dtype: Any, length: int) -> None:
    for seed, spread in enumerate((1.0, 8.0, 32.0, 128.0)):
        x = golden.values((20, length), dtype, spread=spread, seed=length + seed)
        y = np.where(np.arange(20) % 2, x.argmax(1), labels((20,), length))
        hot = np.eye(length, dtype=dtype)[y]
        loss, dx = cross_entropy_value_and_grad(x, hot, reduction="none")
        value, divergence = kl_divergence_value_and_grad(x, hot, reduction="none")
        for i in range(4):
            exact, gradient, _ = cross_entropy_row(x[i], hot[i].tolist())
            wanted = from_mpmath(gradient, dtype)
            normal = np.abs(wanted) >= np.finfo(dtype).tiny
            for losses, gradients in ((loss, dx), (value, divergence)):
                error = error_by_entry(losses[i : i + 1], from_mpmath([exact], dtype))
                assert error <= BOUND[dtype]
                assert error_by_entry(gradients[i][normal], wanted[normal]) <= BOUND[dtype]
        rows = [
            cross_entropy_value_and_grad(a, b, reduction="none")
            for a, b in zip(x, hot, strict=True)
        ]
        assert same_bits(np.array([row[1] for row in rows]), dx)
        columns = cross_entropy_value_and_grad(x.T.copy(), hot.T.copy(), 0, reduction="none")
        assert same_bits(columns[0], loss)
        assert same_bits(np.ascontiguousarray(columns[1].T), dx)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_targets_near_certainty(dtype: Any) -> None:
    for distance in (3.0, 10.0, 20.0, 40.0, 60.0):
        for less in (0.0, 1e-7, 1e-4, 0.01, 0.3):
            x = np.array([[0.0, distance, -1.0, distance - 30]], dtype)
            q = np.array([[less / 2, 1 - less, less / 4, less / 4]], dtype)
            dx = cross_entropy_value_and_grad(x, q, reduction="sum")[1][0]
            gradient = cross_entropy_row(x[0], q[0].tolist())[1]
            exact = from_mpmath(gradient, dtype).astype(np.longdouble)
            # What the class lacks in the targets, and what the others have of the chance.
            wide = q[0].astype(np.longdouble)
            rest = np.array([exact[1] - (wide.sum() - wide[1]), wide.sum() - wide[1]])
            terms = np.maximum(
                abs(exact), np.append(wide[:1], np.append(abs(rest).max(), wide[2:]))
            )
            assert (abs(dx - exact) <= 2 * np.finfo(dtype).eps * terms).all(), (distance, less)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_all_that_a_sure_teacher_leaves_to_others(dtype: Any) -> None:
    x = np.array([[100.0, 0.0, 0.0]] * 17, dtype)
    for rest in (1e-4, 1e-9, 1e-12, 1e-14, 1e-16, 1e-18, 1e-22, 1e-30):
        q = np.array([[1.0, rest, 0.0]] * 17, dtype)
        for dx in (
            cross_entropy_value_and_grad(x, q, reduction="sum")[1][3],
            cross_entropy_value_and_grad(x[:1], q[:1], reduction="sum")[1][0],
            kl_divergence_value_and_grad(x, q, reduction="sum")[1][16],
        ):
            wanted = from_mpmath(cross_entropy_row(x[0], q[0].tolist())[1], dtype)
            assert error_by_entry(dx[:1], wanted[:1]) <= BOUND[dtype], rest


def test_divergence_of_what_is_nearly_alike() -> None:
    for distance in (5, 12, 17, 25):
        x = np.array([[distance, 0, 0]], np.float32)
        p = sl.softmax(x.astype(np.float64))
        wide = sl.kl_divergence(x.astype(np.float64), p)
        largest = np.max(p * (np.log(p) ** 2) ** 0.5)
        assert abs(sl.kl_divergence(x, p) - wide) <= 3e-16 * largest + abs(wide) * 2.0**-23


def test_one_class_has_no_gradient() -> None:
    x = np.array([[3.0], [-700.0], [0.1]])
    for q in (1.0, 0.3, 7.0):
        dx = cross_entropy_value_and_grad(x, np.full((3, 1), q), reduction="sum")[1]
        assert (dx == 0).all()
    wide = np.array([[1.0, 5.0, 2.0]])
    keep = np.array([[False, True, False]])
    dx = cross_entropy_value_and_grad(wide, np.array([[0, 0.7, 0]]), where=keep)[1]
    assert (dx == 0).all()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("reduction", ["none", "sum"])
@pytest.mark.parametrize("axis", [0, 1])
def test_hidden_targets(dtype: Any, reduction: str, axis: int) -> None:
    x = golden.values((30, 7), dtype, spread=3.0, seed=4)
    where = golden.values((30, 7), np.float32, seed=5) < 0.2
    where[3] = where[11] = False
    hot = np.eye(7, dtype=dtype)[labels((30,), 7)]
    spread = np.abs(golden.values((30, 7), dtype, seed=6)) * (
        golden.values((30, 7), np.float32) > 0
    )
    spread[3] = 0
    spread[5:9] *= where[5:9]
    if axis == 0:
        x, where, hot, spread = (np.ascontiguousarray(a.T) for a in (x, where, hot, spread))
    for q in (hot, spread):
        for options in ({}, {"weight": weights(7, dtype)}, {"label_smoothing": 0.25}):
            given: dict[str, Any] = {"where": where, "reduction": reduction} | options
            got = cross_entropy_value_and_grad(x, q, axis, return_lse=True, **given)
            exact = loss_reference.cross_entropy(x, q, axis, **given)
            holds(got, exact, np.dtype(dtype), axis)
            assert same_bits(
                np.asarray(got[0]), np.asarray(cross_entropy(x, q, axis, **value_options(given)))
            )


def test_a_hidden_class_is_as_a_hidden_probability() -> None:
    x, where = np.zeros((2, 3)), np.array([[False, True, True], [True, True, False]])
    y = np.array([0, 1])
    hot = np.eye(3)[y]
    by_class = cross_entropy_value_and_grad(x, y, where=where, reduction="none")
    by_probability = cross_entropy_value_and_grad(x, hot, where=where, reduction="none")
    assert same_bits(by_class[0], np.array([np.inf, np.log(2)]))
    assert same_bits(by_probability[0], by_class[0])
    np.testing.assert_allclose(by_probability[1], by_class[1], rtol=1e-15)
    # Nothing is asked of a row without classes and without targets.
    assert cross_entropy([[1.0, 2.0]], [[0.0, 0.0]], where=[[False, False]]) == 0
    assert cross_entropy([[1.0, 2.0]], [[0.0, 0.5]], where=[[False, False]]) == np.inf


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("dloss", [np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["classes", "smoothed", "probabilities"])
def test_infinite_cotangents_are_alike_by_rows_and_columns(
    dtype: Any, dloss: float, kind: str
) -> None:
    x = golden.values((40, 5), dtype)
    where = golden.values((40, 5), np.float32, seed=1) < 0.3
    where[:, 1], where[::2, 0] = True, False
    y = np.where(where, np.abs(golden.values((40, 5), dtype, seed=2)), 0)
    y = y if kind == "probabilities" else np.ones(40, int)
    options = {"label_smoothing": 0.1} if kind == "smoothed" else {}
    given: dict[str, Any] = {"dloss": dloss, "reduction": "sum"} | options
    _, dx = cross_entropy_value_and_grad(x, y, where=where, **given)
    x, y, where = (np.ascontiguousarray(a.T) for a in (x, y, where))
    _, columns = cross_entropy_value_and_grad(x, y, 0, where=where, **given)
    np.testing.assert_array_equal(columns.T, dx)
    assert (dx[::2, 0] == 0).all()
