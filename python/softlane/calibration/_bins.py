"""Confidences in bins: what a probability claims against how often it comes true."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from softlane.calibration._rows import Floats, Rows

_Array: TypeAlias = NDArray[Any]


# So many rows are put into bins at a time.
_CHUNK = 1 << 20


class ReliabilityCurve(NamedTuple):
    """How often the predictions of each bin of confidence come true.

    Attributes
    ----------
    confidence : numpy.ndarray, shape (n_bins,) of float64
        The mean confidence of the rows of each bin; NaN where there is none.
    accuracy : numpy.ndarray, shape (n_bins,) of float64
        What part of them is right; NaN where there is none.
    count : numpy.ndarray, shape (n_bins,) of int64
        How many they are.
    edges : numpy.ndarray, shape (n_bins + 1,) of float64
        A bin reaches from above one edge up to the next, and contains that.
    """

    confidence: Floats
    accuracy: Floats
    count: NDArray[np.int64]  # type: ignore[assignment]  # hides a method of tuples
    edges: Floats


@dataclass(frozen=True)
class Bins:
    """Sums over the rows of each bin: of their weights, and of these times two other numbers."""

    mass: Floats
    confidence: Floats
    right: Floats

    def errors(self, *, debiased: bool = False) -> Floats:
        """Return the error of each bin times its mass, all of it divided by the whole mass."""
        filled = self.mass > 0.0
        mass = np.where(filled, self.mass, 1.0)
        accuracy = self.right / mass
        gap = abs(self.confidence / mass - accuracy)
        if debiased:
            spread = np.sqrt(np.maximum(accuracy * (1.0 - accuracy), 0.0) / mass)
            gap = 2.0 * gap - _mean_of_folded_normal(gap, spread)
        share: Floats = np.where(filled, gap * self.mass, 0.0)
        share /= self.mass.sum(axis=-1, keepdims=True)
        return share


def _mean_of_folded_normal(mean: Floats, spread: Floats) -> Floats:
    """Return the mean of |x| for x normal: Leone, Nelson, Nottingham, Technometrics 3 (1961)."""
    ratio = mean / np.where(spread > 0.0, spread, 1.0)
    tail = np.array([math.erf(r / math.sqrt(2.0)) for r in ratio.flat]).reshape(ratio.shape)
    density: Floats = math.sqrt(2.0 / math.pi) * np.exp(-0.5 * ratio * ratio)
    return np.asarray(np.where(spread > 0.0, spread * density + mean * tail, mean))


def top_label(rows: Rows, temperature: float) -> tuple[_Array, NDArray[np.bool_]]:
    """Return the largest probability of each row, and whether its class is the label."""
    confidence = np.empty(rows.count, rows.dtype)
    right = np.empty(rows.count, np.bool_)
    for part, p in rows.probabilities(temperature):
        guess = p.argmax(axis=1)
        confidence[part] = p[np.arange(len(p)), guess]
        right[part] = guess == rows.labels[part]
    return confidence, right


def edges_of(confidence: _Array, weight: Floats | None, n_bins: int, strategy: str) -> Floats:
    """Return the edges of bins of equal width, or of equal mass."""
    parts = np.arange(n_bins + 1) / n_bins  # each the nearest float, as linspace's are not
    if strategy == "uniform":
        return parts
    # The inverse of the distribution function: the one whose weights are repetitions.
    if weight is None:
        ordered, mass = np.sort(confidence), np.arange(1.0, len(confidence) + 1.0)
    else:
        order = np.argsort(confidence)
        ordered, mass = confidence[order], np.cumsum(weight[order])
    mass /= mass[-1]
    # Who reaches an edge but for rounding errors has reached it.
    return ordered[np.searchsorted(mass, parts * (1.0 - 1e-12))].astype(np.float64)


def bin_of(confidence: _Array, edges: Floats) -> NDArray[np.intp]:
    """Return the bin of each confidence: above one edge, up to the next."""
    return np.searchsorted(edges[1:-1], confidence, side="left")


def binned(confidence: _Array, right: _Array, weight: Floats | None, edges: Floats) -> Bins:
    """Return the bins of confidences."""
    size = len(edges) - 1
    sums = np.zeros((3, size))
    for start in range(0, len(confidence), _CHUNK):
        part = slice(start, start + _CHUNK)
        which = bin_of(confidence[part], edges)
        counted = np.ones(len(which)) if weight is None else weight[part]
        sums[0] += np.bincount(which, counted, size)
        sums[1] += np.bincount(which, counted * confidence[part], size)
        sums[2] += np.bincount(which, counted * right[part], size)
    return Bins(*sums)


def binned_by_class(rows: Rows, temperature: float, n_bins: int, strategy: str) -> Bins:
    """Return the bins of the probabilities of each class, of shape (classes, n_bins)."""
    if strategy == "uniform":
        return _uniform_by_class(rows, temperature, n_bins)
    # Quantiles need all rows of a class: as many classes at a time as fill some blocks.
    width = max(1, 4 * _CHUNK // rows.count)
    found = []
    for start in range(0, rows.classes, width):
        stop = min(start + width, rows.classes)
        columns = np.empty((stop - start, rows.count))
        for part, p in rows.probabilities(temperature):
            columns[:, part] = p[:, start:stop].T
        for column, p in enumerate(columns, start):
            edges = edges_of(p, rows.weight, n_bins, strategy)
            found.append(binned(p, rows.labels == column, rows.weight, edges))
    return Bins(
        np.array([bins.mass for bins in found]),
        np.array([bins.confidence for bins in found]),
        np.array([bins.right for bins in found]),
    )


def _uniform_by_class(rows: Rows, temperature: float, n_bins: int) -> Bins:
    edges = edges_of(np.empty(0), None, n_bins, "uniform")
    size = rows.classes * n_bins
    first = np.arange(rows.classes) * n_bins
    mass, claimed, right = np.zeros(size), np.zeros(size), np.zeros(size)
    for part, p in rows.probabilities(temperature):
        which = bin_of(p, edges) + first
        weight = np.ones(len(p)) if rows.weight is None else rows.weight[part]
        spread = np.repeat(weight, rows.classes)
        mass += np.bincount(which.reshape(-1), spread, size)
        claimed += np.bincount(which.reshape(-1), spread * p.reshape(-1), size)
        labelled = which[np.arange(len(p)), rows.labels[part]]
        right += np.bincount(labelled, weight, size)
    shape = (rows.classes, n_bins)
    return Bins(mass.reshape(shape), claimed.reshape(shape), right.reshape(shape))
