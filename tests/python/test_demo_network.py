"""The network of the demo and the examples: its derivatives, and the little it needs."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import processes
import softlane as sl
from softlane._demo.network import (
    Convolution,
    Dropout,
    Flatten,
    Layer,
    Linear,
    MaxPool,
    Network,
    Relu,
)
from softlane._demo.training import Adam, Loss, shifted, train

Array = NDArray[Any]
STEP = 1e-6


def differences(function: Any, x: Array, count: int, rng: np.random.Generator) -> Any:
    """Yield entries of ``x`` and the central differences of a function of it."""
    for flat in rng.choice(x.size, min(count, x.size), replace=False):
        place = np.unravel_index(flat, x.shape)
        before = x[place]
        x[place] = before + STEP
        above = function()
        x[place] = before - STEP
        below = function()
        x[place] = before
        yield place, (above - below) / (2 * STEP)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Linear(6, 4, np.random.default_rng(0)), (3, 6)),
        (Convolution(2, 3, np.random.default_rng(0)), (2, 4, 6, 2)),
        (Relu(), (3, 5)),
        (MaxPool(), (2, 4, 6, 3)),
        (Flatten(), (2, 2, 3, 4)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Layer) else "",
)
def test_derivatives_of_a_layer(layer: Layer, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=shape)
    dy = rng.normal(size=layer.forward(x).shape)

    def value() -> float:
        return float(np.vdot(layer.forward(x), dy))

    value()
    gradients = [layer.backward(dy), *layer.gradients]
    for values, gradient in zip([x, *layer.parameters], gradients, strict=True):
        assert gradient.shape == values.shape
        for place, difference in differences(value, values, 40, rng):
            assert gradient[place] == pytest.approx(difference, abs=1e-7)


@pytest.mark.parametrize("kind", ["classes", "attributes"])
def test_derivatives_of_the_network(kind: str) -> None:
    loss: Loss
    rng = np.random.default_rng(2)
    network = Network(3, rng, dtype=np.float64)
    # Without biases, and on blank paper, ReLU would stand at its kink.
    for parameter in network.parameters:
        parameter += rng.normal(scale=0.1, size=parameter.shape)
    images = rng.random((5, 8, 8))
    if kind == "classes":
        targets, loss = rng.integers(0, 3, 5), sl.cross_entropy_value_and_grad
    else:
        targets, loss = rng.integers(0, 2, (5, 3)), sl.binary_cross_entropy_value_and_grad

    def value() -> float:
        return float(loss(network.forward(images), targets)[0])

    network.backward(loss(network.forward(images), targets)[1])
    gradients = [gradient.copy() for gradient in network.gradients]
    assert [g.shape for g in gradients] == [p.shape for p in network.parameters]
    for parameter, gradient in zip(network.parameters, gradients, strict=True):
        assert np.abs(gradient).max() > 1e-4
        for place, difference in differences(value, parameter, 25, rng):
            assert gradient[place] == pytest.approx(difference, abs=1e-7)


def test_convolution_is_the_sum_over_the_neighbourhood() -> None:
    rng = np.random.default_rng(3)
    layer = Convolution(2, 3, rng)
    weight, bias = layer.parameters
    bias += rng.normal(size=3)
    x = rng.normal(size=(1, 5, 4, 2))
    y = layer.forward(x)
    kernel = weight.reshape(3, 3, 2, 3)  # row, column, channel, output
    for row in range(5):
        for column in range(4):
            expected = bias.copy()
            for i in range(3):
                for j in range(3):
                    at = row + i - 1, column + j - 1
                    if 0 <= at[0] < 5 and 0 <= at[1] < 4:
                        expected += x[0, at[0], at[1]] @ kernel[i, j]
            np.testing.assert_allclose(y[0, row, column], expected, rtol=1e-12)


def test_dropout_keeps_the_size_of_sums_and_sends_back_what_it_kept() -> None:
    layer = Dropout(np.random.default_rng(4))
    x = np.ones((100, 100), np.float32)
    assert layer.forward(x) is x
    layer.active = True
    y = layer.forward(x)
    assert y.dtype == np.float32
    assert set(np.unique(y)) == {0.0, 2.0}
    assert y.mean() == pytest.approx(1.0, abs=0.05)
    np.testing.assert_array_equal(layer.backward(x), y)


def test_a_network_computes_in_its_dtype() -> None:
    network = Network(10, np.random.default_rng(5))
    logits = network.forward(np.zeros((2, 8, 8)), training=True)
    _, dlogits = sl.cross_entropy_value_and_grad(logits, [0, 1])
    network.backward(dlogits)
    arrays = [logits, *network.parameters, *network.gradients]
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}


def test_adam_goes_downhill_by_the_rate() -> None:
    # However steep it is.
    x = np.array([3.0, -20.0])
    adam = Adam([x])
    adam.step([np.array([1.0, -1000.0])], rate=0.1)
    np.testing.assert_allclose(x, [2.9, -19.9], rtol=1e-6)
    for _ in range(4000):
        adam.step([2 * x], rate=0.1)
    np.testing.assert_allclose(x, 0, atol=1e-2)


def test_shifts_are_by_a_pixel_at_most() -> None:
    images = np.zeros((300, 8, 8), np.float32)
    images[:, 3, 4] = 1
    moved = shifted(images, np.random.default_rng(6))
    _, rows, columns = np.nonzero(moved)
    assert set(rows) == {3}
    assert set(columns) == {3, 4, 5}
    assert len(columns) == 300


def test_training_is_the_same_each_time() -> None:
    def losses() -> list[float]:
        rng = np.random.default_rng(7)
        images, labels = rng.random((50, 8, 8)), rng.integers(0, 2, 50)
        return list(train(Network(2, rng), images, labels, rng, epochs=3))

    assert losses() == losses()


def test_the_network_needs_numpy_alone() -> None:
    script = "import sys, softlane._demo.training; print(*sys.modules)"
    loaded = set(processes.output(script).split())
    assert not loaded & {"matplotlib", "rich", "scipy", "sklearn"}
