"""A convolutional network learns to read digits: the training loop, written out.

softlane stands where the chain rule begins: ``cross_entropy_value_and_grad`` takes the logits and
the labels, and returns the loss and its gradient with respect to the logits.

    python examples/01_train_a_network.py [epochs]
"""

import sys

import numpy as np

import softlane as sl
from softlane._demo import data
from softlane._demo.network import Network
from softlane._demo.training import Adam, shifted

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 60
BATCH = 32

training, test = data.load()
rng = np.random.default_rng(0)
network = Network(10, rng)
adam = Adam(network.parameters)


def accuracy() -> float:
    """Return how many of the test images the network reads rightly."""
    guesses = network.forward(test.images).argmax(axis=-1)
    return float(np.mean(guesses == test.labels))


print(f"{len(training)} images to learn from, {len(test)} to test on")
print(f"random weights: {accuracy():.1%} right")

for epoch in range(EPOCHS):
    order = rng.permutation(len(training))
    losses = []
    for start in range(0, len(order), BATCH):
        batch = training[order[start : start + BATCH]]
        logits = network.forward(shifted(batch.images, rng), training=True)
        loss, dlogits = sl.cross_entropy_value_and_grad(logits, batch.labels)
        network.backward(dlogits)
        # The steps become smaller until the weights rest.
        adam.step(network.gradients, rate=0.006 * (1 - epoch / EPOCHS))
        losses.append(loss)
    if epoch % 10 == 0 or epoch == EPOCHS - 1:
        print(f"epoch {epoch + 1:3}: loss {np.mean(losses):.4f}")

print(f"trained: {accuracy():.1%} right")

logits = network.forward(test.images)
probabilities = sl.softmax(logits)
doubtful = probabilities.max(axis=-1).argmin()
print(f"The most doubtful image shows a {test.labels[doubtful]}. The network's shares:")
for digit, share in enumerate(probabilities[doubtful]):
    if share > 0.01:
        print(f"  {digit}: {share:6.1%}")
