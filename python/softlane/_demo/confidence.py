"""Lesson 5: an over-trained network is too sure of itself, which one number repairs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from softlane._demo.data import Digits
from softlane._demo.network import Network
from softlane._demo.training import Watch, train, unwatched
from softlane.calibration import (
    ReliabilityCurve,
    expected_calibration_error,
    fit_temperature,
    reliability_curve,
)

# Few images, with noise, learnt by heart: what makes networks overconfident.
SEEN, HELD_OUT, NOISE, EPOCHS = 300, 400, 0.4, 120
BINS = 10


@dataclass(frozen=True)
class Confidence:
    """Logits of images that neither the network nor the temperature has seen, and what they are."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    temperature: float
    seen: int
    held_out: int

    @property
    def accuracy(self) -> float:
        """The fraction of images that is read rightly, at any temperature."""
        return float(np.mean(self.logits.argmax(axis=-1) == self.labels))

    def error(self, temperature: float = 1.0) -> float:
        """Return the expected calibration error."""
        return expected_calibration_error(
            self.logits, self.labels, temperature=temperature, n_bins=BINS
        )

    def curve(self, temperature: float = 1.0) -> ReliabilityCurve:
        """Return how often it is right, by how sure it is."""
        return reliability_curve(self.logits, self.labels, temperature=temperature, n_bins=BINS)


def overtrain(
    training: Digits, test: Digits, *, seed: int = 0, watch: Watch = unwatched
) -> Confidence:
    """Learn a few noisy images by heart, and fit the temperature on others."""
    noise = np.random.default_rng(1)
    seen, unseen = noisy(training, noise).split(SEEN)
    held_out, others = unseen.split(HELD_OUT)
    unused = noisy(test, noise)
    rng = np.random.default_rng(seed)
    network = Network(10, rng)
    watch(
        "Learning by heart",
        EPOCHS,
        train(network, seen.images, seen.labels, rng, epochs=EPOCHS, augment=False),
    )
    return Confidence(
        network.forward(np.concatenate([others.images, unused.images])),
        np.concatenate([others.labels, unused.labels]),
        fit_temperature(network.forward(held_out.images), held_out.labels),
        len(seen),
        len(held_out),
    )


def noisy(digits: Digits, rng: np.random.Generator) -> Digits:
    """Return the images with noise added to each pixel."""
    noise = rng.normal(scale=NOISE, size=digits.images.shape).astype(np.float32)
    return Digits(digits.images + noise, digits.labels)
