"""Real logits: scikit-learn's handwritten digits through its logistic regression."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

import softlane

# Both compute in float64; scikit-learn's own softmax accounts for most of this.
AGREEMENT = 1e-14


@dataclass(frozen=True)
class Digits:
    """The images a classifier had not seen, and what it makes of them.

    ``images`` is of shape (n, 8, 8) with grey levels in [0, 1], ``probabilities`` of (n, 10).
    """

    images: NDArray[np.float64]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    seen: int
    difference: float

    @property
    def guesses(self) -> NDArray[np.int64]:
        """The most probable class of each image."""
        guesses: NDArray[np.int64] = self.probabilities.argmax(axis=-1)
        return guesses

    @property
    def accuracy(self) -> float:
        """The fraction of images whose most probable class is right."""
        return float(np.mean(self.guesses == self.labels))

    def surest(self, count: int) -> list[int]:
        """Return the images with the highest top probability, each of another digit."""
        chosen: dict[int, int] = {}
        for index in np.argsort(-self.probabilities.max(axis=-1), kind="stable"):
            chosen.setdefault(int(self.guesses[index]), int(index))
        return list(chosen.values())[:count]

    def doubtful(self, count: int) -> list[int]:
        """Return the images with the lowest top probability."""
        order = np.argsort(self.probabilities.max(axis=-1), kind="stable")
        return [int(index) for index in order[:count]]


def classify() -> Digits:
    """Fit on one half of the digits, and turn the logits of the other into probabilities."""
    data: Any = load_digits()
    seen, unseen, seen_labels, labels = train_test_split(
        data.data / 16.0, data.target, test_size=0.5, random_state=0, stratify=data.target
    )
    model = LogisticRegression(max_iter=1000).fit(seen, seen_labels)
    logits: NDArray[np.float64] = model.decision_function(unseen)
    probabilities = softlane.softmax(logits)
    return Digits(
        images=unseen.reshape(-1, 8, 8),
        labels=labels,
        probabilities=probabilities,
        seen=len(seen),
        difference=float(np.abs(probabilities - model.predict_proba(unseen)).max()),
    )
