"""ONNX Runtime's calls: a graph of one operation, and what it needs around it."""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

from .calls import Call, Calls
from .cell import Mode
from .problem import Array, Problem

NODES: Final = {
    "softmax": "Softmax",
    "softmin": "Softmax",
    "log_softmax": "LogSoftmax",
    "logsumexp": "ReduceLogSumExp",
    "sigmoid": "Sigmoid",
    "cross_entropy": "SoftmaxCrossEntropyLoss",
}
BFLOAT16: Final = 16  # onnx.TensorProto.BFLOAT16


def onnx_runtime(problem: Problem) -> Calls:
    """ONNX Runtime: a plain run, and one with input and output bound beforehand."""
    if problem.operation not in NODES:
        return
    ort = importlib.import_module("onnxruntime")
    feed = dict(zip(("x", "labels"), problem.contiguous(), strict=False))
    if problem.where is not None:
        feed["mask"] = problem.where
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    model = _model(problem, feed)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = {"session": session, "feed": feed}
    if problem.dtype.name != "bfloat16":  # it takes that only where it is bound
        yield Call(Mode.FRESH, "session.run(None, feed)", names, tuple)

    def value(array: Array) -> Any:
        if array.dtype.name != "bfloat16":
            return ort.OrtValue.ortvalue_from_numpy(array)
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), BFLOAT16)

    out = np.empty(problem.shape, problem.dtype)
    bound = value(out)
    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_ortvalue_input(name, value(array))
    binding.bind_ortvalue_output("y", bound)
    # A value of bfloat16 lies in the array it was made of, and has no other way out.
    to_numpy = (lambda _: (out,)) if out.dtype.name == "bfloat16" else lambda _: (bound.numpy(),)
    names = {"session": session, "binding": binding, "feed": feed}
    # Where one number is, is nothing that costs time.
    mode = Mode.FRESH if problem.operation == "cross_entropy" else Mode.OUT
    yield Call(mode, "session.run_with_iobinding(binding)", names, to_numpy)


def _model(problem: Problem, feed: dict[str, Array]) -> bytes:
    """Return the graph: the operation, after and before whatever it cannot do by itself."""
    helper = importlib.import_module("onnx").helper
    given = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in feed.items()}
    wanted = helper.np_dtype_to_tensor_dtype(problem.dtype)
    # No operation has a kernel for bfloat16.
    computed = (
        helper.np_dtype_to_tensor_dtype(np.dtype(np.float32)) if wanted == BFLOAT16 else wanted
    )
    nodes: list[Any] = []

    def then(operation: str, *inputs: str, **attributes: Any) -> str:
        output = f"v{len(nodes)}"
        nodes.append(helper.make_node(operation, list(inputs), [output], **attributes))
        return output

    last = "x"
    if given["x"] != computed:
        last = then("Cast", last, to=computed)
    if problem.operation == "softmin":
        last = then("Neg", last)
    if problem.where is not None:
        constant = helper.make_tensor("lowest", computed, [], [-np.inf])
        last = then("Where", "mask", last, then("Constant", value=constant))
    axis: dict[str, Any] = {"axis": problem.axis}
    if problem.operation == "cross_entropy":
        # It wants the classes on the axis that follows the batch.
        order = list(range(problem.operands[0].ndim))
        order.insert(1, order.pop(problem.axis))
        if order != sorted(order):
            last = then("Transpose", last, perm=order)
        last = then("SoftmaxCrossEntropyLoss", last, "labels")
    else:
        if problem.operation == "logsumexp":
            axis = {"axes": [problem.axis], "keepdims": 0}
        elif problem.operation == "sigmoid":
            axis = {}
        last = then(NODES[problem.operation], last, **axis)
    if computed != wanted:
        last = then("Cast", last, to=wanted)
    nodes[-1].output[0] = "y"
    graph = helper.make_graph(
        nodes,
        problem.operation,
        [helper.make_tensor_value_info(n, given[n], array.shape) for n, array in feed.items()],
        [helper.make_tensor_value_info("y", wanted, problem.shape)],
    )
    # An old format on purpose: any runtime of recent years reads it.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())
