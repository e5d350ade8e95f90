"""Lesson 1: a network learns to read digits, from random weights."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import softlane as sl
from softlane._demo.data import Digits
from softlane._demo.network import Network
from softlane._demo.training import Watch, train, unwatched

EPOCHS = 100


@dataclass(frozen=True)
class Learning:
    """The losses of the epochs, and the logits of the test images, before and after."""

    test: Digits
    losses: list[float]
    before: NDArray[np.float32]
    logits: NDArray[np.float32]

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """What softmax makes of the logits."""
        return sl.softmax(self.logits)

    @property
    def guesses(self) -> NDArray[np.int64]:
        """The most probable digit of each image."""
        guesses: NDArray[np.int64] = self.logits.argmax(axis=-1)
        return guesses

    @property
    def accuracy(self) -> float:
        """The fraction of the test images that is read rightly."""
        return float(np.mean(self.guesses == self.test.labels))

    @property
    def accuracy_before(self) -> float:
        """The same with the random weights of the beginning."""
        return float(np.mean(self.before.argmax(axis=-1) == self.test.labels))

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


def learn(
    training: Digits,
    test: Digits,
    *,
    epochs: int = EPOCHS,
    seed: int = 0,
    watch: Watch = unwatched,
) -> Learning:
    """Train on ``training`` and look at ``test`` once, at the end."""
    rng = np.random.default_rng(seed)
    network = Network(10, rng)
    before = network.forward(test.images)
    losses = watch(
        "Learning to read digits",
        epochs,
        train(network, training.images, training.labels, rng, epochs=epochs),
    )
    return Learning(test, losses, before, network.forward(test.images))
