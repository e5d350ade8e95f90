"""An over-trained network is too sure of itself; a temperature from other images repairs it.

Dividing all scores by one number changes no guess, only how sure the network is of it.

    python examples/05_overconfidence.py [epochs]
"""

import sys

import numpy as np

from softlane._demo import data
from softlane._demo.network import Network
from softlane._demo.training import train
from softlane.calibration import (
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability_curve,
)

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 120

# Noise makes the digits hard to read, and 300 images are soon learnt by heart.
training, test = data.load()
rng = np.random.default_rng(1)
training.images[:] += rng.normal(scale=0.4, size=training.images.shape)
test.images[:] += rng.normal(scale=0.4, size=test.images.shape)
seen, unseen = training.split(300)

network = Network(10, rng)
losses = list(train(network, seen.images, seen.labels, rng, epochs=EPOCHS, augment=False))
print(f"loss on the {len(seen)} images that it learnt by heart: {losses[-1]:.4f}")

# Three sets of images: what the network learnt from, what the temperature is fitted on, the test.
temperature = fit_temperature(network.forward(unseen.images), unseen.labels)
logits = network.forward(test.images)
print(f"right: {np.mean(logits.argmax(axis=-1) == test.labels):.1%} of {len(test)} unseen images\n")

for name, divisor in (("as trained", 1.0), (f"divided by {temperature:.2f}", temperature)):
    error = expected_calibration_error(logits, test.labels, temperature=divisor, n_bins=10)
    nll = negative_log_likelihood(logits, test.labels, temperature=divisor)
    print(f"{name}: expected calibration error {error:.1%}, negative log-likelihood {nll:.3f}")
    curve = reliability_curve(logits, test.labels, temperature=divisor, n_bins=5)
    for sure, right, count in zip(curve.confidence, curve.accuracy, curve.count, strict=True):
        if count:
            print(f"  {count:3} images, {sure:4.0%} sure on average: {right:4.0%} right")
