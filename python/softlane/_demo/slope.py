"""Lesson 4: why argmax cannot be trained and softmax can: the loss along one weight, both ways."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import softlane as sl
from softlane._demo.data import Digits
from softlane._demo.network import Network
from softlane._demo.training import train

PAIR, IMAGES = (3, 8), 16
REACH, POINTS = 0.8, 321
STEPS, RATE = 10, 0.08
# Of all random beginnings one whose valley is neither too wide nor too flat for a picture.
SEED = 8


@dataclass(frozen=True)
class Slope:
    """Two losses at each of ``weights``: how many are wrong by argmax, and the cross-entropy.

    ``path`` is where gradient descent on the cross-entropy goes, from the first entry, and
    ``slopes`` are the gradients it followed; ``start_errors`` is the first loss where it starts.
    """

    weights: NDArray[np.float64]
    errors: NDArray[np.float64]
    losses: NDArray[np.float64]
    path: NDArray[np.float64]
    path_losses: NDArray[np.float64]
    slopes: NDArray[np.float64]
    start_errors: float

    @property
    def flat(self) -> float:
        """The fraction of neighbouring weights between which argmax sees no difference at all."""
        return float(np.mean(np.diff(self.errors) == 0))


def walk(training: Digits, *, seed: int = SEED) -> Slope:
    """Change one weight of a network that has barely begun to learn, and nothing else."""
    digits = training[np.isin(training.labels, PAIR)]
    targets = (digits.labels == PAIR[1]).astype(np.int64)
    rng = np.random.default_rng(seed)
    network = Network(2, rng, dtype=np.float64)
    list(train(network, digits.images, targets, rng, epochs=1, rate=0.001))
    images, targets = digits.images[:IMAGES], targets[:IMAGES]

    def visit(weight: float) -> tuple[float, float, float]:
        """Return both losses at a weight, and the slope of the second."""
        matrix[place] = weight
        logits = network.forward(images)
        loss, dlogits = sl.cross_entropy_value_and_grad(logits, targets)
        network.backward(dlogits)
        slope = network.layers[-1].gradients[0][place]
        return float(np.mean(logits.argmax(axis=-1) != targets)), float(loss), float(slope)

    # Of the last layer's weights the one that the loss depends on most.
    matrix = network.layers[-1].parameters[0]
    _, dlogits = sl.cross_entropy_value_and_grad(network.forward(images), targets)
    network.backward(dlogits)
    gradient = network.layers[-1].gradients[0]
    row, column = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
    place = int(row), int(column)
    uphill = float(np.sign(gradient[place]))
    middle = float(matrix[place])
    weights = middle + np.linspace(-REACH, REACH, POINTS)
    seen = np.array([visit(weight) for weight in weights])

    weight = middle + 0.75 * REACH * uphill
    path = []
    for _ in range(STEPS):
        errors, loss, slope = visit(weight)
        path.append((weight, loss, slope, errors))
        weight -= RATE * slope
    walked = np.array(path)
    return Slope(
        weights,
        seen[:, 0],
        seen[:, 1],
        walked[:, 0],
        walked[:, 1],
        walked[:, 2],
        float(walked[0, 3]),
    )
