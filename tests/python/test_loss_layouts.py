"""Losses and gradients have one set of bits: rows alone, in a batch, as columns, in place."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import golden
import softlane
from cases import DTYPES, HALVES, same_bits
from losses import cross_entropy, cross_entropy_value_and_grad
from reference import Array

ROWS = 19

KINDS: dict[str, dict[str, Any]] = {
    "classes": {},
    "weights": {"weight": True},
    "z_loss": {"z_loss": 1e-3},
    "mask": {"where": True},
    "smoothed": {"label_smoothing": 0.2},
    "smoothed, weights, mask": {"label_smoothing": 0.2, "weight": True, "where": True},
    "evenly": {"label_smoothing": 1.0, "z_loss": 1e-3},
    "probabilities": {},
    "probabilities, mask": {"where": True},
    "divergence": {},
}


def rows(dtype: Any, length: int) -> Array:
    """Return ordinary rows, and some with NaN of both signs, infinities, both zeros."""
    rng = np.random.default_rng(length)
    x = (3 * rng.standard_normal((ROWS, length))).astype(dtype)
    for row, special in enumerate([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0]):
        x[row, row % length] = special
    x[7] = -np.inf
    x[8] = 1e4
    x[9] *= 100
    return x


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 3, 10, 16, 65, 128, 129])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bits_depend_on_a_row_alone(dtype: Any, length: int, kind: str) -> None:
    """A row alone, rows as columns, rows that their gradient replaces: as in the batch."""
    rng = np.random.default_rng(0)
    x = rows(dtype, length)
    targets: Array = rng.integers(0, length, ROWS)
    targets[11] = -100
    if kind.startswith(("probabilities", "divergence")):
        targets = softlane.softmax(rng.standard_normal((ROWS, length)))
        targets[rng.random((ROWS, length)) < 0.2] = 0
    options = dict(KINDS[kind])
    if "weight" in options:
        options["weight"] = rng.random(length) * (rng.random(length) < 0.8)
    mask = rng.random((ROWS, length)) < 0.7 if options.pop("where", False) else None

    def run(part: slice, axis: int = -1, *, replace: bool = False) -> list[Array]:
        """Return losses and gradients, rows first, of some rows that lie along that axis."""
        turned = (lambda a: np.array(a.T, order="C")) if axis == 0 else np.copy
        logits = turned(x[part])
        labels = targets[part] if targets.ndim == 1 else turned(targets[part])
        keywords: dict[str, Any] = {
            "axis": axis,
            "reduction": "none",
            "out": logits if replace else None,
        }
        if kind == "divergence":
            losses, gradients = softlane.kl_divergence_value_and_grad(logits, labels, **keywords)
        else:
            where = None if mask is None else turned(mask[part])
            keywords |= options | {"where": where}
            losses, gradients = cross_entropy_value_and_grad(logits, labels, **keywords)
        return [losses, np.ascontiguousarray(gradients.T) if axis == 0 else gradients]

    losses, gradients = run(slice(None))
    alone = [run(slice(i, i + 1)) for i in range(ROWS)]
    assert same_bits(np.concatenate([loss for loss, _ in alone]), losses)
    assert same_bits(np.concatenate([gradient for _, gradient in alone]), gradients)
    for other in (
        run(slice(None), replace=True),
        run(slice(None), 0),
        run(slice(None), 0, replace=True),
    ):
        assert same_bits(other[0], losses)
        assert same_bits(other[1], gradients)
    if kind == "divergence":
        value = softlane.kl_divergence(x, targets, reduction="none")
    else:
        value = cross_entropy(x, targets, reduction="none", where=mask, **options)
    assert same_bits(value, losses)


@pytest.mark.parametrize("kind", ["classes", "weights", "z_loss", "smoothed"])
@pytest.mark.parametrize("shape", [(20, 30_000), (256, 512), (1030, 301), (4100, 320)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_columns_far_apart(dtype: Any, shape: tuple[int, int], kind: str) -> None:
    """Through a buffer, block by block, of which not all have columns that need more care."""
    classes, count = shape
    rng = np.random.default_rng(count)
    x = (3 * rng.standard_normal((count, classes))).astype(dtype)
    x[7:100:50, ::3] = np.nan
    x[90] = -np.inf
    x[130] = 6e4
    x[270, 1::2] = -np.inf
    labels = rng.integers(0, classes, count)
    labels[::9] = -100
    x[200:220, :] -= 50
    x[range(200, 220), range(20)] = 50  # nearly all of the sum
    options = dict(KINDS[kind])
    if "weight" in options:
        options["weight"] = rng.random(classes) * (rng.random(classes) < 0.8)
    for reduction in ("none", "mean"):
        options["reduction"] = reduction
        value, gradients = cross_entropy_value_and_grad(x, labels, **options)
        columns = np.ascontiguousarray(x.T)
        for threads in (1, 2):
            result = cross_entropy_value_and_grad(
                columns, labels, axis=0, num_threads=threads, **options
            )
            assert same_bits(np.asarray(result[0]), np.asarray(value))
            assert same_bits(result[1], gradients.T)
        result = cross_entropy_value_and_grad(columns, labels, axis=0, out=columns, **options)
        assert same_bits(columns, gradients.T)


def test_any_byte_but_zero_is_true() -> None:
    bytes_ = np.array([2, 0, 255, 1], np.uint8)
    bools, truths = bytes_.view(bool), bytes_.view(bool).astype(float)
    x, labels = golden.values((4, 4), np.float64), np.array([0, 1, 2, 3])
    calls: list[Callable[[Array], Array]] = [
        lambda b: softlane.cross_entropy(x, labels, weight=b, reduction="none"),
        lambda b: cross_entropy_value_and_grad(x, labels, reduction="none", dloss=b)[1],
        lambda b: softlane.binary_cross_entropy(x, np.broadcast_to(b, x.shape), weight=b),
        lambda b: softlane.logsumexp(x, b=b),
        lambda b: softlane.kl_divergence(x, np.broadcast_to(b, x.shape)),
    ]
    for call in calls:
        assert np.array_equal(call(bools), call(truths))


def test_no_memory_for_the_rows() -> None:
    logits = np.broadcast_to(np.float32(0.0), (1 << 41, 2))
    labels = np.broadcast_to(np.int8(0), 1 << 41)
    with pytest.raises(MemoryError):
        softlane.cross_entropy(logits, labels)
    with pytest.raises(MemoryError):
        softlane.LogSumExpState().update(np.zeros((1 << 40, 0)))


@pytest.mark.parametrize("kind", ["classes", "z_loss", "smoothed", "probabilities", "divergence"])
@pytest.mark.parametrize("count", [9, 17, 24, 33, 48, 100])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_special_columns_in_several_groups(dtype: Any, count: int, kind: str) -> None:
    """Each is taken by itself, and the others are not moved by it."""
    rng = np.random.default_rng(count)
    x = rng.standard_normal((count, 5)).astype(dtype)
    special = np.arange(count) % 8 == 0
    mask = np.broadcast_to(rng.random((count, 1)) < 0.9, x.shape) & ~special[:, None]
    hidden, infinite, unknown = x.copy(), x.copy(), x.copy()
    infinite[special] = -np.inf
    unknown[special, 2] = np.nan
    targets: Array = rng.integers(0, 5, count)
    if kind in {"probabilities", "divergence"}:
        targets = softlane.softmax(rng.standard_normal((count, 5)))
    options = dict(KINDS[kind])
    function: Callable[..., Any] = softlane.cross_entropy_value_and_grad
    if kind == "divergence":
        function = softlane.kl_divergence_value_and_grad
    cases: list[tuple[Array, Any]] = [(infinite, None), (unknown, None)]
    if kind != "divergence":  # which takes no mask
        cases += [(hidden, mask)]
    for logits, where in cases:

        def run(part: slice, axis: int, logits: Array = logits, where: Any = where) -> list[Array]:
            given = {**options, "reduction": "none"}
            if where is not None:
                given["where"] = where[part].T.copy() if axis == 0 else where[part]
            turned = logits[part].T.copy() if axis == 0 else logits[part]
            chosen = targets[part]
            if targets.ndim == 2 and axis == 0:
                chosen = chosen.T.copy()
            value, gradient = function(turned, chosen, axis=axis, **given)
            return [value, gradient.T if axis == 0 else gradient]

        alone = [run(slice(i, i + 1), -1) for i in range(count)]
        together = [np.concatenate(parts) for parts in zip(*alone, strict=True)]
        for axis in (0, -1):
            for got, want in zip(run(slice(None), axis), together, strict=True):
                assert same_bits(np.ascontiguousarray(got), want)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("kind", ["plain", "smoothed", "mask"])
def test_entries_at_classes_are_rounded_as_all_others(dtype: Any, kind: str) -> None:
    # Where rows are not in the order of the result, they are written one by one.
    shape = (3, 10, 30_000)
    x = golden.values(shape, dtype)
    y = np.arange(3 * 30_000).reshape(3, 30_000) % 10
    options: dict[str, Any] = {"label_smoothing": 0.1} if kind == "smoothed" else {}
    wanted = cross_entropy_value_and_grad(x, y, 1, reduction="none", **options)[1]
    if kind == "mask":
        options["where"] = np.broadcast_to(np.array([True]), shape)
    out = np.empty((10, 30_000, 3), dtype).transpose(2, 0, 1)
    cross_entropy_value_and_grad(x, y, 1, reduction="none", out=out, **options)
    assert same_bits(out, wanted)
