"""Scans of handwritten digits that come with scikit-learn, and which of them are the test."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TEST = 450


@dataclass(frozen=True)
class Digits:
    """Images of shape (n, 8, 8) with grey levels from 0 to 1, and the digit that each shows."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, chosen: Any) -> "Digits":
        """Return some of them, by indices or a mask."""
        return Digits(self.images[chosen], self.labels[chosen])

    def split(self, count: int) -> tuple["Digits", "Digits"]:
        """Return ``count`` of them and the others, each digit in proportion, always the same."""
        from sklearn.model_selection import train_test_split

        first, second = train_test_split(
            np.arange(len(self)), train_size=count, random_state=0, stratify=self.labels
        )
        return self[first], self[second]


def load() -> tuple[Digits, Digits]:
    """Return what to learn from and the test, 1347 and 450 of 1797 images."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            'the handwritten digits are in scikit-learn: pip install "softlane[demo]"'
        ) from error
    data: Any = load_digits()
    images = (data.images / 16.0).astype(np.float32)
    digits = Digits(images, data.target.astype(np.int64))
    return digits.split(len(digits) - TEST)
