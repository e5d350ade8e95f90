# Kept by hand and held to the extension by stubtest. The docstrings live in Rust.

from collections.abc import Sequence
from types import TracebackType
from typing import (
    Any,
    Final,
    Literal,
    Protocol,
    Self,
    SupportsFloat,
    SupportsIndex,
    TypeAlias,
    TypedDict,
    TypeVar,
    final,
    overload,
    type_check_only,
)

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

# One name or parameter a line would make this four times as long.
# fmt: off
__all__ = [
    "__version__", "_array", "_output", "_state_empty", "_state_merge", "_state_normalise",
    "_state_result", "_state_update", "binary_cross_entropy",
    "binary_cross_entropy_value_and_grad", "cross_entropy", "cross_entropy_value_and_grad",
    "get_num_threads", "kl_divergence", "kl_divergence_value_and_grad", "log_sigmoid",
    "log_softmax", "log_softmax_jvp", "log_softmax_vjp", "logsumexp", "logsumexp_vjp",
    "logsumexp_vjp_b", "set_num_threads", "show_config", "sigmoid", "softmax", "softmax_hvp",
    "softmax_jacobian", "softmax_jvp", "softmax_temperature_vjp", "softmax_vjp", "softmin",
    "threads",
]

# bfloat16 is ml_dtypes' own and no np.floating: what may be one of it is Any.
_Float = TypeVar("_Float", np.float16, np.float32, np.float64)
_Short = TypeVar("_Short", np.float16, np.float32)
_Out = TypeVar("_Out", bound=NDArray[Any])
_Typed: TypeAlias = NDArray[_Float] | _Float
# Of what decides how many results there are, or of what shape.
_No: TypeAlias = Literal[False]
_Yes: TypeAlias = Literal[True]

_Axis: TypeAlias = SupportsIndex | tuple[SupportsIndex, ...] | None
_Real: TypeAlias = SupportsFloat | SupportsIndex
_Count: TypeAlias = SupportsIndex | None
_DType: TypeAlias = DTypeLike | None
_Isa: TypeAlias = Literal["avx512", "avx2", "portable"]

# What becomes float64: integers and bool, and Python's own numbers however nested.
_Exact: TypeAlias = NDArray[np.integer[Any] | np.bool_] | np.integer[Any] | np.bool_
_Numbers: TypeAlias = float | Sequence[_Numbers]

@type_check_only
class _SupportsDLPack(Protocol):
    def __dlpack__(self) -> object: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...

_Array: TypeAlias = ArrayLike | _SupportsDLPack
_Maybe: TypeAlias = _Array | None

# What has losses of float32, and of float64.
_Narrow: TypeAlias = NDArray[np.float16 | np.float32] | np.float16 | np.float32
_Wide: TypeAlias = NDArray[np.float64] | np.float64 | _Exact | _Numbers
_Reduced: TypeAlias = Literal["mean", "sum"]

@type_check_only
class _Config(TypedDict):
    version: str
    isa: _Isa
    isas: list[_Isa]
    num_threads: int

__version__: Final[str]

