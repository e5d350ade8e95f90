"""Why argmax cannot be trained and softmax can: the loss along one weight, both ways.

What counts in the end is how many images are read wrongly. But that number changes in steps, and
between the steps its derivative is 0: no hint where to go. Cross-entropy has a slope everywhere.

    python examples/04_why_not_argmax.py
"""

import numpy as np

import softlane as sl
from softlane._demo import data
from softlane._demo.network import Network
from softlane._demo.training import train

# A network that has barely begun to learn what tells an 8 from a 3, and 16 images.
training, test = data.load()
digits = training[np.isin(training.labels, (3, 8))]
labels = (digits.labels == 8).astype(int)
rng = np.random.default_rng(8)
network = Network(2, rng, dtype=np.float64)
list(train(network, digits.images, labels, rng, epochs=1, rate=0.001))
images, labels = digits.images[:16], labels[:16]
matrix = network.layers[-1].parameters[0]


def losses() -> tuple[int, float, np.ndarray]:
    """Return how many are wrong by argmax, the cross-entropy, and its gradient by the matrix."""
    logits = network.forward(images)
    loss, dlogits = sl.cross_entropy_value_and_grad(logits, labels)
    network.backward(dlogits)
    wrong = int((logits.argmax(axis=-1) != labels).sum())
    return wrong, float(loss), network.layers[-1].gradients[0]


# The weight that the loss depends on most.
slopes = losses()[2]
place = np.unravel_index(np.abs(slopes).argmax(), slopes.shape)
middle, step = matrix[place], 1e-6

print(f"{'weight':>8} {'wrong':>6} {'its slope':>10} {'cross-entropy':>14} {'its slope':>10}")
for weight in middle + np.linspace(-0.8, 0.8, 17):
    matrix[place] = weight + step
    further = losses()[0]
    matrix[place] = weight
    wrong, loss, slopes = losses()
    print(
        f"{weight:8.2f} {wrong:6} {(further - wrong) / step:10.2f} {loss:14.4f} "
        f"{slopes[place]:10.4f}"
    )
