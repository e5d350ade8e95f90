"""How exact binary_cross_entropy and its gradient are, and that they agree with PyTorch."""

import itertools
from typing import Any

import numpy as np
import pytest

import binary_reference as twins
import reference
from binary_cases import (
    FLOAT32,
    FLOAT64,
    REDUCTIONS,
    bound,
    evaluate,
    labels,
    loss_dtype,
    soft,
    spread_out,
    weights,
)
from cases import rounded
from reference import Array

pytestmark = pytest.mark.filterwarnings("error")

WIDEST = pytest.mark.skipif(not reference.LONGDOUBLE_IS_WIDE, reason="longdouble is float64 here")


def gradient_error(actual: Array, exact: Array, larger: Array) -> float:
    """Return the largest error in ULP of the larger term of each gradient."""
    with np.errstate(all="ignore"):
        errors = np.abs(actual.astype(exact.dtype) - exact) / reference.ulp(larger, actual.dtype)
    same = actual.astype(exact.dtype) == exact
    return float(np.where(same, 0, errors).max())


# ---------------------------------------------------------------------------------- accuracy


@WIDEST
def test_accuracy_of_labels(dtype: np.dtype[Any]) -> None:
    for kind, x in spread_out(dtype, 100_000).items():
        t = labels(x.size)
        loss, gradient = evaluate(x, t, reduction="none")
        error = reference.error_by_entry(loss, twins.losses(x, t))
        gradient_error = reference.error_by_entry(gradient, twins.gradients(x, t)[0])
        print(f"{dtype} {kind}: loss {error:.3f}, gradient {gradient_error:.3f} ULP")
        assert error <= bound(loss.dtype), kind
        assert gradient_error <= bound(dtype), kind


@WIDEST
@pytest.mark.parametrize("weighted", [(), ("weight",), ("pos_weight",), ("weight", "pos_weight")])
def test_accuracy_of_soft_targets(dtype: np.dtype[Any], weighted: tuple[str, ...]) -> None:
    for kind, x in spread_out(dtype, 100_000).items():
        if dtype == FLOAT64 and kind == "small losses" and weighted:
            continue  # the twin's own terms are subnormal: see the next test
        t = soft(x.size, dtype)
        factors = {name: weights(x.size, dtype, seed) for seed, name in enumerate(weighted)}
        loss, gradient = evaluate(x, t, reduction="none", **factors)
        error = reference.error_by_entry(loss, twins.losses(x, t, **factors))
        gradient_off = gradient_error(gradient, *twins.gradients(x, t, **factors))
        print(f"{dtype} {kind}: loss {error:.3f}, gradient {gradient_off:.3f} ULP")
        assert error <= bound(loss.dtype), kind
        assert gradient_off <= 2, kind


def test_accuracy_to_50_digits() -> None:
    for dtype in (FLOAT32, FLOAT64):
        for kind, x in spread_out(dtype, 200).items():
            w, v = (rounded(weights(x.size, dtype, s) + 1e-3, dtype) for s in (1, 2))
            for t in (labels(x.size, dtype), soft(x.size, dtype)):
                for factors in ({}, {"weight": w}, {"weight": w, "pos_weight": v}):
                    loss, gradient = evaluate(x, t, reduction="none", **factors)
                    exact = reference.from_mpmath(twins.exact_losses(x, t, **factors), dtype)
                    assert reference.error_by_entry(loss, exact) <= bound(dtype), kind
                    exact = reference.from_mpmath(twins.exact_gradients(x, t, **factors), dtype)
                    hard = (t == 0) | (t == 1)
                    assert reference.error_by_entry(gradient[hard], exact[hard]) <= bound(dtype)
                    larger = twins.gradients(x, t, **factors)[1]
                    assert gradient_error(gradient, exact, larger) <= 2, kind


@pytest.mark.parametrize(
    ("dtype", "x", "weight"),
    [(FLOAT32, 150.0, 1e30), (FLOAT64, 740.0, 1e18), (FLOAT64, 60.0, 1e300)],
)
def test_what_is_tiny_keeps_its_digits_for_a_large_weight(
    dtype: np.dtype[Any], x: float, weight: float
) -> None:
    arrays = [np.array([v], dtype) for v in (x, 1, weight)]
    for signed in (arrays, [-arrays[0], 1 - arrays[1], arrays[2]]):
        loss, gradient = evaluate(*signed[:2], weight=signed[2], reduction="none")
        exact = reference.from_mpmath(twins.exact_losses(*signed), dtype)
        assert reference.error_by_entry(loss, exact) <= bound(dtype)
        exact = reference.from_mpmath(twins.exact_gradients(*signed), dtype)
        assert reference.error_by_entry(gradient, exact) <= bound(dtype)


