"""Lesson 3: labels that do not exclude each other ask for sigmoid, a yes or no each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import softlane as sl
from softlane._demo.data import Digits
from softlane._demo.network import Network
from softlane._demo.training import Watch, train, unwatched

NAMES = ("even", "has a loop", "above 4")
EPOCHS = 30
# Which of them each digit has: 6 and 8 all three, 1 and 3 none.
HAS = np.array([[d % 2 == 0, d in (0, 6, 8, 9), d > 4] for d in range(10)])


@dataclass(frozen=True)
class Attributes:
    """What both say of the attributes of the test images; arrays of shape (n, 3).

    ``threshold`` is the share above which softmax counts as a yes: the best on the training images.
    """

    test: Digits
    sigmoid: NDArray[np.float32]
    softmax: NDArray[np.float32]
    threshold: float

    @property
    def right_by_sigmoid(self) -> float:
        """The fraction of images with all three attributes right."""
        return all_right(self.sigmoid > 0.5, self.test.labels)

    @property
    def right_by_softmax(self) -> float:
        """The same for softmax."""
        return all_right(self.softmax > self.threshold, self.test.labels)

    def example(self, digit: int) -> int:
        """Return the image of a digit on which sigmoid is the surest of all attributes."""
        certainty = np.abs(self.sigmoid - 0.5).min(axis=-1)
        return int(np.where(self.test.labels == digit, certainty, -1).argmax())


def all_right(said: NDArray[np.bool_], labels: NDArray[np.int64]) -> float:
    """Return the fraction of rows that are right in each attribute."""
    return float(np.mean((said == HAS[labels]).all(axis=-1)))


def describe(
    training: Digits, test: Digits, *, seed: int = 0, watch: Watch = unwatched
) -> Attributes:
    """Train one network with each of the two losses."""
    has = HAS[training.labels].astype(np.float32)
    rng = np.random.default_rng(seed)
    free = Network(3, rng)
    watch(
        "Three attributes by sigmoid",
        EPOCHS,
        train(
            free,
            training.images,
            has,
            rng,
            epochs=EPOCHS,
            loss=sl.binary_cross_entropy_value_and_grad,
        ),
    )
    # The best that softmax can be asked for: equal shares for what an image has. Where it has
    # nothing, there is nothing to share out, and nothing to learn from.
    some = has.any(axis=-1)
    shares = has[some] / has[some].sum(axis=-1, keepdims=True)
    rng = np.random.default_rng(seed)
    shared = Network(3, rng)
    watch(
        "Three attributes by softmax",
        EPOCHS,
        train(shared, training.images[some], shares, rng, epochs=EPOCHS),
    )
    seen = sl.softmax(shared.forward(training.images))
    thresholds = np.linspace(0.05, 0.95, 91)
    scores = [all_right(seen > threshold, training.labels) for threshold in thresholds]
    return Attributes(
        test,
        sl.sigmoid(free.forward(test.images)),
        sl.softmax(shared.forward(test.images)),
        float(thresholds[int(np.argmax(scores))]),
    )
