"""ONNX's own test cases of Softmax, LogSoftmax and ReduceLogSumExp, run on softlane's functions.

The cases of the current operators are made by the onnx package; those of the first version, where
the axis and all after it are one, are the models exported from PyTorch that it carries.
"""

import importlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reference
import softlane
from cases import SLACK
from reference import Array

onnx = pytest.importorskip("onnx", reason="needs the onnx package")

NODES = "onnx.backend.test.case.node"
MODULES = ("softmax", "logsoftmax", "reduce_log_sum_exp")
OPERATORS = {
    ("Softmax",): "softmax",
    ("Neg", "Softmax"): "softmin",
    ("LogSoftmax",): "log_softmax",
    ("ReduceLogSumExp",): "logsumexp",
}
TIGHT = 2.0  # ULP


@dataclass(frozen=True)
class Case:
    """One model of a single operator, with its inputs, results and tolerance."""

    name: str
    model: Any
    data: Sequence[tuple[Sequence[Array], Sequence[Array]]]
    rtol: float
    atol: float

    @property
    def function(self) -> str | None:
        """The function of softlane that does what the model does, if one does."""
        return OPERATORS.get(tuple(n.op_type for n in self.model.graph.node))

    def options(self, inputs: Sequence[Array]) -> dict[str, Any]:
        """Return the node's attributes, and inputs but the first, as softlane's options."""
        node = self.model.graph.node[-1]
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        version = next(o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx"))
        ndim = inputs[0].ndim
        if self.function != "logsumexp":
            if version >= 13:
                return {"axis": given.get("axis", -1)}
            return {"axis": tuple(range(given.get("axis", 1) % ndim, ndim))}
        axes = inputs[1].tolist() if len(inputs) > 1 else given.get("axes", [])
        every = () if given.get("noop_with_empty_axes", 0) else None
        return {"axis": tuple(axes) or every, "keepdims": bool(given.get("keepdims", 1))}


def generated() -> Iterator[Case]:
    """Yield the cases the onnx package makes; each operator has a module of them."""
    with warnings.catch_warnings(action="ignore"):  # they take the logarithm of 0, to name one
        for name in MODULES:
            importlib.import_module(f"{NODES}.{name}")
    yield from _of_ours(importlib.import_module(NODES)._NodeTestCases)


def _of_ours(found: Sequence[Any]) -> Iterator[Case]:
    for case in found:
        ours = Case(case.name, case.model, case.data_sets, case.rtol, case.atol)
        # Expanded ones are the same case, spelt in other operators.
        if ours.function and "_expanded" not in ours.name:
            yield ours


def exported() -> Iterator[Case]:
    """Yield the cases the onnx package carries as files."""
    folder = Path(importlib.import_module("onnx.backend.test").__file__ or "").parent / "data"
    for path in sorted(folder.glob("pytorch-*/*/model.onnx")):
        data = [
            (_tensors(group, "input"), _tensors(group, "output"))
            for group in sorted(path.parent.glob("test_data_set_*"))
        ]
        case = Case(f"{path.parent.name} exported", onnx.load(path), data, rtol=1e-3, atol=1e-7)
        if case.function:
            yield case


def _tensors(folder: Path, kind: str) -> list[Array]:
    paths = sorted(folder.glob(f"{kind}_*.pb"))
    tensors = [onnx.TensorProto.FromString(path.read_bytes()) for path in paths]
    return [onnx.numpy_helper.to_array(tensor) for tensor in tensors]


CASES = [*generated(), *exported()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.removeprefix("test_"))
def test_case(case: Case) -> None:
    assert case.function
    assert case.data
    for inputs, (expected,) in case.data:
        options = case.options(inputs)
        actual = getattr(softlane, case.function)(inputs[0], **options)
        assert actual.dtype == expected.dtype
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=case.rtol, atol=case.atol)
        exact = getattr(reference, case.function)(inputs[0], **options)
        assert reference.error_by_entry(np.asarray(actual), exact) <= TIGHT + SLACK


@pytest.mark.parametrize("function", ["softmax", "log_softmax", "logsumexp"])
def test_every_operator_has_cases(function: str) -> None:
    assert any(case.function == function for case in CASES)


@pytest.mark.slow
def test_no_case_elsewhere() -> None:
    with warnings.catch_warnings(action="ignore"):
        everything = importlib.import_module(NODES).collect_testcases(None)
    assert {case.name for case in _of_ours(everything)} <= {case.name for case in CASES}
