"""How a network learns: batches of images, the loss and its gradient, steps downhill."""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

import softlane as sl
from softlane._demo.network import Array, Network

# As softlane's: takes logits and targets, returns the mean loss and its gradient.
Loss: TypeAlias = Callable[[Array, Array], tuple[Any, Array]]
# Sees a training through: takes its title, its number of epochs and their losses as they come.
Watch: TypeAlias = Callable[[str, int, Iterator[float]], list[float]]

BATCH = 32


class Adam:
    """Gradient descent with a step size for each weight: Kingma and Ba (2015)."""

    def __init__(self, parameters: list[Array]) -> None:
        self.parameters = parameters
        self.means = [np.zeros_like(value) for value in parameters]
        self.squares = [np.zeros_like(value) for value in parameters]
        self.steps = 0

    def step(self, gradients: list[Array], rate: float) -> None:
        """Move every weight downhill, by about ``rate``."""
        self.steps += 1
        for value, gradient, mean, square in zip(
            self.parameters, gradients, self.means, self.squares, strict=True
        ):
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            # Both began at 0, which the divisions make up for.
            unbiased = square / (1 - 0.999**self.steps)
            value -= rate / (1 - 0.9**self.steps) * mean / (np.sqrt(unbiased) + 1e-8)


def shifted(images: Array, rng: np.random.Generator) -> Array:
    """Return the images, each moved by up to a pixel to the left or to the right."""
    n, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1)))
    columns = rng.integers(0, 3, (n, 1, 1)) + np.arange(width)
    return np.asarray(padded[np.arange(n)[:, None, None], np.arange(height)[:, None], columns])


def train(
    network: Network,
    images: Array,
    targets: Array,
    rng: np.random.Generator,
    *,
    epochs: int,
    rate: float = 0.006,
    loss: Loss = sl.cross_entropy_value_and_grad,
    augment: bool = True,
) -> Iterator[float]:
    """Yield the mean loss of each epoch, that is, of each pass over the images.

    The step size falls to 0 in a line, so that the weights come to rest. With ``augment``, images
    are shifted and features dropped. Both, the rate and the network's size were chosen by the
    accuracy on parts of the training images that were set apart for it.
    """
    adam = Adam(network.parameters)
    batches = -(-len(images) // BATCH)
    for epoch in range(epochs):
        total = 0.0
        for number, chosen in enumerate(np.array_split(rng.permutation(len(images)), batches)):
            batch = shifted(images[chosen], rng) if augment else images[chosen]
            value, dlogits = loss(network.forward(batch, training=augment), targets[chosen])
            network.backward(dlogits)
            adam.step(network.gradients, rate * (1 - (epoch + number / batches) / epochs))
            total += float(value) * len(chosen)
        yield total / len(images)


def unwatched(title: str, epochs: int, losses: Iterator[float]) -> list[float]:
    """See a training through without a word."""
    return list(losses)
