"""Softmax, its logarithms and its gradients for NumPy arrays.

Three promises, each of them tested:

exact
    Every probability and log-probability is within 2 ULP (units in the last place) of the exact
    result, small ones and large ones alike.
reproducible
    The bits of a row depend on that row alone: not on the instruction set, the number of threads,
    the batch around it, the axis or the strides.
special values
    NaN, infinities and empty rows have documented results, and nothing ever warns.

Any array goes in, whatever its shape, strides or byte order; the same floating dtype comes out.

>>> import numpy as np
>>> import softlane as sl
>>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 0.0, -np.inf]])
>>> sl.softmax(logits)
array([[0.66524096, 0.24472847, 0.09003057],
       [0.5       , 0.5       , 0.        ]])

Write into memory that is already there, divide by a temperature at no cost, choose any axis:

>>> out = np.empty_like(logits)
>>> sl.softmax(logits, temperature=2.0, out=out) is out
True
>>> sl.softmax(np.zeros((3, 4), np.float32), axis=0)[:, 0]
array([0.33333334, 0.33333334, 0.33333334], dtype=float32)

The logarithm keeps its digits next to certainty. ``logsumexp`` runs over the whole array unless
told otherwise, as SciPy's does; everything else over the last axis:

>>> print(sl.log_softmax([0.0, -40.0]))
[-4.24835426e-18 -4.00000000e+01]
>>> sl.logsumexp(logits, axis=-1)
array([2.40760596, 0.69314718])

Say which entries count; what is hidden may be NaN. ``softmin`` is for costs, and half precision
stays half:

>>> distances = np.array([2.0, 2.0, np.nan], np.float16)
>>> sl.softmin(distances, where=[True, True, False])
array([0.5, 0.5, 0. ], dtype=float16)

Derivatives take the probabilities, so that the forward pass is not computed twice:

>>> probabilities = sl.softmax([0.0, 0.0])
>>> sl.softmax_vjp(probabilities, [1.0, 0.0])
array([ 0.25, -0.25])

See ``help(softlane.softmax)`` for the whole story, and ``softlane demo`` for a picture of it.
"""

from softlane._core import (
    __version__,
    binary_cross_entropy,
    binary_cross_entropy_value_and_grad,
    cross_entropy,
    cross_entropy_value_and_grad,
    get_num_threads,
    kl_divergence,
    kl_divergence_value_and_grad,
    log_sigmoid,
    log_softmax,
    log_softmax_jvp,
    log_softmax_vjp,
    logsumexp,
    logsumexp_vjp,
    logsumexp_vjp_b,
    set_num_threads,
    show_config,
    sigmoid,
    softmax,
    softmax_hvp,
    softmax_jacobian,
    softmax_jvp,
    softmax_temperature_vjp,
    softmax_vjp,
    softmin,
    threads,
)
from softlane._linear import linear_cross_entropy, linear_cross_entropy_value_and_grad
from softlane._state import LogSumExpState

__all__ = [
    "LogSumExpState",
    "__version__",
    "binary_cross_entropy",
    "binary_cross_entropy_value_and_grad",
    "cross_entropy",
    "cross_entropy_value_and_grad",
    "get_num_threads",
    "kl_divergence",
    "kl_divergence_value_and_grad",
    "linear_cross_entropy",
    "linear_cross_entropy_value_and_grad",
    "log_sigmoid",
    "log_softmax",
    "log_softmax_jvp",
    "log_softmax_vjp",
    "logsumexp",
    "logsumexp_vjp",
    "logsumexp_vjp_b",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "softmax",
    "softmax_hvp",
    "softmax_jacobian",
    "softmax_jvp",
    "softmax_temperature_vjp",
    "softmax_vjp",
    "softmin",
    "threads",
]