@overload
def softmax(
    x: _Array, /, axis: _Axis = -1, *, where: _Maybe = None, temperature: _Real = 1.0, out: _Out,
    dtype: _DType = None, num_threads: _Count = None,
) -> _Out: ...
@overload
def softmax(
    x: _Array, /, axis: _Axis = -1, *, where: _Maybe = None, temperature: _Real = 1.0,
    out: None = None, dtype: type[_Float] | np.dtype[_Float], num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def softmax(
    x: _Typed[_Float], /, axis: _Axis = -1, *, where: _Maybe = None, temperature: _Real = 1.0,
    out: None = None, dtype: None = None, num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def softmax(
    x: _Exact | _Numbers, /, axis: _Axis = -1, *, where: _Maybe = None, temperature: _Real = 1.0,
    out: None = None, dtype: None = None, num_threads: _Count = None,
) -> NDArray[np.float64]: ...
@overload
def softmax(
    x: _Array, /, axis: _Axis = -1, *, where: _Maybe = None, temperature: _Real = 1.0,
    out: None = None, dtype: _DType = None, num_threads: _Count = None,
) -> NDArray[Any]: ...
@overload
def log_softmax(
    x: _Array, /, axis: _Axis = -1, *, where: _Maybe = None, temperature: _Real = 1.0, out: _Out,
    dtype: _DType = None, num_threads: _Count = None,
) -> _Out: ...
@overload
def log_softmax(
    x: _Array, /, axis: _Axis = -1, *, where: _Maybe = None, temperature: _Real = 1.0,
    out: None = None, dtype: type[_Float] | np.dtype[_Float], num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def log_softmax(
    x: _Typed[_Float], /, axis: _Axis = -1, *, where: _Maybe = None, temperature: _Real = 1.0,
    out: None = None, dtype: None = None, num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def log_softmax(
    x: _Exact | _Numbers, /, axis: _Axis = -1, *, where: _Maybe = None, temperature: _Real = 1.0,
    out: None = None, dtype: None = None, num_threads: _Count = None,
) -> NDArray[np.float64]: ...
@overload
def log_softmax(
    x: _Array, /, axis: _Axis = -1, *, where: _Maybe = None, temperature: _Real = 1.0,
    out: None = None, dtype: _DType = None, num_threads: _Count = None,
) -> NDArray[Any]: ...
@overload
def softmin(
    x: _Array, /, axis: _Axis = -1, *, where: _Maybe = None, temperature: _Real = 1.0, out: _Out,
    dtype: _DType = None, num_threads: _Count = None,
) -> _Out: ...
@overload
def softmin(
    x: _Array, /, axis: _Axis = -1, *, where: _Maybe = None, temperature: _Real = 1.0,
    out: None = None, dtype: type[_Float] | np.dtype[_Float], num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def softmin(
    x: _Typed[_Float], /, axis: _Axis = -1, *, where: _Maybe = None, temperature: _Real = 1.0,
    out: None = None, dtype: None = None, num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def softmin(
    x: _Exact | _Numbers, /, axis: _Axis = -1, *, where: _Maybe = None, temperature: _Real = 1.0,
    out: None = None, dtype: None = None, num_threads: _Count = None,
) -> NDArray[np.float64]: ...
@overload
def softmin(
    x: _Array, /, axis: _Axis = -1, *, where: _Maybe = None, temperature: _Real = 1.0,
    out: None = None, dtype: _DType = None, num_threads: _Count = None,
) -> NDArray[Any]: ...
@overload
def logsumexp(
    x: _Array, /, axis: _Axis = None, *, b: _Array | None = None, where: _Maybe = None,
    keepdims: bool = False, return_sign: _No = False, out: _Out, dtype: _DType = None,
    num_threads: _Count = None,
) -> _Out: ...
@overload
def logsumexp(
    x: _Typed[_Float], /, axis: None = None, *, b: _Typed[_Float] | None = None,
    where: _Maybe = None, keepdims: _No = False, return_sign: _No = False, out: None = None,
    dtype: None = None, num_threads: _Count = None,
) -> _Float: ...
@overload
def logsumexp(
    x: _Typed[_Float], /, axis: _Axis = None, *, b: _Typed[_Float] | None = None,
    where: _Maybe = None, keepdims: _Yes, return_sign: _No = False, out: None = None,
    dtype: None = None, num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def logsumexp(
    x: _Exact | _Numbers, /, axis: None = None, *, b: _Exact | _Numbers | None = None,
    where: _Maybe = None, keepdims: _No = False, return_sign: _No = False, out: None = None,
    dtype: None = None, num_threads: _Count = None,
) -> np.float64: ...
@overload
def logsumexp(
    x: _Exact | _Numbers, /, axis: _Axis = None, *, b: _Exact | _Numbers | None = None,
    where: _Maybe = None, keepdims: _Yes, return_sign: _No = False, out: None = None,
    dtype: None = None, num_threads: _Count = None,
) -> NDArray[np.float64]: ...
@overload
def logsumexp(
    x: _Array, /, axis: _Axis = None, *, b: _Array | None = None, where: _Maybe = None,
    keepdims: bool = False, return_sign: _No = False, out: None = None, dtype: _DType = None,
    num_threads: _Count = None,
) -> Any: ...
@overload
def logsumexp(
    x: _Array, /, axis: _Axis = None, *, b: _Array | None = None, where: _Maybe = None,
    keepdims: bool = False, return_sign: _Yes, out: _Out, dtype: _DType = None,
    num_threads: _Count = None,
) -> tuple[_Out, Any]: ...
@overload
def logsumexp(
    x: _Typed[_Float], /, axis: None = None, *, b: _Typed[_Float] | None = None,
    where: _Maybe = None, keepdims: _No = False, return_sign: _Yes, out: None = None,
    dtype: None = None, num_threads: _Count = None,
) -> tuple[_Float, _Float]: ...
@overload
def logsumexp(
    x: _Typed[_Float], /, axis: _Axis = None, *, b: _Typed[_Float] | None = None,
    where: _Maybe = None, keepdims: _Yes, return_sign: _Yes, out: None = None, dtype: None = None,
    num_threads: _Count = None,
) -> tuple[NDArray[_Float], NDArray[_Float]]: ...
@overload
def logsumexp(
    x: _Exact | _Numbers, /, axis: None = None, *, b: _Exact | _Numbers | None = None,
    where: _Maybe = None, keepdims: _No = False, return_sign: _Yes, out: None = None,
    dtype: None = None, num_threads: _Count = None,
) -> tuple[np.float64, np.float64]: ...
@overload
def logsumexp(
    x: _Exact | _Numbers, /, axis: _Axis = None, *, b: _Exact | _Numbers | None = None,
    where: _Maybe = None, keepdims: _Yes, return_sign: _Yes, out: None = None, dtype: None = None,
    num_threads: _Count = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
@overload
def logsumexp(
    x: _Array, /, axis: _Axis = None, *, b: _Array | None = None, where: _Maybe = None,
    keepdims: bool = False, return_sign: _Yes, out: None = None, dtype: _DType = None,
    num_threads: _Count = None,
) -> tuple[Any, Any]: ...
@overload
def logsumexp(
    x: _Array, /, axis: _Axis = None, *, b: _Array | None = None, where: _Maybe = None,
    keepdims: bool = False, return_sign: bool, out: NDArray[Any] | None = None,
    dtype: _DType = None, num_threads: _Count = None,
) -> Any: ...
@overload
def log_softmax_vjp(
    logp: _Array, dy: _Array, /, axis: _Axis = -1, *, temperature: _Real = 1.0, out: _Out,
    num_threads: _Count = None,
) -> _Out: ...
@overload
def log_softmax_vjp(
    logp: _Typed[_Float], dy: _Typed[_Float], /, axis: _Axis = -1, *, temperature: _Real = 1.0,
    out: None = None, num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def log_softmax_vjp(
    logp: _Exact | _Numbers, dy: _Exact | _Numbers, /, axis: _Axis = -1, *,
    temperature: _Real = 1.0, out: None = None, num_threads: _Count = None,
) -> NDArray[np.float64]: ...
@overload
def log_softmax_vjp(
    logp: _Array, dy: _Array, /, axis: _Axis = -1, *, temperature: _Real = 1.0, out: None = None,
    num_threads: _Count = None,
) -> NDArray[Any]: ...
@overload
def log_softmax_jvp(
    logp: _Array, dx: _Array, /, axis: _Axis = -1, *, temperature: _Real = 1.0, out: _Out,
    num_threads: _Count = None,
) -> _Out: ...
@overload
def log_softmax_jvp(
    logp: _Typed[_Float], dx: _Typed[_Float], /, axis: _Axis = -1, *, temperature: _Real = 1.0,
    out: None = None, num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def log_softmax_jvp(
    logp: _Exact | _Numbers, dx: _Exact | _Numbers, /, axis: _Axis = -1, *,
    temperature: _Real = 1.0, out: None = None, num_threads: _Count = None,
) -> NDArray[np.float64]: ...
@overload
def log_softmax_jvp(
    logp: _Array, dx: _Array, /, axis: _Axis = -1, *, temperature: _Real = 1.0, out: None = None,
    num_threads: _Count = None,
) -> NDArray[Any]: ...
@overload
def softmax_hvp(
    y: _Array, dy: _Array, v: _Array, /, axis: _Axis = -1, *, temperature: _Real = 1.0, out: _Out,
    num_threads: _Count = None,
) -> _Out: ...
@overload
def softmax_hvp(
    y: _Typed[_Float], dy: _Typed[_Float], v: _Typed[_Float], /, axis: _Axis = -1, *,
    temperature: _Real = 1.0, out: None = None, num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def softmax_hvp(
    y: _Exact | _Numbers, dy: _Exact | _Numbers, v: _Exact | _Numbers, /, axis: _Axis = -1, *,
    temperature: _Real = 1.0, out: None = None, num_threads: _Count = None,
) -> NDArray[np.float64]: ...
@overload
def softmax_hvp(
    y: _Array, dy: _Array, v: _Array, /, axis: _Axis = -1, *, temperature: _Real = 1.0,
    out: None = None, num_threads: _Count = None,
) -> NDArray[Any]: ...
@overload
def softmax_temperature_vjp(
    x: _Array, y: _Array, dy: _Array, /, axis: _Axis = -1, *, temperature: _Real = 1.0,
    keepdims: bool = False, out: _Out, num_threads: _Count = None,
) -> _Out: ...
@overload
def softmax_temperature_vjp(
    x: _Typed[_Float], y: _Typed[_Float], dy: _Typed[_Float], /, axis: _Axis = -1, *,
    temperature: _Real = 1.0, keepdims: _Yes, out: None = None, num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def softmax_temperature_vjp(
    x: _Exact | _Numbers, y: _Exact | _Numbers, dy: _Exact | _Numbers, /, axis: _Axis = -1, *,
    temperature: _Real = 1.0, keepdims: _Yes, out: None = None, num_threads: _Count = None,
) -> NDArray[np.float64]: ...
@overload
def softmax_temperature_vjp(
    x: _Array, y: _Array, dy: _Array, /, axis: _Axis = -1, *, temperature: _Real = 1.0,
    keepdims: bool = False, out: None = None, num_threads: _Count = None,
) -> Any: ...
@overload
def binary_cross_entropy(  # type: ignore[overload-overlap]
    logits: _Narrow, targets: _Array, /, *, weight: _Maybe = None, pos_weight: _Maybe = None,
    reduction: _Reduced = "mean", num_threads: _Count = None,
) -> np.float32: ...
@overload
def binary_cross_entropy(  # type: ignore[overload-overlap]
    logits: _Narrow, targets: _Array, /, *, weight: _Maybe = None, pos_weight: _Maybe = None,
    reduction: Literal["none"], num_threads: _Count = None,
) -> NDArray[np.float32]: ...
@overload
def binary_cross_entropy(
    logits: _Wide, targets: _Array, /, *, weight: _Maybe = None, pos_weight: _Maybe = None,
    reduction: _Reduced = "mean", num_threads: _Count = None,
) -> np.float64: ...
@overload
def binary_cross_entropy(
    logits: _Wide, targets: _Array, /, *, weight: _Maybe = None, pos_weight: _Maybe = None,
    reduction: Literal["none"], num_threads: _Count = None,
) -> NDArray[np.float64]: ...
@overload
def binary_cross_entropy(
    logits: _Array, targets: _Array, /, *, weight: _Maybe = None, pos_weight: _Maybe = None,
    reduction: str = "mean", num_threads: _Count = None,
) -> Any: ...
@overload
def binary_cross_entropy_value_and_grad(
    logits: _Array, targets: _Array, /, *, weight: _Maybe = None, pos_weight: _Maybe = None,
    reduction: str = "mean", dloss: _Maybe = None, out: _Out, num_threads: _Count = None,
) -> tuple[Any, _Out]: ...
@overload
def binary_cross_entropy_value_and_grad(  # type: ignore[overload-overlap]
    logits: _Typed[_Short], targets: _Array, /, *, weight: _Maybe = None, pos_weight: _Maybe = None,
    reduction: _Reduced = "mean", dloss: _Maybe = None, out: None = None,
    num_threads: _Count = None,
) -> tuple[np.float32, NDArray[_Short]]: ...
@overload
def binary_cross_entropy_value_and_grad(  # type: ignore[overload-overlap]
    logits: _Typed[_Short], targets: _Array, /, *, weight: _Maybe = None, pos_weight: _Maybe = None,
    reduction: Literal["none"], dloss: _Maybe = None, out: None = None, num_threads: _Count = None,
) -> tuple[NDArray[np.float32], NDArray[_Short]]: ...
@overload
def binary_cross_entropy_value_and_grad(
    logits: _Wide, targets: _Array, /, *, weight: _Maybe = None, pos_weight: _Maybe = None,
    reduction: _Reduced = "mean", dloss: _Maybe = None, out: None = None,
    num_threads: _Count = None,
) -> tuple[np.float64, NDArray[np.float64]]: ...
@overload
def binary_cross_entropy_value_and_grad(
    logits: _Wide, targets: _Array, /, *, weight: _Maybe = None, pos_weight: _Maybe = None,
    reduction: Literal["none"], dloss: _Maybe = None, out: None = None, num_threads: _Count = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
@overload
def binary_cross_entropy_value_and_grad(
    logits: _Array, targets: _Array, /, *, weight: _Maybe = None, pos_weight: _Maybe = None,
    reduction: str = "mean", dloss: _Maybe = None, out: None = None, num_threads: _Count = None,
) -> tuple[Any, NDArray[Any]]: ...
@overload
def cross_entropy(  # type: ignore[overload-overlap]
    logits: _Narrow, labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: _Reduced = "mean",
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: _No = False, num_threads: _Count = None,
) -> np.float32: ...
@overload
def cross_entropy(  # type: ignore[overload-overlap]
    logits: _Narrow, labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: Literal["none"],
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: _No = False, num_threads: _Count = None,
) -> NDArray[np.float32]: ...
@overload
def cross_entropy(  # type: ignore[overload-overlap]
    logits: _Narrow, labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: _Reduced = "mean",
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: _Yes, num_threads: _Count = None,
) -> tuple[np.float32, NDArray[np.float32]]: ...
@overload
def cross_entropy(  # type: ignore[overload-overlap]
    logits: _Narrow, labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: Literal["none"],
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: _Yes, num_threads: _Count = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...
@overload
def cross_entropy(
    logits: _Wide, labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: _Reduced = "mean",
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: _No = False, num_threads: _Count = None,
) -> np.float64: ...
@overload
def cross_entropy(
    logits: _Wide, labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: Literal["none"],
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: _No = False, num_threads: _Count = None,
) -> NDArray[np.float64]: ...
@overload
def cross_entropy(
    logits: _Wide, labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: _Reduced = "mean",
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: _Yes, num_threads: _Count = None,
) -> tuple[np.float64, NDArray[np.float64]]: ...
@overload
def cross_entropy(
    logits: _Wide, labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: Literal["none"],
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: _Yes, num_threads: _Count = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
@overload
def cross_entropy(
    logits: _Array, labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: str = "mean",
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: bool = False, num_threads: _Count = None,
) -> Any: ...
@overload
def cross_entropy_value_and_grad(  # type: ignore[overload-overlap]
    logits: _Typed[_Short], labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: _Reduced = "mean",
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: _No = False, dloss: _Maybe = None,
    out: NDArray[_Short] | None = None, num_threads: _Count = None,
) -> tuple[np.float32, NDArray[_Short]]: ...
@overload
def cross_entropy_value_and_grad(  # type: ignore[overload-overlap]
    logits: _Typed[_Short], labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: Literal["none"],
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: _No = False, dloss: _Maybe = None,
    out: NDArray[_Short] | None = None, num_threads: _Count = None,
) -> tuple[NDArray[np.float32], NDArray[_Short]]: ...
@overload
def cross_entropy_value_and_grad(  # type: ignore[overload-overlap]
    logits: _Typed[_Short], labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: _Reduced = "mean",
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: _Yes, dloss: _Maybe = None,
    out: NDArray[_Short] | None = None, num_threads: _Count = None,
) -> tuple[np.float32, NDArray[_Short], NDArray[np.float32]]: ...
@overload
def cross_entropy_value_and_grad(  # type: ignore[overload-overlap]
    logits: _Typed[_Short], labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: Literal["none"],
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: _Yes, dloss: _Maybe = None,
    out: NDArray[_Short] | None = None, num_threads: _Count = None,
) -> tuple[NDArray[np.float32], NDArray[_Short], NDArray[np.float32]]: ...
@overload
def cross_entropy_value_and_grad(
    logits: _Wide, labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: _Reduced = "mean",
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: _No = False, dloss: _Maybe = None,
    out: NDArray[np.float64] | None = None, num_threads: _Count = None,
) -> tuple[np.float64, NDArray[np.float64]]: ...
@overload
def cross_entropy_value_and_grad(
    logits: _Wide, labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: Literal["none"],
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: _No = False, dloss: _Maybe = None,
    out: NDArray[np.float64] | None = None, num_threads: _Count = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
@overload
def cross_entropy_value_and_grad(
    logits: _Wide, labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: _Reduced = "mean",
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: _Yes, dloss: _Maybe = None,
    out: NDArray[np.float64] | None = None, num_threads: _Count = None,
) -> tuple[np.float64, NDArray[np.float64], NDArray[np.float64]]: ...
@overload
def cross_entropy_value_and_grad(
    logits: _Wide, labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: Literal["none"],
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: _Yes, dloss: _Maybe = None,
    out: NDArray[np.float64] | None = None, num_threads: _Count = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...
@overload
def cross_entropy_value_and_grad(
    logits: _Array, labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: str = "mean",
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: _No = False, dloss: _Maybe = None,
    out: NDArray[Any] | None = None, num_threads: _Count = None,
) -> tuple[Any, NDArray[Any]]: ...
@overload
def cross_entropy_value_and_grad(
    logits: _Array, labels: _Array, /, axis: SupportsIndex = -1, *, weight: _Maybe = None,
    ignore_index: SupportsIndex = -100, label_smoothing: _Real = 0.0, reduction: str = "mean",
    z_loss: _Real = 0.0, where: _Maybe = None, return_lse: bool, dloss: _Maybe = None,
    out: NDArray[Any] | None = None, num_threads: _Count = None,
) -> Any: ...
@overload
def kl_divergence(  # type: ignore[overload-overlap]
    logits: _Narrow, targets: _Array, /, axis: SupportsIndex = -1, *, reduction: _Reduced = "mean",
    num_threads: _Count = None,
) -> np.float32: ...
@overload
def kl_divergence(  # type: ignore[overload-overlap]
    logits: _Narrow, targets: _Array, /, axis: SupportsIndex = -1, *, reduction: Literal["none"],
    num_threads: _Count = None,
) -> NDArray[np.float32]: ...
@overload
def kl_divergence(
    logits: _Wide, targets: _Array, /, axis: SupportsIndex = -1, *, reduction: _Reduced = "mean",
    num_threads: _Count = None,
) -> np.float64: ...
@overload
def kl_divergence(
    logits: _Wide, targets: _Array, /, axis: SupportsIndex = -1, *, reduction: Literal["none"],
    num_threads: _Count = None,
) -> NDArray[np.float64]: ...
@overload
def kl_divergence(
    logits: _Array, targets: _Array, /, axis: SupportsIndex = -1, *, reduction: str = "mean",
    num_threads: _Count = None,
) -> Any: ...
@overload
def kl_divergence_value_and_grad(  # type: ignore[overload-overlap]
    logits: _Typed[_Short], targets: _Array, /, axis: SupportsIndex = -1, *,
    reduction: _Reduced = "mean", dloss: _Maybe = None, out: NDArray[_Short] | None = None,
    num_threads: _Count = None,
) -> tuple[np.float32, NDArray[_Short]]: ...
@overload
def kl_divergence_value_and_grad(  # type: ignore[overload-overlap]
    logits: _Typed[_Short], targets: _Array, /, axis: SupportsIndex = -1, *,
    reduction: Literal["none"], dloss: _Maybe = None, out: NDArray[_Short] | None = None,
    num_threads: _Count = None,
) -> tuple[NDArray[np.float32], NDArray[_Short]]: ...
@overload
def kl_divergence_value_and_grad(
    logits: _Wide, targets: _Array, /, axis: SupportsIndex = -1, *, reduction: _Reduced = "mean",
    dloss: _Maybe = None, out: NDArray[np.float64] | None = None, num_threads: _Count = None,
) -> tuple[np.float64, NDArray[np.float64]]: ...
@overload
def kl_divergence_value_and_grad(
    logits: _Wide, targets: _Array, /, axis: SupportsIndex = -1, *, reduction: Literal["none"],
    dloss: _Maybe = None, out: NDArray[np.float64] | None = None, num_threads: _Count = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
@overload
def kl_divergence_value_and_grad(
    logits: _Array, targets: _Array, /, axis: SupportsIndex = -1, *, reduction: str = "mean",
    dloss: _Maybe = None, out: NDArray[Any] | None = None, num_threads: _Count = None,
) -> tuple[Any, NDArray[Any]]: ...
@overload
def logsumexp_vjp(
    x: _Array, lse: _Array, dlse: _Array, /, axis: _Axis = None, *, b: _Array | None = None,
    sign: _Array | None = None, where: _Maybe = None, out: _Out, num_threads: _Count = None,
) -> _Out: ...
@overload
def logsumexp_vjp(
    x: _Typed[_Float], lse: _Array, dlse: _Array, /, axis: _Axis = None, *, b: _Array | None = None,
    sign: _Array | None = None, where: _Maybe = None, out: None = None, num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def logsumexp_vjp(
    x: _Exact | _Numbers, lse: _Array, dlse: _Array, /, axis: _Axis = None, *,
    b: _Array | None = None, sign: _Array | None = None, where: _Maybe = None, out: None = None,
    num_threads: _Count = None,
) -> NDArray[np.float64]: ...
@overload
def logsumexp_vjp(
    x: _Array, lse: _Array, dlse: _Array, /, axis: _Axis = None, *, b: _Array | None = None,
    sign: _Array | None = None, where: _Maybe = None, out: None = None, num_threads: _Count = None,
) -> NDArray[Any]: ...
@overload
def logsumexp_vjp_b(
    x: _Array, lse: _Array, dlse: _Array, /, axis: _Axis = None, *, sign: _Array | None = None,
    where: _Maybe = None, out: _Out, num_threads: _Count = None,
) -> _Out: ...
@overload
def logsumexp_vjp_b(
    x: _Typed[_Float], lse: _Array, dlse: _Array, /, axis: _Axis = None, *,
    sign: _Array | None = None, where: _Maybe = None, out: None = None, num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def logsumexp_vjp_b(
    x: _Exact | _Numbers, lse: _Array, dlse: _Array, /, axis: _Axis = None, *,
    sign: _Array | None = None, where: _Maybe = None, out: None = None, num_threads: _Count = None,
) -> NDArray[np.float64]: ...
@overload
def logsumexp_vjp_b(
    x: _Array, lse: _Array, dlse: _Array, /, axis: _Axis = None, *, sign: _Array | None = None,
    where: _Maybe = None, out: None = None, num_threads: _Count = None,
) -> NDArray[Any]: ...
@overload
def softmax_jacobian(y: _Typed[_Float], /, axis: SupportsIndex = -1) -> NDArray[_Float]: ...
@overload
def softmax_jacobian(y: _Exact | _Numbers, /, axis: SupportsIndex = -1) -> NDArray[np.float64]: ...
@overload
def softmax_jacobian(y: _Array, /, axis: SupportsIndex = -1) -> NDArray[Any]: ...
@overload
def softmax_vjp(
    y: _Array, dy: _Array, /, axis: _Axis = -1, *, temperature: _Real = 1.0, out: _Out,
    num_threads: _Count = None,
) -> _Out: ...
@overload
def softmax_vjp(
    y: _Typed[_Float], dy: _Typed[_Float], /, axis: _Axis = -1, *, temperature: _Real = 1.0,
    out: None = None, num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def softmax_vjp(
    y: _Exact | _Numbers, dy: _Exact | _Numbers, /, axis: _Axis = -1, *, temperature: _Real = 1.0,
    out: None = None, num_threads: _Count = None,
) -> NDArray[np.float64]: ...
@overload
def softmax_vjp(
    y: _Array, dy: _Array, /, axis: _Axis = -1, *, temperature: _Real = 1.0, out: None = None,
    num_threads: _Count = None,
) -> NDArray[Any]: ...
@overload
def softmax_jvp(
    y: _Array, dx: _Array, /, axis: _Axis = -1, *, temperature: _Real = 1.0, out: _Out,
    num_threads: _Count = None,
) -> _Out: ...
@overload
def softmax_jvp(
    y: _Typed[_Float], dx: _Typed[_Float], /, axis: _Axis = -1, *, temperature: _Real = 1.0,
    out: None = None, num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def softmax_jvp(
    y: _Exact | _Numbers, dx: _Exact | _Numbers, /, axis: _Axis = -1, *, temperature: _Real = 1.0,
    out: None = None, num_threads: _Count = None,
) -> NDArray[np.float64]: ...
@overload
def softmax_jvp(
    y: _Array, dx: _Array, /, axis: _Axis = -1, *, temperature: _Real = 1.0, out: None = None,
    num_threads: _Count = None,
) -> NDArray[Any]: ...
@overload
def sigmoid(
    x: _Array, /, *, out: _Out, dtype: _DType = None, num_threads: _Count = None,
) -> _Out: ...
@overload
def sigmoid(
    x: _Array, /, *, out: None = None, dtype: type[_Float] | np.dtype[_Float],
    num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def sigmoid(
    x: _Typed[_Float], /, *, out: None = None, dtype: None = None, num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def sigmoid(
    x: _Exact | _Numbers, /, *, out: None = None, dtype: None = None, num_threads: _Count = None,
) -> NDArray[np.float64]: ...
@overload
def sigmoid(
    x: _Array, /, *, out: None = None, dtype: _DType = None, num_threads: _Count = None,
) -> NDArray[Any]: ...
@overload
def log_sigmoid(
    x: _Array, /, *, out: _Out, dtype: _DType = None, num_threads: _Count = None,
) -> _Out: ...
@overload
def log_sigmoid(
    x: _Array, /, *, out: None = None, dtype: type[_Float] | np.dtype[_Float],
    num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def log_sigmoid(
    x: _Typed[_Float], /, *, out: None = None, dtype: None = None, num_threads: _Count = None,
) -> NDArray[_Float]: ...
@overload
def log_sigmoid(
    x: _Exact | _Numbers, /, *, out: None = None, dtype: None = None, num_threads: _Count = None,
) -> NDArray[np.float64]: ...
@overload
def log_sigmoid(
    x: _Array, /, *, out: None = None, dtype: _DType = None, num_threads: _Count = None,
) -> NDArray[Any]: ...
def set_num_threads(n: SupportsIndex) -> None: ...
def get_num_threads() -> int: ...

@final
class threads:
    def __new__(cls, n: SupportsIndex) -> Self: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None,
        traceback: TracebackType | None, /,
    ) -> None: ...
# fmt: on

def show_config() -> _Config: ...

# For the modules of the package alone. Words and rows are contiguous and of one dimension.
_Words: TypeAlias = NDArray[np.uint64]
_Rows: TypeAlias = NDArray[np.float32] | NDArray[np.float64]

def _array(name: str, object: object) -> NDArray[Any]: ...
def _output(out: object, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]: ...
def _state_empty(lanes: int) -> _Words: ...
def _state_update(words: _Words, x: _Rows, len: int, num_threads: _Count) -> None: ...
def _state_merge(words: _Words, others: _Words) -> None: ...
def _state_result(words: _Words) -> NDArray[np.float64]: ...
def _state_normalise(
    words: _Words, x: _Rows, len: int, log: bool, checked: bool, num_threads: _Count
) -> None: ...
