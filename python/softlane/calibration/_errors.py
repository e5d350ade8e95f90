"""Calibration errors and the reliability curve."""

from typing import Literal, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from softlane._linear_problem import integer
from softlane.calibration._bins import (
    ReliabilityCurve,
    binned,
    binned_by_class,
    edges_of,
    top_label,
)
from softlane.calibration._rows import Real, Rows, checked_temperature


def expected_calibration_error(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: Real = 1.0,
    n_bins: SupportsIndex = 15,
    strategy: Literal["uniform", "quantile"] = "uniform",
    classwise: bool = False,
    debiased: bool = False,
    weight: ArrayLike | None = None,
) -> float:
    """Return the expected calibration error: how far confidence is from accuracy, on average.

    Rows are put into bins by their confidence, which is the largest probability of
    ``softmax(logits / temperature)``. The result is the mean over the bins, each weighted by its
    rows, of ``abs(accuracy - mean confidence)``.

    Parameters
    ----------
    logits : array_like, shape (n, classes)
        Of any float dtype; integers and bool become float64. -inf excludes a class.
    labels : array_like of int, shape (n,)
        The class of each row, from 0 on.
    temperature : float, default 1.0
        What logits are divided by; finite and above 0.
    n_bins : int, default 15
        How many bins, at least 1.
    strategy : {"uniform", "quantile"}, default "uniform"
        Bins of equal width from 0 to 1, or of equally many rows; equal confidences stay together.
    classwise : bool, default False
        Put the probabilities of each class into bins, against how often it is the label, and return
        the mean over the classes.
    debiased : bool, default False
        Subtract an estimate of what is due to chance: with few rows a bin, the error of even a
        perfectly calibrated classifier is above 0.
    weight : array_like, shape (n,), optional
        How much each row counts, at least 0; as if it were there so many times.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ValueError
        For shapes that do not fit, no rows, NaN or +inf in the logits (the row is named), weights
        that are negative or not finite, and options outside their range.
    IndexError
        For a label that is no class: the first of them is named.
    TypeError
        For a dtype that is not supported, labels that are not integers, and options of wrong type.

    Warns
    -----
    UserWarning
        Where all rows look like probabilities.

    See Also
    --------
    reliability_curve : The bins themselves.
    brier_score, negative_log_likelihood : Proper scores, which need no bins.

    Notes
    -----
    A bin contains its upper edge, as in Guo et al., "On calibration of modern neural networks"
    (2017). Where two classes are tied for the largest probability, the first is predicted.

    With ``classwise`` it is the static calibration error of Nixon et al., "Measuring calibration in
    deep learning" (2019), the classwise-ECE of Kull et al., "Beyond temperature scaling" (2019);
    with "quantile" it is Nixon's adaptive calibration error.

    ``debiased`` is the correction of Kumar, Liang and Ma, "Verified uncertainty calibration" (2019)
    for this (not the squared) error: the accuracy of each bin is taken as normal with variance
    ``accuracy * (1 - accuracy) / count``, and by how much such noise would raise the error is
    subtracted. They sample that noise; here its mean is computed. Less than 0 becomes 0.

    Examples
    --------
    Two rows of probability 0.5, one of them right; two of almost 1, one of them right:

    >>> from softlane.calibration import expected_calibration_error
    >>> logits = [[0.0, 0.0], [0.0, 0.0], [40.0, 0.0], [40.0, 0.0]]
    >>> expected_calibration_error(logits, [0, 1, 0, 1])
    0.25
    """
    count = _checked_bins(n_bins, strategy)
    for name, value in (("classwise", classwise), ("debiased", debiased)):
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{name} must be True or False, got {value!r}")
    rows = Rows(logits, labels, weight)
    divisor = checked_temperature(temperature)
    if classwise:
        bins = binned_by_class(rows, divisor, count, strategy)
        total = bins.errors(debiased=debiased).sum() / rows.classes
    else:
        confidence, right = top_label(rows, divisor)
        edges = edges_of(confidence, rows.weight, count, strategy)
        total = binned(confidence, right, rows.weight, edges).errors(debiased=debiased).sum()
    return max(0.0, float(total))


