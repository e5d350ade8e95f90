"""Cross-entropy and its gradient equal their twin and their peers: options, axes, layouts."""

import itertools
from typing import Any, Literal

import mpmath
import numpy as np
import pytest

import golden
import loss_reference
import reference
from cases import DTYPES, EXACT, FLOATS, Layout, layouts, same_bits
from losses import (
    INTEGERS,
    cross_entropy,
    cross_entropy_value_and_grad,
    holds,
    labels,
    options,
    probabilities,
    twin,
    value_options,
    weights,
    without_axis,
)

pytestmark = pytest.mark.filterwarnings("error")

PLACES = [
    ((6, 7), 1),
    ((6, 7), -1),
    ((7, 6), 0),
    ((5,), 0),
    ((3, 4, 2, 3), 1),
    ((2, 3, 5), 1),
    ((2, 37), -1),
    ((3, 1), 1),
    ((1, 300), 1),
]


def both(x: Any, target: Any, axis: int = -1, **given: Any) -> tuple[Any, Any, Any]:
    """Return loss, gradient and lse; the value alone must be the same, bit for bit."""
    together = cross_entropy_value_and_grad(x, target, axis, return_lse=True, **given)
    pair = cross_entropy_value_and_grad(x, target, axis, **given)
    alone = cross_entropy(x, target, axis, **value_options(given))
    value, lse = cross_entropy(x, target, axis, return_lse=True, **value_options(given))
    loss, gradient, other_lse = together
    for v in (pair[0], alone, value):
        assert type(v) is type(loss)
        assert same_bits(np.asarray(v), np.asarray(loss))
    assert same_bits(pair[1], gradient)
    assert same_bits(np.asarray(lse), np.asarray(other_lse))
    return loss, gradient, other_lse


@pytest.mark.parametrize(("shape", "axis"), PLACES, ids=str)
def test_options(dtype: np.dtype[Any], shape: tuple[int, ...], axis: int) -> None:
    x = golden.values(shape, dtype, spread=6.0, seed=len(shape))
    count = 0
    for target, given in options(shape, axis, dtype):
        result = both(x, target, axis, **given)
        holds(result, twin(x, target, axis, **given), dtype, axis)
        if given["reduction"] != "none":
            assert isinstance(result[0], np.generic)
        count += 1
    assert count > 600


@pytest.mark.parametrize("layout", layouts(3), ids=lambda layout: layout.name)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_layouts(dtype: np.dtype[Any], layout: Layout, axis: int) -> None:
    x = golden.values((5, 6, 7), dtype)
    some = labels(without_axis(x.shape, axis), x.shape[axis])
    hot = probabilities(x.shape, dtype, axis)
    placed, placed_hot = layout.build(x), layout.build(hot)
    placed_labels = layout.build(some) if layout.min_ndim <= some.ndim else some[::-1][::-1]
    x, hot = (np.array(v, dtype, order="C") for v in (placed, placed_hot))
    for where in (None, layout.build(golden.values(x.shape, np.float32, seed=5) < 6)):
        for target, laid_out in ((some, placed_labels), (hot, placed_hot)):
            target = np.array(laid_out, target.dtype, order="C")
            for reduction in ("none", "mean"):
                given = {"where": where, "reduction": reduction}
                expected = both(x, target, axis, **given)
                result = both(placed, laid_out, axis, **given)
                for a, e in zip(result, expected, strict=True):
                    assert same_bits(np.asarray(a), np.asarray(e))


@pytest.mark.parametrize("integer", INTEGERS, ids=str)
@pytest.mark.parametrize("order", ["<", ">"])
def test_dtypes_of_labels(integer: np.dtype[Any], order: Literal["<", ">"]) -> None:
    for classes, dtype in itertools.product((3, 100), DTYPES):
        x = golden.values((20, classes), dtype)
        some = labels((20,), classes)
        expected = both(x, some, reduction="none")
        result = both(x, some.astype(integer.newbyteorder(order)), reduction="none")
        assert all(same_bits(a, e) for a, e in zip(result, expected, strict=True))
    # A bool is not a class; a list is what NumPy makes of it.
    assert same_bits(both(x, some.tolist(), reduction="none")[1], expected[1])


