"""Tensors of PyTorch, as far as it can be told without PyTorch."""

import sys
import types
from typing import Any

import numpy as np
import pytest

import softlane as sl
from cases import same_bits
from reference import Array


class Tensor:
    """What PyTorch's tensors do here."""

    def __init__(self, array: Array, dtype: str = "torch.float32", is_neg: bool = False) -> None:
        self.array, self.dtype, self.negative = array, dtype, is_neg

    def __dlpack__(self, **options: Any) -> Any:
        if self.dtype == "torch.bfloat16":
            raise RuntimeError("Unsupported dtype in DLTensor.")
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def is_neg(self) -> bool:
        return self.negative

    def resolve_neg(self) -> Array:
        return -self.array

    def view(self, dtype: str) -> Array:
        assert dtype == "torch.int16"
        return self.array.view(np.int16)


def test_tensors_whose_sign_is_a_flag() -> None:
    x = np.array([1.0, 2.0, 3.0], np.float32)
    assert same_bits(sl.softmax(Tensor(x)), sl.softmax(x))
    assert same_bits(sl.softmax(Tensor(x, is_neg=True)), sl.softmax(-x))


def test_tensors_of_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="needs ml_dtypes")
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(int16="torch.int16"))
    x = np.array([1.0, 2.0, 3.0], ml_dtypes.bfloat16)
    assert same_bits(sl.softmax(Tensor(x, "torch.bfloat16")), sl.softmax(x))
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(
        TypeError, match=r"^x has dtype torch\.bfloat16, which takes the package ml_d"
    ):
        sl.softmax(Tensor(x, "torch.bfloat16"))
