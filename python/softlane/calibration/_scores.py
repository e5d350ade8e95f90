"""Proper scoring rules: the negative log-likelihood and the Brier score."""

import numpy as np
from numpy.typing import ArrayLike

from softlane import _core
from softlane.calibration._rows import Mean, Real, Rows, checked_temperature


def negative_log_likelihood(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: Real = 1.0,
    weight: ArrayLike | None = None,
) -> float:
    """Return the mean negative log-likelihood of the labels, in nats.

    The mean over the rows of ``-log(softmax(logits / temperature))`` at the label: the loss that
    `fit_temperature` minimises, sklearn's ``log_loss`` of the probabilities.

    Parameters
    ----------
    logits : array_like, shape (n, classes)
        Of any float dtype; integers and bool become float64. -inf excludes a class.
    labels : array_like of int, shape (n,)
        The class of each row, from 0 on.
    temperature : float, default 1.0
        What logits are divided by; finite and above 0.
    weight : array_like, shape (n,), optional
        How much each row counts, at least 0; as if it were there so many times.

    Returns
    -------
    float
        At least 0; infinite where a row that counts has the label of an excluded class.

    Raises
    ------
    ValueError
        For shapes that do not fit, no rows, NaN or +inf in the logits (the row is named), weights
        that are negative or not finite, and a temperature that is not a finite number above 0.
    IndexError
        For a label that is no class: the first of them is named.
    TypeError
        For a dtype that is not supported, and labels that are not integers.

    Warns
    -----
    UserWarning
        Where all rows look like probabilities.

    Examples
    --------
    >>> from softlane.calibration import negative_log_likelihood
    >>> negative_log_likelihood([[0.0, 0.0], [40.0, 0.0]], [0, 0])
    0.34657359027997264
    """
    rows = Rows(logits, labels, weight)
    divisor = checked_temperature(temperature)
    mean, memory = Mean(rows), rows.memory()
    for part, block in rows.blocks():
        logp = _core.log_softmax(block, temperature=divisor, out=memory[: len(block)])
        losses = 0.0 - logp[np.arange(len(logp)), rows.labels[part]]  # never -0.0
        rows.check(part, losses)
        mean.add(part, losses)
    return mean.value()


def brier_score(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: Real = 1.0,
    weight: ArrayLike | None = None,
) -> float:
    """Return the Brier score: the mean squared distance of probabilities from the labels.

    The mean over the rows of ``sum((p - onehot(label))**2)`` over the classes, with
    ``p = softmax(logits / temperature)``.

    Parameters
    ----------
    logits : array_like, shape (n, classes)
        Of any float dtype; integers and bool become float64. -inf excludes a class.
    labels : array_like of int, shape (n,)
        The class of each row, from 0 on.
    temperature : float, default 1.0
        What logits are divided by; finite and above 0.
    weight : array_like, shape (n,), optional
        How much each row counts, at least 0; as if it were there so many times.

    Returns
    -------
    float
        From 0 to 2.

    Raises
    ------
    ValueError, IndexError, TypeError
        As `negative_log_likelihood`.

    Warns
    -----
    UserWarning
        Where all rows look like probabilities.

    Notes
    -----
    The score of Brier, "Verification of forecasts expressed in terms of probability" (1950). For
    two classes it is twice what ``sklearn.metrics.brier_score_loss`` gives by default, which is the
    squared distance of one of the two probabilities; for more classes it is the same.

    Examples
    --------
    >>> from softlane.calibration import brier_score
    >>> brier_score([[0.0, 0.0], [40.0, 0.0]], [0, 0])
    0.25
    """
    rows = Rows(logits, labels, weight)
    mean = Mean(rows)
    for part, p in rows.probabilities(checked_temperature(temperature)):
        # 1 - p of the label is the sum of the others: near certainty that loses no digits.
        p[np.arange(len(p)), rows.labels[part]] = 0.0
        with np.errstate(under="ignore"):
            mean.add(part, np.vecdot(p, p) + p.sum(axis=1, dtype=np.float64) ** 2)
    return mean.value()
