"""What the tests of the losses share: inputs, the product of options, and how results are held."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

import golden
import loss_reference
import reference
import softlane
from cases import HALVES
from loss_reference import Loss
from reference import Array

REDUCTIONS = ("mean", "sum", "none")
INTEGERS = tuple(np.dtype(code) for code in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"))
# The functions by name: options vary here as no overload of a type checker does.
cross_entropy: Any = softlane.cross_entropy
cross_entropy_value_and_grad: Any = softlane.cross_entropy_value_and_grad
kl_divergence: Any = softlane.kl_divergence
kl_divergence_value_and_grad: Any = softlane.kl_divergence_value_and_grad


def loss_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the loss and of lse for logits of a dtype."""
    narrow = reference.is_float(dtype) and dtype.itemsize <= 4
    return np.dtype(np.float32 if narrow else np.float64)


def labels(shape: tuple[int, ...], classes: int, seed: int = 0, dtype: Any = np.int64) -> Array:
    """Return class numbers without any pattern, the same in every run."""
    some = golden.values(shape, np.float64, spread=1.0, seed=seed + 1000)
    return np.asarray(np.floor((some + 1) / 2 * classes)).astype(dtype)


def probabilities(shape: tuple[int, ...], dtype: Any, axis: int = -1, seed: int = 0) -> Array:
    """Return rows that sum to 1 but for roundings, some entries of them exactly 0."""
    x = golden.values(shape, np.float64, spread=3.0, seed=seed + 2000)
    q = np.where(x < -2, 0, np.exp(x))
    q /= np.maximum(q.sum(axis=axis, keepdims=True), 1e-3)
    return np.asarray(q).astype(dtype)


def weights(classes: int, dtype: Any) -> Array:
    """Return a weight a class, about 1 and one of them 0 where there are several."""
    w = np.abs(golden.values((classes,), np.float64, spread=2.0, seed=77)) + 0.125
    w[classes // 2 : classes // 2 + (classes > 3)] = 0
    return np.asarray(w).astype(dtype)


def without_axis(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    kept = list(shape)
    del kept[axis]
    return tuple(kept)


def options(
    shape: tuple[int, ...], axis: int, dtype: np.dtype[Any]
) -> Iterator[tuple[Array, dict[str, Any]]]:
    """Yield labels and options: every combination that means something."""
    classes, outer = shape[axis], without_axis(shape, axis)
    kept = golden.values(shape, np.float32, seed=5) < 4
    one_for_all = np.moveaxis((np.arange(classes) != 1)[(...,) + (None,) * len(outer)], 0, axis)
    for kind, smoothing, reduction, weighted, z_loss, mask, down in itertools.product(
        ("integers", "probabilities"),
        (0.0, 0.1, 1.0),
        REDUCTIONS,
        (False, True),
        (0.0, 1e-3),
        (None, "each", "one"),
        (None, "scalar", "rows"),
    ):
        if down == "rows" and reduction != "none":
            continue
        given: dict[str, Any] = {"label_smoothing": smoothing, "reduction": reduction}
        if weighted:
            given["weight"] = weights(classes, dtype)
        if z_loss:
            given["z_loss"] = z_loss
        target = probabilities(shape, dtype, axis) if kind != "integers" else labels(outer, classes)
        if mask:
            where = np.broadcast_to(kept if mask == "each" else one_for_all, shape).copy()
            if kind == "integers":  # a masked label has a test of its own
                np.put_along_axis(where, np.expand_dims(target, axis), True, axis)
            else:
                target = np.where(where, target, 0).astype(dtype)
            given["where"] = where
        if down:
            given["dloss"] = (
                np.float64(-1.75)
                if down == "scalar"
                else golden.values(outer, np.float64, spread=2.0, seed=3)
            )
        counted = given["weight"][target] if weighted and kind == "integers" else np.ones(1)
        if reduction == "mean" and target.size and not counted.any():
            continue  # has a test of its own
        yield target, given
        if kind == "integers":
            yield target, given | {"ignore_index": int(target.flat[0]) if target.size else 0}


def value_options(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that a function of the value alone takes."""
    return {key: value for key, value in given.items() if key not in ("dloss", "out")}


def tolerance(dtype: np.dtype[Any]) -> float:
    return 1e-12 if loss_dtype(dtype) == np.float64 else 1e-5


def holds(actual: tuple[Any, ...], exact: Loss, dtype: np.dtype[Any], axis: int = -1) -> None:
    """Hold loss, gradient and, if there is one, lse against the twin, relative to their terms."""
    loss, gradient, *lse = map(np.asarray, actual)
    result = dtype if reference.is_float(dtype) else np.dtype(np.float64)
    assert loss.dtype == loss_dtype(dtype)
    assert gradient.dtype == result
    assert loss.dtype.isnative
    assert gradient.dtype.isnative
    rtol = tolerance(dtype)
    close(loss, exact.loss, exact.loss_terms, rtol)
    rounding = float(reference.finfo(dtype).eps) if dtype in HALVES else rtol
    least = float(reference.finfo(result).smallest_subnormal)
    close(gradient, exact.gradient, exact.gradient_terms, rounding, least)
    for v in lse:
        assert v.dtype == loss.dtype
        close(v, exact.lse, np.abs(exact.lse), rtol)


def close(actual: Array, exact: Array, terms: Array, rtol: float, atol: float = 0.0) -> None:
    assert actual.shape == exact.shape
    wide = actual.astype(exact.dtype)
    with np.errstate(all="ignore"):
        same = (wide == exact) | (np.isnan(wide) & np.isnan(exact))
        error = np.abs(wide - exact) <= rtol * terms + atol
    wrong = ~(same | (error & np.isfinite(exact)))
    assert not wrong.any(), (wide[wrong][:5], exact[wrong][:5], np.argwhere(wrong)[:5])


def twin(logits: Any, target: Any, axis: int = -1, **given: Any) -> Loss:
    return loss_reference.cross_entropy(logits, target, axis, **given)