@pytest.mark.parametrize("integer", INTEGERS, ids=str)
def test_ignore_index_of_any_size(integer: np.dtype[Any]) -> None:
    info = np.iinfo(integer)
    x = golden.values((6, 5), np.float32)
    some = labels((6,), 5, dtype=integer)
    plain = both(x, some, reduction="none")
    for ignored in (2**70, -(2**70), int(info.max) + 1, int(info.min) - 1, 2**64, -(2**63) - 1):
        result = both(x, some, reduction="none", ignore_index=ignored)
        assert all(same_bits(a, e) for a, e in zip(result, plain, strict=True))
    for ignored in (int(info.max), int(info.min)):
        some[2] = ignored
        loss, gradient, _ = both(x, some, reduction="none", ignore_index=ignored)
        assert loss[2] == 0
        assert (gradient[2] == 0).all()


@pytest.mark.parametrize("given", EXACT, ids=lambda d: d.name)
def test_integer_logits(given: np.dtype[Any]) -> None:
    x = golden.values((6, 9), np.float64, spread=90.0).astype(np.int8).astype(given)
    for target in (labels((6,), 9), probabilities((6, 9), np.float64)):
        result = both(x, target)
        assert result[0].dtype == result[1].dtype == np.float64
        holds(result, twin(x, target), x.dtype)
        assert same_bits(result[1], both(x.astype(np.float64), target)[1])


def test_lists() -> None:
    for target in ([1, 0], [[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]]):
        x = [[0.5, 2.0, -1.0], [1.0, 2.0, 3.0]]
        weight = [1.0, 0.5, 2.0]
        result = both(x, target, weight=weight)
        holds(result, twin(x, target, weight=weight), np.dtype(np.float64))


@pytest.mark.parametrize("label", DTYPES, ids=str)
def test_dtypes_of_probabilities(dtype: np.dtype[Any], label: np.dtype[Any]) -> None:
    x, q = golden.values((6, 9), dtype), probabilities((6, 9), label)
    holds(both(x, q, weight=weights(9, label)), twin(x, q, weight=weights(9, label)), dtype)


