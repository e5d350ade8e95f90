"""ONNX's own test cases of SoftmaxCrossEntropyLoss and NegativeLogLikelihoodLoss.

NegativeLogLikelihoodLoss takes log-probabilities as they come, normalised or not. The loss of one
row is then −x[t], which is softlane's cross-entropy less the logarithm of the row's sum.
"""

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import softlane
from reference import Array

onnx = pytest.importorskip("onnx", reason="needs the onnx package")

NODES = "onnx.backend.test.case.node"
OPERATORS = ("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")


def generated() -> list[Any]:
    """Return the cases that the onnx package makes, but those spelt in other operators."""
    with warnings.catch_warnings(action="ignore"):
        for name in ("softmax_cross_entropy_loss", "negativeloglikelihoodloss"):
            importlib.import_module(f"{NODES}.{name}")
    found = importlib.import_module(NODES)._NodeTestCases
    return [
        case
        for case in found
        if case.model.graph.node[-1].op_type in OPERATORS and "_expanded" not in case.name
    ]


CASES = generated()


def softmax_cross_entropy_loss(inputs: Sequence[Array], **given: Any) -> list[Array]:
    x, labels, *weight = inputs
    loss = softlane.cross_entropy(x, labels, 1, weight=weight[0] if weight else None, **given)
    return [np.asarray(loss), softlane.log_softmax(x, axis=1)]


def negative_log_likelihood_loss(
    inputs: Sequence[Array], reduction: str = "mean", ignore_index: int = -100
) -> list[Array]:
    x, labels, *weight = inputs
    counted = labels != ignore_index
    w = weight[0] if weight else np.ones(x.shape[1], x.dtype)
    of_rows = np.where(counted, w[np.where(counted, labels, 0)], 0)
    loss, lse = softlane.cross_entropy(
        x, labels, 1, weight=w, ignore_index=ignore_index, reduction="none", return_lse=True
    )
    losses: Array = loss - of_rows * lse
    if reduction == "none":
        return [losses]
    return [losses.sum() / (of_rows.sum() if reduction == "mean" else 1)]


def test_there_are_cases() -> None:
    names = {case.model.graph.node[-1].op_type for case in CASES}
    assert names == set(OPERATORS)
    assert len(CASES) >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.removeprefix("test_"))
def test_case(case: Any) -> None:
    node = case.model.graph.node[-1]
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    given["reduction"] = given.get("reduction", b"mean").decode()
    is_softmax = node.op_type == OPERATORS[0]
    function: Any = softmax_cross_entropy_loss if is_softmax else negative_log_likelihood_loss
    for inputs, expected in case.data_sets:
        actual = function(inputs, **given)
        for ours, theirs in zip(actual, expected, strict=False):
            theirs = np.asarray(theirs)
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=max(case.rtol, 1e-5), atol=1e-5)
