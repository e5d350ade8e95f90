"""The libraries that ``softlane bench`` compares with, each with its best call for a task."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import softlane

Array: TypeAlias = NDArray[Any]
Call: TypeAlias = Callable[[], Any]
# By operation: from logits of shape (n, classes) and labels (n,) to what is timed.
Calls: TypeAlias = Mapping[str, Callable[[Array, Array], Call]]

OPERATIONS = ("softmax", "log_softmax", "logsumexp", "cross_entropy")


def ours() -> Calls:
    """Return softlane's calls."""
    return {
        "softmax": lambda x, _: lambda: softlane.softmax(x, num_threads=1),
        "log_softmax": lambda x, _: lambda: softlane.log_softmax(x, num_threads=1),
        "logsumexp": lambda x, _: lambda: softlane.logsumexp(x, -1, num_threads=1),
        "cross_entropy": lambda x, t: lambda: softlane.cross_entropy(x, t, num_threads=1),
    }


def plain_numpy() -> Calls:
    """Return the textbook formulas."""

    def softmax(x: Array) -> Any:
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    def log_softmax(x: Array) -> Any:
        shifted = x - x.max(axis=-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))

    def logsumexp(x: Array) -> Any:
        top = x.max(axis=-1, keepdims=True)
        return top[:, 0] + np.log(np.exp(x - top).sum(axis=-1))

    def cross_entropy(x: Array, labels: Array) -> Any:
        return np.mean(logsumexp(x) - x[np.arange(len(x)), labels])

    return {
        "softmax": lambda x, _: lambda: softmax(x),
        "log_softmax": lambda x, _: lambda: log_softmax(x),
        "logsumexp": lambda x, _: lambda: logsumexp(x),
        "cross_entropy": lambda x, t: lambda: cross_entropy(x, t),
    }


def scipy() -> Calls:
    """Return SciPy's calls; its cross-entropy is that of its logsumexp."""
    special: Any = importlib.import_module("scipy.special")

    def cross_entropy(x: Array, labels: Array) -> Any:
        return np.mean(special.logsumexp(x, axis=-1) - x[np.arange(len(x)), labels])

    return {
        "softmax": lambda x, _: lambda: special.softmax(x, axis=-1),
        "log_softmax": lambda x, _: lambda: special.log_softmax(x, axis=-1),
        "logsumexp": lambda x, _: lambda: special.logsumexp(x, axis=-1),
        "cross_entropy": lambda x, t: lambda: cross_entropy(x, t),
    }


def pytorch() -> Calls:
    """Return PyTorch's calls, on tensors that share the arrays' memory."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(1)

    def of_logits(function: Any) -> Callable[[Array, Array], Call]:
        def call(x: Array, _: Array) -> Call:
            tensor = torch.from_numpy(x)
            return lambda: function(tensor, -1)

        return call

    def cross_entropy(x: Array, labels: Array) -> Call:
        logits, classes = torch.from_numpy(x), torch.from_numpy(labels)
        return lambda: torch.nn.functional.cross_entropy(logits, classes)

    names = ("softmax", "log_softmax", "logsumexp")
    calls = {name: of_logits(getattr(torch, name)) for name in names}
    return {**calls, "cross_entropy": cross_entropy}


def jax() -> Calls:
    """Return JAX's calls, compiled, on arrays of its own."""
    module: Any = importlib.import_module("jax")
    nn, jnp = module.nn, module.numpy

    def cross_entropy(x: Any, labels: Any) -> Any:
        picked = jnp.take_along_axis(x, labels[:, None], axis=-1)[:, 0]
        return jnp.mean(nn.logsumexp(x, axis=-1) - picked)

    def compiled(function: Callable[[Any, Any], Any]) -> Callable[[Array, Array], Call]:
        def call(x: Array, labels: Array) -> Call:
            run = module.jit(function)
            logits, classes = module.device_put(x), module.device_put(labels.astype(np.int32))
            return lambda: run(logits, classes).block_until_ready()

        return call

    return {
        "softmax": compiled(lambda x, _: nn.softmax(x, axis=-1)),
        "log_softmax": compiled(lambda x, _: nn.log_softmax(x, axis=-1)),
        "logsumexp": compiled(lambda x, _: nn.logsumexp(x, axis=-1)),
        "cross_entropy": compiled(cross_entropy),
    }


def onnx_runtime() -> Calls:
    """Return sessions of ONNX Runtime, of one node each."""
    ort: Any = importlib.import_module("onnxruntime")
    helper: Any = importlib.import_module("onnx").helper

    def session(node: str, labelled: bool, **attributes: Any) -> Callable[[Array, Array], Call]:
        def call(x: Array, labels: Array) -> Call:
            feed = {"x": x, "t": labels} if labelled else {"x": x}
            nodes = [helper.make_node(node, list(feed), ["y"], **attributes)]
            given = [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
                )
                for name, array in feed.items()
            ]
            kind = helper.np_dtype_to_tensor_dtype(x.dtype)
            graph = helper.make_graph(
                nodes, node, given, [helper.make_tensor_value_info("y", kind, None)]
            )
            # An old format on purpose: any runtime of recent years reads it.
            opset = [helper.make_opsetid("", 13)]
            model = helper.make_model(graph, opset_imports=opset, ir_version=8)
            options = ort.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            ready = ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            return lambda: ready.run(None, feed)[0]

        return call

    return {
        "softmax": session("Softmax", False, axis=-1),
        "log_softmax": session("LogSoftmax", False, axis=-1),
        "logsumexp": session("ReduceLogSumExp", False, axes=[-1], keepdims=0),
        "cross_entropy": session("SoftmaxCrossEntropyLoss", True, reduction="mean"),
    }


# Each with the modules it needs.
PEERS: dict[str, tuple[Callable[[], Calls], tuple[str, ...]]] = {
    "NumPy": (plain_numpy, ()),
    "SciPy": (scipy, ("scipy",)),
    "PyTorch": (pytorch, ("torch",)),
    "JAX": (jax, ("jax",)),
    "ONNX Runtime": (onnx_runtime, ("onnxruntime", "onnx")),
}