@pytest.mark.parametrize("shape", [(0, 3), (0, 0), (2, 0, 3)])
def test_empty_batch(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    x = np.empty(shape, dtype)
    outer = shape[:-1]
    for target in (np.empty(outer, np.int32), np.empty(shape, dtype)):
        for reduction in ("mean", "sum", "none"):
            loss, gradient, lse = both(x, target, reduction=reduction)
            assert gradient.shape == shape
            assert np.shape(lse) == outer
            assert np.shape(loss) == (outer if reduction == "none" else ())
            assert (np.asarray(loss) == 0).all()


def test_where_broadcasts(dtype: np.dtype[Any]) -> None:
    x = golden.values((4, 6, 5), dtype)
    some = labels((4, 5), 2)  # the first two classes are kept by every mask
    for shape in ((6, 1), (1, 6, 5), (4, 6, 1), (6, 5)):
        where = golden.values(shape, np.float32, seed=2) < 2
        where[..., :2, :] = True
        full = np.broadcast_to(where, x.shape).copy()
        result, expected = both(x, some, 1, where=where), both(x, some, 1, where=full)
        for a, e in zip(result, expected, strict=True):
            assert same_bits(np.asarray(a), np.asarray(e))


# Peers


def test_against_torch() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    for (shape, axis), dtype in itertools.product(PLACES, (np.dtype(np.float64),)):
        if axis not in (0, 1) or (axis == 0 and len(shape) > 1):
            continue  # torch has the classes second, or alone
        x = golden.values(shape, dtype, spread=6.0)
        for target, given in options(shape, axis, dtype):
            if given.keys() & {"where", "z_loss"}:
                continue
            theirs = {k: v for k, v in given.items() if k != "dloss"}
            ignored = given.get("ignore_index", -100)
            if target.dtype.kind == "i" and given["reduction"] == "mean":
                w = given.get("weight", np.ones(shape[axis]))
                if not w[target[target != ignored]].sum():
                    continue  # all ignored: 0 here, NaN there; all of weight 0: NaN in both
            if "weight" in theirs:
                theirs["weight"] = torch.tensor(theirs["weight"])
            logits = torch.tensor(x, requires_grad=True)
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(target), **theirs)
            down = torch.tensor(np.broadcast_to(given.get("dloss", 1.0), loss.shape).copy())
            loss.backward(down)
            ours, gradient, _ = both(x, target, axis, **given)
            np.testing.assert_allclose(ours, loss.detach().numpy(), rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(gradient, logits.grad.numpy(), rtol=1e-11, atol=1e-13)


def test_against_jax() -> None:
    jax = pytest.importorskip("jax", reason="needs JAX")
    jax.config.update("jax_enable_x64", True)
    numpy = jax.numpy

    def total(x: Any, some: Any, where: Any, z: float) -> Any:
        hidden = numpy.where(where, x, -numpy.inf)
        lse = jax.nn.logsumexp(hidden, axis=-1)
        at = numpy.take_along_axis(x, some[:, None], axis=-1)[:, 0]
        return (lse - at + z * lse**2).mean()

    x, some = golden.values((7, 11), np.float64), labels((7,), 11)
    where = golden.values(x.shape, np.float32, seed=5) < 3
    where[np.arange(7), some] = True
    for z in (0.0, 1e-4, 0.5):
        value, gradient = jax.value_and_grad(total)(x, some, where, z)
        ours = both(x, some, z_loss=z, where=where)
        np.testing.assert_allclose(ours[0], value, rtol=1e-13)
        np.testing.assert_allclose(ours[1], np.asarray(gradient), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("z_loss", [0.0, 0.25])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_against_a_derivative(length: int, z_loss: float) -> None:
    """Differentiate the value itself in 50 digits, by a central difference of step 10⁻²⁰."""
    x = golden.values((length,), np.float64, spread=3.0)
    targets = probabilities((length,), np.float64)
    weight = weights(length, np.float64)
    _, gradient = cross_entropy_value_and_grad(
        x, targets, weight=weight, z_loss=z_loss, reduction="sum"
    )
    with mpmath.workdps(50):
        row = [mpmath.mpf(v) for v in x.tolist()]
        t = [mpmath.mpf(a) * mpmath.mpf(b) for a, b in zip(targets, weight, strict=True)]

        def value(logits: list[Any]) -> Any:
            lse = mpmath.log(mpmath.fsum(map(mpmath.exp, logits)))
            return (
                mpmath.fsum(a * (lse - v) for a, v in zip(t, logits, strict=True)) + z_loss * lse**2
            )

        h = mpmath.mpf(10) ** -20
        for i in range(length):
            ends = [value([v + s * h * (j == i) for j, v in enumerate(row)]) for s in (1, -1)]
            slope = float((ends[0] - ends[1]) / (2 * h))
            assert abs(gradient[i] - slope) <= 1e-14 * max(1, float(sum(t)))


def test_the_twin_against_mpmath() -> None:
    for dtype in FLOATS:
        for length, spread in itertools.product((1, 2, 17), (1.0, 30.0)):
            x = golden.values((4, length), dtype, spread=spread)
            t = probabilities((4, length), dtype)
            for z in (0.0, 0.25):
                result = loss_reference.cross_entropy(x, t, reduction="none", z_loss=z)
                for i in range(4):
                    loss, gradient, lse = loss_reference.cross_entropy_row(x[i], t[i].tolist(), z)
                    for ours, exact, terms in (
                        (result.loss[i], [loss], result.loss_terms[i]),
                        (result.gradient[i], gradient, result.gradient_terms[i]),
                        (result.lse[i], [lse], np.abs(result.lse[i])),
                    ):
                        wide = reference.from_mpmath(exact, dtype)
                        eps = np.finfo(reference.wider(dtype)).eps
                        assert (np.abs(np.ravel(ours) - wide) <= 40 * eps * terms).all()
