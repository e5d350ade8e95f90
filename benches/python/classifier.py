"""`SoftmaxClassifier` beside scikit-learn's `LogisticRegression`: the same objective and tolerance.

Run it as ``python -m benches.python.classifier``; it needs scikit-learn, and takes a minute. All of
it runs on one thread. Each fit ends where no entry of the gradient of the mean loss is larger than
``tol``; which loss it has then is shown as what it has more than the best of all.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn.datasets import load_digits, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

import softlane
from softlane.sklearn import SoftmaxClassifier

ROUNDS = 3
SHORT_ROUNDS = 15  # of fits that take milliseconds


def digits() -> tuple[Any, Any]:
    """Return 1797 × 64, 10 classes: scanned digits, from 0 to 1."""
    x, y = load_digits(return_X_y=True)
    return x / 16.0, y


def clouds() -> tuple[Any, Any]:
    """Return 20000 × 200, 50 classes that overlap, in 100 of the dimensions; the rest is noise."""
    made: tuple[Any, Any] = make_classification(
        20000,
        200,
        n_informative=60,
        n_redundant=40,
        n_classes=50,
        n_clusters_per_class=1,
        flip_y=0.02,
        random_state=0,
    )
    return made


def texts() -> tuple[Any, Any]:
    """Return 5000 × 2000, 20 classes: tf-idf of words drawn from topics, by Zipf's law."""
    samples, words, topics = 5000, 2000, 20
    rng = np.random.default_rng(0)
    usual = 1.0 / np.arange(1, words + 1)
    own = usual * rng.gamma(0.3, 1.0 / 0.3, (topics, words))
    chances = own / own.sum(axis=1, keepdims=True) + usual / usual.sum()
    y = rng.integers(topics, size=samples)
    lengths = rng.integers(50, 300, size=samples)
    counts = rng.multinomial(lengths, chances[y] / 2.0).astype(np.float64)
    x = counts * (np.log((1 + samples) / (1 + (counts > 0).sum(axis=0))) + 1.0)
    return x / np.linalg.norm(x, axis=1, keepdims=True), y


def objective(model: Any, x: Any, y: Any) -> tuple[float, float]:
    """Return the mean loss with its penalty, and the largest entry of the gradient; in float64."""
    coef = model.coef_.astype(np.float64)
    logits = x @ coef.T + model.intercept_.astype(np.float64)
    log_probabilities = logits - logsumexp(logits, axis=1, keepdims=True)
    penalty = 1.0 / (model.C * len(y))
    value = -log_probabilities[np.arange(len(y)), y].mean() + 0.5 * penalty * (coef**2).sum()
    residuals = np.exp(log_probabilities)
    residuals[np.arange(len(y)), y] -= 1.0
    of_coef = residuals.T @ x / len(y) + penalty * coef
    return float(value), float(max(np.abs(of_coef).max(), np.abs(residuals.mean(axis=0)).max()))


def compare(name: str, x: Any, y: Any, tol: float, dtype: type) -> None:
    """Fit in turn, and print a line for each of them."""
    given = x.astype(dtype)
    contestants: dict[str, Callable[[], Any]] = {
        "softlane": lambda: SoftmaxClassifier(tol=tol),
        "lbfgs": lambda: LogisticRegression(tol=tol, max_iter=1000),
        "newton-cg": lambda: LogisticRegression(solver="newton-cg", tol=tol, max_iter=1000),
    }
    seconds: dict[str, list[float]] = {label: [] for label in contestants}
    models: dict[str, Any] = {}
    for _ in range(SHORT_ROUNDS if x.size < 1 << 20 else ROUNDS):
        for label, make in contestants.items():
            started = time.perf_counter()
            models[label] = make().fit(given, y)
            seconds[label].append(time.perf_counter() - started)
    ends = {label: objective(model, given.astype(np.float64), y) for label, model in models.items()}
    best = min(value for value, _ in ends.values())
    for label, (value, size) in ends.items():
        pairs = zip(seconds[label], seconds["softlane"], strict=True)
        ratio = median(theirs / ours for theirs, ours in pairs)
        print(
            f"{name:8} {np.dtype(dtype).name:8} {tol:<6g} {label:10} "
            f"{median(seconds[label]) * 1e3:8.1f} {ratio:6.1f} "
            f"{int(np.max(models[label].n_iter_)):6d} "
            f"{value:13.9f} {(value - best) / best:9.1e} {size:9.1e}",
            flush=True,
        )


def main() -> None:
    """Compare them on three problems."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tol", type=float, default=1e-4)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64")
    options = parser.parse_args()
    # An lbfgs that stops early says so in its last column.
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(
        f"{'problem':8} {'dtype':8} {'tol':6} {'solver':10} {'ms':>8} {'ratio':>6} {'steps':>6} "
        f"{'objective':>13} {'excess':>9} {'gradient':>9}"
    )
    with threadpool_limits(1), softlane.threads(1):
        for make in (digits, clouds, texts):
            x, y = make()
            compare(make.__name__, x, y, options.tol, np.dtype(options.dtype).type)


if __name__ == "__main__":
    main()
