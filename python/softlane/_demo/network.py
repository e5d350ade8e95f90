"""A small convolutional network in NumPy: its layers with their derivatives.

Images are of shape (n, height, width, channels). A layer's ``backward`` takes the gradient of the
loss with respect to what the layer gave, leaves those of its parameters in ``gradients``, and
returns the one with respect to what the layer got: the chain rule, from the last layer to the
first. Where that chain begins, at the logits, softlane gives loss and gradient in one call.
"""

from abc import ABC, abstractmethod
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]

# Of the nine neighbours of a pixel, itself included, from the corner above it to the left.
OFFSETS = [(row, column) for row in range(3) for column in range(3)]
CORNERS = [(row, column) for row in range(2) for column in range(2)]


class Layer(ABC):
    """What a network is made of; ``parameters`` and ``gradients`` stand in the same order."""

    def __init__(self, *parameters: Array) -> None:
        self.parameters = list(parameters)
        self.gradients: list[Array] = []

    @abstractmethod
    def forward(self, x: Array) -> Array:
        """Return what the layer makes of a batch."""

    @abstractmethod
    def backward(self, dy: Array) -> Array:
        """Return the gradient of the loss with respect to the last batch."""


class Linear(Layer):
    """Every output is a weighted sum of all inputs."""

    def __init__(self, inputs: int, outputs: int, rng: np.random.Generator) -> None:
        # He et al. (2015): so that the sums have the variance of what is summed, after ReLU.
        weight = rng.normal(scale=np.sqrt(2.0 / inputs), size=(inputs, outputs))
        super().__init__(weight, np.zeros(outputs))

    def forward(self, x: Array) -> Array:
        """Return sums of shape (n, outputs)."""
        weight, bias = self.parameters
        self.x = x
        return np.asarray(x @ weight + bias)

    def backward(self, dy: Array) -> Array:
        """Return the gradient of shape (n, inputs)."""
        self.gradients = [self.x.T @ dy, dy.sum(axis=0)]
        return np.asarray(dy @ self.parameters[0].T)


class Convolution(Layer):
    """The same weighted sum at every pixel, of its neighbourhood of 3 × 3 pixels."""

    def __init__(self, channels: int, outputs: int, rng: np.random.Generator) -> None:
        self.sums = Linear(9 * channels, outputs, rng)
        super().__init__()
        self.parameters = self.sums.parameters

    def forward(self, x: Array) -> Array:
        """Return sums of shape (n, height, width, outputs)."""
        n, height, width, channels = x.shape
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        # im2col: a row for each pixel, with its neighbourhood, so that all is one matrix product.
        columns = [padded[:, row : row + height, at : at + width] for row, at in OFFSETS]
        patches = np.concatenate(columns, axis=-1).reshape(n * height * width, 9 * channels)
        return self.sums.forward(patches).reshape(n, height, width, -1)

    def backward(self, dy: Array) -> Array:
        """Return the gradient of shape (n, height, width, channels)."""
        n, height, width, outputs = dy.shape
        dpatches = self.sums.backward(dy.reshape(-1, outputs)).reshape(n, height, width, -1)
        self.gradients = self.sums.gradients
        dpadded = np.zeros((n, height + 2, width + 2, dpatches.shape[-1] // 9), dy.dtype)
        # A pixel was in nine neighbourhoods, and gets what came back from each.
        for (row, at), dcolumn in zip(OFFSETS, np.split(dpatches, 9, axis=-1), strict=True):
            dpadded[:, row : row + height, at : at + width] += dcolumn
        return dpadded[:, 1:-1, 1:-1]


class Relu(Layer):
    """Negative numbers become 0: without it, layers of sums would be one sum."""

    def forward(self, x: Array) -> Array:
        """Return max(x, 0)."""
        self.positive = x > 0
        return np.maximum(x, 0)

    def backward(self, dy: Array) -> Array:
        """Return the gradient where x was positive, 0 elsewhere."""
        return np.asarray(dy * self.positive)


class MaxPool(Layer):
    """Of each 2 × 2 pixels the largest: half the height, half the width."""

    def forward(self, x: Array) -> Array:
        """Return the maxima, of shape (n, height / 2, width / 2, channels)."""
        self.x = x
        self.y: Array = reduce(np.maximum, [x[:, row::2, at::2] for row, at in CORNERS])
        return self.y

    def backward(self, dy: Array) -> Array:
        """Return the gradient at the pixel that was the largest, the first of equals."""
        dx = np.empty(self.x.shape, dy.dtype)
        left = dy
        for row, at in CORNERS:
            largest = self.x[:, row::2, at::2] == self.y
            dx[:, row::2, at::2] = left * largest
            left = left * ~largest
        return dx


class Flatten(Layer):
    """Pixels and channels side by side."""

    def forward(self, x: Array) -> Array:
        """Return shape (n, height · width · channels)."""
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy: Array) -> Array:
        """Return the shape that came in."""
        return dy.reshape(self.shape)


class Dropout(Layer):
    """In training, half of the numbers are left out, by chance: no other may rely on one alone."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        self.rng = rng
        self.active = False

    def forward(self, x: Array) -> Array:
        """Return twice what is kept, so that sums keep their size; all of it after training."""
        if not self.active:
            return x
        self.factor = 2 * self.rng.integers(0, 2, x.shape)
        return np.asarray(x * self.factor.astype(x.dtype))

    def backward(self, dy: Array) -> Array:
        """Return the gradient of what was kept."""
        return dy * self.factor.astype(dy.dtype) if self.active else dy


class Network:
    """Two convolutions and a linear layer: 8 × 8 grey levels in, one logit a class out."""

    def __init__(
        self, classes: int, rng: np.random.Generator, *, dtype: DTypeLike = np.float32
    ) -> None:
        self.dropout = Dropout(rng)
        self.layers: list[Layer] = [
            Convolution(1, 32, rng),
            Relu(),
            MaxPool(),
            Convolution(32, 64, rng),
            Relu(),
            MaxPool(),
            Flatten(),
            self.dropout,
            Linear(2 * 2 * 64, classes, rng),
        ]
        self.dtype = np.dtype(dtype)
        for layer in self.layers:
            layer.parameters[:] = [value.astype(dtype) for value in layer.parameters]

    @property
    def parameters(self) -> list[Array]:
        """Those of all layers; change them in place."""
        return [value for layer in self.layers for value in layer.parameters]

    @property
    def gradients(self) -> list[Array]:
        """Those that `backward` left, in the order of the parameters."""
        return [gradient for layer in self.layers for gradient in layer.gradients]

    def forward(self, images: Array, *, training: bool = False) -> Array:
        """Return the logits, of shape (n, classes), of images of shape (n, 8, 8)."""
        self.dropout.active = training
        x = images.astype(self.dtype)[..., None]
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dlogits: Array) -> None:
        """Send the gradient of the loss back through all layers."""
        for layer in reversed(self.layers):
            dlogits = layer.backward(dlogits)
