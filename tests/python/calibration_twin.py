"""The plain twins of calibration: loops over rows and bins, in float64."""

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def probabilities(logits: ArrayLike, temperature: float = 1.0) -> Array:
    z = np.asarray(logits, np.float64) / temperature
    exps = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(exps / exps.sum(axis=1, keepdims=True))


def negative_log_likelihood(p: Array, labels: Array) -> float:
    return float(np.mean([-math.log(row[label]) for row, label in zip(p, labels, strict=True)]))


def brier_score(p: Array, labels: Array) -> float:
    return float(np.mean(((p - np.eye(p.shape[1])[labels]) ** 2).sum(axis=1)))


def inner_edges(claims: Array, n_bins: int, strategy: str) -> list[float]:
    if strategy == "uniform":
        return [k / n_bins for k in range(1, n_bins)]
    ordered, n = sorted(claims), len(claims)
    return [ordered[math.ceil(k * n / n_bins) - 1] for k in range(1, n_bins)]


def bins(claims: Array, hits: Array, n_bins: int, strategy: str) -> list[tuple[Array, Array]]:
    """Return the claims and hits of each bin: above one edge, up to the next."""
    edges = [-math.inf, *inner_edges(claims, n_bins, strategy), math.inf]
    found = []
    for low, high in itertools.pairwise(edges):
        chosen = (low < claims) & (claims <= high)
        found.append((claims[chosen], hits[chosen]))
    return found


def top_label(p: Array, labels: Array) -> tuple[Array, Array]:
    return p.max(axis=1), (p.argmax(axis=1) == labels).astype(np.float64)


def calibration_error(
    claims: Array, hits: Array, n_bins: int = 15, strategy: str = "uniform"
) -> float:
    total = 0.0
    for claim, hit in bins(claims, hits, n_bins, strategy):
        if len(claim) > 0:
            total += len(claim) / len(claims) * abs(hit.mean() - claim.mean())
    return total


def sampled_debiased_error(claims: Array, hits: Array, n_bins: int, samples: int) -> float:
    """Return the debiased error as Kumar et al. do: by sampling the noise of the accuracies."""
    filled = [(c, h) for c, h in bins(claims, hits, n_bins, "uniform") if len(c) > 0]
    share = np.array([len(c) for c, _ in filled]) / len(claims)
    claim = np.array([c.mean() for c, _ in filled])
    hit = np.array([h.mean() for _, h in filled])
    spread = np.sqrt(hit * (1 - hit) / (share * len(claims)))
    noisy = np.random.default_rng(0).normal(hit, spread, (samples, len(hit)))
    plain = float(share @ abs(hit - claim))
    return 2 * plain - float((abs(noisy - claim) @ share).mean())


def slope_of_loss(logits: Array, labels: Array, weight: Array, temperature: float) -> float:
    """Return the derivative of the weighted loss by 1/T, over the mean size of its terms."""
    p = probabilities(logits, temperature)
    z = logits - logits.max(axis=1, keepdims=True)
    mean = (p * z).sum(axis=1)
    at_label = z[np.arange(len(z)), labels]
    return float(weight @ (mean - at_label) / (weight @ (abs(mean) + abs(at_label))))
