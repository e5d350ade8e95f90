"""Labels that do not exclude each other: sigmoid gives each its own probability.

An 8 is even, has loops and is above 4, all at once; a 1 is none of it. The probabilities of
softmax add up to 1, so that it can say neither.

    python examples/03_softmax_or_sigmoid.py [epochs]
"""

import sys

import numpy as np

import softlane as sl
from softlane._demo import data
from softlane._demo.network import Network
from softlane._demo.training import train

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 30
ATTRIBUTES = {
    "even": {0, 2, 4, 6, 8},
    "has a loop": {0, 6, 8, 9},
    "above 4": {5, 6, 7, 8, 9},
}

training, test = data.load()
has = np.array([[digit in those for those in ATTRIBUTES.values()] for digit in range(10)])
targets = has[training.labels].astype(np.float32)

# Sigmoid: a yes or no each, and the sum of three losses of two classes.
rng = np.random.default_rng(0)
network = Network(3, rng)
loss_of = sl.binary_cross_entropy_value_and_grad
losses = list(train(network, training.images, targets, rng, epochs=EPOCHS, loss=loss_of))
print(f"sigmoid: loss {losses[-1]:.4f}")
by_sigmoid = sl.sigmoid(network.forward(test.images))

# Softmax: the best it can be taught is equal shares for what is true. Where nothing is, there is
# nothing to teach.
some = targets.any(axis=-1)
shares = targets[some] / targets[some].sum(axis=-1, keepdims=True)
rng = np.random.default_rng(0)
network = Network(3, rng)
losses = list(train(network, training.images[some], shares, rng, epochs=EPOCHS))
print(f"softmax: loss {losses[-1]:.4f}")
by_softmax = sl.softmax(network.forward(test.images))

print(f"\n{'mean over the':<16}{'softmax':^36}{'sigmoid':^36}")
print(f"{'images of a':<16}" + "".join(f"{name:>12}" for name in [*ATTRIBUTES] * 2))
for digit in (8, 6, 2, 1):
    shown = test.labels == digit
    means = [*by_softmax[shown].mean(axis=0), *by_sigmoid[shown].mean(axis=0)]
    print(f"{digit:<16}" + "".join(f"{mean:12.0%}" for mean in means))

right = ((by_sigmoid > 0.5) == has[test.labels]).all(axis=-1)
print(f"\nRight in all three by sigmoid: {right.mean():.1%} of {len(test)} unseen digits")
