"""A network that knows two digits only is sure of one of them, whatever it sees.

Softmax shares out 100% among the classes there are. A class for everything else takes what
belongs to neither, as far as it has learnt from such images.

    python examples/02_neither.py [epochs]
"""

import sys

import numpy as np

import softlane as sl
from softlane._demo import data
from softlane._demo.network import Network
from softlane._demo.training import train

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 30
FIRST, SECOND = 4, 9

training, test = data.load()
others = test[~np.isin(test.labels, (FIRST, SECOND))]

# Two classes: 0 stands for the first digit, 1 for the second. The other digits are left out.
pair = training[np.isin(training.labels, (FIRST, SECOND))]
rng = np.random.default_rng(0)
network = Network(2, rng)
losses = list(
    train(network, pair.images, (pair.labels == SECOND).astype(int), rng, epochs=2 * EPOCHS)
)
print(f"{FIRST} or {SECOND}? Loss at the end: {losses[-1]:.4f}")
probabilities = sl.softmax(network.forward(others.images))
sure = np.mean(probabilities.max(axis=-1) > 0.9)
print(f"  of {len(others)} images of neither it is more than 90% sure of {sure:.0%}")

# The same with a third class, 2, for all other digits.
rng = np.random.default_rng(0)
network = Network(3, rng)
classes = np.select([training.labels == FIRST, training.labels == SECOND], [0, 1], default=2)
losses = list(train(network, training.images, classes, rng, epochs=EPOCHS))
print(f"{FIRST}, {SECOND} or neither? Loss at the end: {losses[-1]:.4f}")
probabilities = sl.softmax(network.forward(others.images))
wrong = np.mean(probabilities[:, :2].max(axis=-1) > 0.9)
print(f"  more than 90% sure of {FIRST} or {SECOND}: {wrong:.0%}")
print(f"  called neither: {np.mean(probabilities.argmax(axis=-1) == 2):.0%}")

# It has learnt what other digits look like, not what everything else does.
noise = rng.random((200, 8, 8))
called = sl.softmax(network.forward(noise)).argmax(axis=-1) == 2
print(f"  of pure noise, which it has never seen: {np.mean(called):.0%}")