@WIDEST
@pytest.mark.parametrize("count", [1, 7, 1000, 4097, 300_007])
def test_accuracy_of_sum_and_mean(dtype: np.dtype[Any], count: int) -> None:
    for kind, x in spread_out(dtype, count).items():
        if (dtype, kind) == (FLOAT64, "huge"):
            x = x / 2.0**30  # the sum must not overflow
        t, w = soft(count, dtype), weights(count, dtype)
        for factors in ({}, {"weight": w}):
            exact = np.sum(twins.losses(x, t, **factors), keepdims=True)
            for reduction, divisor in (("sum", 1), ("mean", count)):
                loss, gradient = evaluate(x, t, reduction=reduction, **factors)
                assert type(loss) is loss_dtype(dtype).type
                error = reference.error_by_entry(np.array([loss]), exact / divisor)
                assert error <= bound(loss_dtype(dtype)), kind
                exact_gradient, larger = (g / divisor for g in twins.gradients(x, t, **factors))
                assert gradient_error(gradient, exact_gradient, larger) <= 2, kind


def test_agreement_with_torch() -> None:
    torch = pytest.importorskip("torch")
    from torch.nn.functional import binary_cross_entropy_with_logits

    rng = np.random.default_rng(3)
    shape = (7, 5)
    x = 4 * rng.standard_normal(shape)
    options = itertools.product(
        (rng.uniform(0, 1, shape), rng.integers(0, 2, shape).astype(np.float64)),
        (None, rng.uniform(0, 3, shape), rng.uniform(0, 3, 5), rng.uniform(0, 3, (7, 1))),
        (None, rng.uniform(0, 3, 5), rng.uniform(0, 3, shape)),
        REDUCTIONS,
        (None, 2.5),
    )
    for t, w, v, reduction, dloss in options:
        logits = torch.tensor(x, requires_grad=True)
        tensors = [None if a is None else torch.tensor(a) for a in (t, w, v)]
        expected = binary_cross_entropy_with_logits(
            logits, tensors[0], tensors[1], pos_weight=tensors[2], reduction=reduction
        )
        cotangent = np.full(expected.shape, 1.0 if dloss is None else dloss)
        if dloss is not None and reduction == "none":
            cotangent *= rng.standard_normal(shape)
        expected.backward(torch.tensor(cotangent))
        loss, gradient = evaluate(
            x,
            t,
            weight=w,
            pos_weight=v,
            reduction=reduction,
            dloss=None if dloss is None else cotangent,
        )
        np.testing.assert_allclose(loss, expected.detach().numpy(), rtol=1e-12)
        np.testing.assert_allclose(gradient, logits.grad.numpy(), rtol=1e-12, atol=1e-14)


@WIDEST
@pytest.mark.parametrize("seed", range(60))
def test_any_shape_and_weights_that_broadcast(dtype: np.dtype[Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    ndim = int(rng.integers(0, 4))
    shape = tuple(rng.integers(1, (300, 40, 12, 7)[ndim], ndim))

    def some() -> Array | None:
        sizes = [n if rng.random() < 0.6 else 1 for n in shape][rng.integers(0, ndim + 1) :]
        scale = 10 ** rng.uniform(-3, 3)
        return rounded(scale * rng.random(sizes), dtype) if rng.random() < 0.6 else None

    x = rounded(10 ** rng.uniform(-2, 2) * np.asarray(rng.standard_normal(shape)), dtype)
    t = rounded(np.asarray(rng.random(shape)), dtype)
    factors = {"weight": some(), "pos_weight": some()}
    reduction = REDUCTIONS[seed % 3]
    loss, gradient = evaluate(x, t, reduction=reduction, num_threads=1 + seed % 2, **factors)
    exact, (exact_gradient, larger) = (
        twins.losses(x, t, **factors),
        twins.gradients(x, t, **factors),
    )
    divisor = x.size if reduction == "mean" else 1
    if reduction != "none":
        exact = np.asarray(exact.sum() / divisor)
    assert reference.error_by_entry(np.asarray(loss), exact) <= bound(loss_dtype(dtype))
    scaled = exact_gradient / divisor, larger / divisor
    assert gradient_error(np.asarray(gradient), *scaled) <= 2
