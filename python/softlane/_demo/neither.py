"""Lesson 2: whoever knows two classes only is sure of one of them, whatever the image shows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import softlane as sl
from softlane._demo.data import Digits
from softlane._demo.network import Network
from softlane._demo.training import Watch, train, unwatched

PAIR = (4, 9)
SURE = 0.9
# A pass over the images of two digits is a fifth of one over all.
EPOCHS_OF_TWO, EPOCHS_OF_THREE = 60, 30


@dataclass(frozen=True)
class Neither:
    """What two networks say of all test images: one knows two classes, the other a third."""

    test: Digits
    two: NDArray[np.float32]
    three: NDArray[np.float32]

    @property
    def strangers(self) -> NDArray[np.bool_]:
        """Which images show neither of the two digits."""
        return ~np.isin(self.test.labels, PAIR)

    @property
    def accuracy(self) -> float:
        """The fraction of images of the two digits that the first network reads rightly."""
        ours = ~self.strangers
        right = self.two.argmax(axis=-1) == classes_of(self.test.labels)
        return float(np.mean(right[ours]))

    @property
    def accuracy_of_three(self) -> float:
        """The fraction of all images that the second network puts where they belong."""
        return float(np.mean(self.three.argmax(axis=-1) == classes_of(self.test.labels)))

    @property
    def sure_of_two(self) -> float:
        """The fraction of strangers of which the first network is sure."""
        return float(np.mean(self.two[self.strangers].max(axis=-1) > SURE))

    @property
    def sure_of_three(self) -> float:
        """The fraction of strangers of which the second is sure that they are one of the two."""
        return float(np.mean(self.three[self.strangers, :2].max(axis=-1) > SURE))

    def examples(self, count: int) -> list[int]:
        """Return strangers that the first network is surest of, each of another digit."""
        top = np.where(self.strangers, self.two.max(axis=-1), 0)
        chosen: dict[int, int] = {}
        for index in np.argsort(-top, kind="stable"):
            chosen.setdefault(int(self.test.labels[index]), int(index))
        return list(chosen.values())[:count]


def classes_of(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 0 for the first digit of the pair, 1 for the second, 2 for any other."""
    first, second = PAIR
    return np.select([labels == first, labels == second], [0, 1], default=2)


def ask(
    training: Digits,
    test: Digits,
    *,
    seed: int = 0,
    watch: Watch = unwatched,
) -> Neither:
    """Train on the two digits alone, and on all with the others as a third class."""
    said: list[NDArray[np.float32]] = []
    for title, seen, classes, epochs in [
        ("Two classes", training[np.isin(training.labels, PAIR)], 2, EPOCHS_OF_TWO),
        ("Two classes and a third", training, 3, EPOCHS_OF_THREE),
    ]:
        rng = np.random.default_rng(seed)
        network = Network(classes, rng)
        targets = classes_of(seen.labels)
        watch(title, epochs, train(network, seen.images, targets, rng, epochs=epochs))
        said.append(sl.softmax(network.forward(test.images)))
    return Neither(test, *said)
