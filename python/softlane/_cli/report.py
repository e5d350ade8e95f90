"""``softlane report``: what a classifier's probabilities are worth, before and after scaling."""

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import softlane
from softlane._cli.errors import CommandError
from softlane._cli.extras import need
from softlane._cli.files import read, refuse_existing, replacing
from softlane._cli.tables import show
from softlane.calibration import (
    brier_score,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)
from softlane.calibration._rows import Rows as CheckedRows

MISTAKES = 8
MOST_CLASSES = 2.0**53  # the integers that float64 has all of


@dataclass(frozen=True)
class Rows:
    """Logits of shape (n, classes), labels (n,), and which rows of the file they are."""

    logits: NDArray[Any]
    labels: NDArray[Any]
    numbers: NDArray[np.intp]

    def part(self, chosen: NDArray[np.intp]) -> "Rows":
        """Return some of the rows."""
        return Rows(self.logits[chosen], self.labels[chosen], self.numbers[chosen])


def run(options: argparse.Namespace) -> int:
    """Print the figures of the rows held out, and draw them if asked to."""
    if options.png is not None:
        need("softlane report --png", "plot", ("matplotlib",))
        refuse_existing(options.png, force=options.force)
    rows = _read(options.logits, options.labels)
    fitting, held_out = _split(rows, options.holdout, options.seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            _refuse_unsound(rows)
            temperature = fit_temperature(fitting.logits, fitting.labels)
            _show_figures(len(fitting.labels), held_out, temperature)
        except (TypeError, ValueError, IndexError) as error:
            raise CommandError(f"{options.logits}, {options.labels}: {error}") from error
        _show_mistakes(held_out, temperature)
        if options.png is not None:
            _draw(held_out, temperature, options.png)
            print(f"The picture: {options.png}")
    for said in dict.fromkeys(str(warning.message) for warning in caught):
        print(f"Beware: {said}")
    return 0


def _read(logits_name: str, labels_name: str) -> Rows:
    """Return the rows of two files, or complain where they do not belong together."""
    logits, labels = read(logits_name), read(labels_name)
    if logits.ndim != 2:
        raise CommandError(f"{logits_name} has shape {logits.shape}, expected (rows, classes)")
    if labels.shape != logits.shape[:1]:
        raise CommandError(
            f"{labels_name} has shape {labels.shape}, expected {logits.shape[:1]}: "
            f"a class for each row of {logits_name}"
        )
    if labels.dtype.kind == "f" and np.all(labels == np.rint(labels)):
        # Of a .csv, or of who saved them so. What is far beyond all classes stays so.
        labels = np.clip(labels.astype(np.float64), -MOST_CLASSES, MOST_CLASSES).astype(np.int64)
    return Rows(logits, labels, np.arange(len(labels)))


def _refuse_unsound(rows: Rows) -> None:
    """Raise for what cannot be reported on, before the rows are shuffled: with the file's row."""
    unshuffled = CheckedRows(rows.logits, rows.labels)
    unshuffled.refuse_unsound()
    row = unshuffled.first_excluded()
    if row is not None:
        raise ValueError(
            f"row {row} has the label {rows.labels[row]}, which its logit of -inf excludes"
        )


def _split(rows: Rows, holdout: float, seed: int) -> tuple[Rows, Rows]:
    """Return the rows to fit on and those held out, drawn with a seed, each in the file's order."""
    if not 0.0 < holdout < 1.0:
        raise CommandError(f"--holdout is {holdout}, expected a share between 0 and 1")
    if seed < 0:
        raise CommandError(f"--seed is {seed}, expected 0 or more")
    count = len(rows.labels)
    held = round(count * holdout)
    if not 0 < held < count:
        raise CommandError(f"{count} rows cannot be split: {held} held out of them")
    order = np.random.default_rng(seed).permutation(count)
    return rows.part(np.sort(order[held:])), rows.part(np.sort(order[:held]))


def _show_figures(fitted_on: int, rows: Rows, temperature: float) -> None:
    logits, labels = rows.logits, rows.labels
    measures = {
        "negative log-likelihood": negative_log_likelihood,
        "Brier score": brier_score,
        "expected calibration error": expected_calibration_error,
    }
    figures = [
        (name, *(f"{measure(logits, labels, temperature=t):.4f}" for t in (1.0, temperature)))
        for name, measure in measures.items()
    ]
    accuracy = f"{np.mean(logits.argmax(axis=1) == labels):.2%}"
    print(f"Temperature {temperature:.4f}, fitted on {fitted_on} rows.")
    title = f"Of the {len(labels)} rows held out, {logits.shape[1]} classes:"
    show(["", "before", "after"], [("accuracy", accuracy, accuracy), *figures], title=title)


def _show_mistakes(rows: Rows, temperature: float) -> None:
    said = rows.logits.argmax(axis=1)
    before = softlane.softmax(rows.logits).max(axis=1)
    after = softlane.softmax(rows.logits, temperature=temperature).max(axis=1)
    wrong = np.flatnonzero(said != rows.labels)
    if wrong.size == 0:
        print("No mistakes.")
        return
    surest = wrong[np.argsort(-after[wrong], kind="stable")][:MISTAKES]
    show(
        ["row", "said", "truth", "confidence before", "after"],
        [
            (str(rows.numbers[i]), str(said[i]), str(rows.labels[i]), f"{before[i]:.2%}",
             f"{after[i]:.2%}")
            for i in surest
        ],
        title=f"The most confident of {wrong.size} mistakes:",
    )  # fmt: skip


def _draw(rows: Rows, temperature: float, path: Path) -> None:
    """Write the reliability diagrams before and after, side by side."""
    from matplotlib.figure import Figure

    from softlane.calibration import plot_reliability

    figure = Figure(figsize=(10.4, 5.6), dpi=120, layout="constrained")
    drawn = [("before", 1.0), (f"after, T = {temperature:.3f}", temperature)]
    for axes, (name, t) in zip(figure.subplots(1, 2), drawn, strict=True):
        plot_reliability(rows.logits, rows.labels, temperature=t, ax=axes, label=name)
    with replacing(path) as part:
        figure.savefig(part, format="png")