def maximum_calibration_error(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: Real = 1.0,
    n_bins: SupportsIndex = 15,
    strategy: Literal["uniform", "quantile"] = "uniform",
) -> float:
    """Return the maximum calibration error: the largest distance of confidence from accuracy.

    The largest ``abs(accuracy - mean confidence)`` of all bins with rows; see
    `expected_calibration_error`.

    Parameters
    ----------
    logits : array_like, shape (n, classes)
        Of any float dtype; integers and bool become float64. -inf excludes a class.
    labels : array_like of int, shape (n,)
        The class of each row, from 0 on.
    temperature : float, default 1.0
        What logits are divided by; finite and above 0.
    n_bins : int, default 15
        How many bins, at least 1.
    strategy : {"uniform", "quantile"}, default "uniform"
        Bins of equal width from 0 to 1, or of equally many rows.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ValueError, IndexError, TypeError
        As `expected_calibration_error`.

    Warns
    -----
    UserWarning
        Where all rows look like probabilities.

    Examples
    --------
    >>> from softlane.calibration import maximum_calibration_error
    >>> logits = [[0.0, 0.0], [0.0, 0.0], [40.0, 0.0], [40.0, 0.0]]
    >>> maximum_calibration_error(logits, [0, 1, 0, 1])
    0.5
    """
    curve = curve_of(Rows(logits, labels), temperature, n_bins, strategy)
    return float(np.nanmax(abs(curve.accuracy - curve.confidence)))


def reliability_curve(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: Real = 1.0,
    n_bins: SupportsIndex = 15,
    strategy: Literal["uniform", "quantile"] = "uniform",
) -> ReliabilityCurve:
    """Return confidence and accuracy of the rows of each bin of confidence.

    Parameters
    ----------
    logits : array_like, shape (n, classes)
        Of any float dtype; integers and bool become float64. -inf excludes a class.
    labels : array_like of int, shape (n,)
        The class of each row, from 0 on.
    temperature : float, default 1.0
        What logits are divided by; finite and above 0.
    n_bins : int, default 15
        How many bins, at least 1.
    strategy : {"uniform", "quantile"}, default "uniform"
        Bins of equal width from 0 to 1, or of equally many rows, from the lowest confidence to the
        highest.

    Returns
    -------
    ReliabilityCurve
        The arrays ``confidence``, ``accuracy``, ``count`` and ``edges``. The first two are NaN
        where a bin is empty.

    Raises
    ------
    ValueError, IndexError, TypeError
        As `expected_calibration_error`.

    Warns
    -----
    UserWarning
        Where all rows look like probabilities.

    Examples
    --------
    >>> from softlane.calibration import reliability_curve
    >>> logits = [[0.0, 0.0], [0.0, 0.0], [40.0, 0.0], [40.0, 0.0]]
    >>> curve = reliability_curve(logits, [0, 1, 0, 1], n_bins=4)
    >>> curve.accuracy, curve.count
    (array([nan, 0.5, nan, 0.5]), array([0, 2, 0, 2]))
    """
    return curve_of(Rows(logits, labels), temperature, n_bins, strategy)


def curve_of(
    rows: Rows, temperature: Real, n_bins: SupportsIndex, strategy: str
) -> ReliabilityCurve:
    """Return the reliability curve of rows."""
    count = _checked_bins(n_bins, strategy)
    confidence, right = top_label(rows, checked_temperature(temperature))
    edges = edges_of(confidence, None, count, strategy)
    bins = binned(confidence, right, None, edges)
    found = np.where(bins.mass > 0.0, bins.mass, np.nan)
    counts = bins.mass.astype(np.int64)
    return ReliabilityCurve(bins.confidence / found, bins.right / found, counts, edges)


def _checked_bins(n_bins: SupportsIndex, strategy: str) -> int:
    count = integer("n_bins", n_bins)
    if count < 1:
        raise ValueError(f"n_bins must be at least 1, got {count}")
    if strategy not in ("uniform", "quantile"):
        raise ValueError(f"strategy must be 'uniform' or 'quantile', got {strategy!r}")
    return count
