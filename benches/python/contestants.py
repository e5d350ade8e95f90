"""Everyone who takes part, each with its best calls for a problem.

A contestant is a function from a problem to calls; one that does not offer the operation
yields none. Libraries are loaded only when asked for, so a process that times softlane alone
holds nothing else.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias

import numpy as np

from .cells import Mode
from .problem import Array, Problem


@dataclass(frozen=True, slots=True)
class Call:
    """An expression to time.

    Text rather than a function: the timing loop then holds the very call a user writes, and the
    cost of a wrapper does not blur calls that take a few hundred nanoseconds.
    """

    mode: Mode
    expression: str
    names: dict[str, Any]
    to_numpy: Callable[[Any], Any] = np.asarray

    def evaluate(self) -> Array:
        """Run the call once and return its result as a NumPy array."""
        return np.asarray(self.to_numpy(eval(self.expression, dict(self.names))))


Calls: TypeAlias = Iterator[Call]


# Ours.


def softlane(problem: Problem) -> Calls:
    """Return softlane's calls as they stand in user code."""
    yield from _softlane(problem, problem.operands, problem.axis)


def softlane_last_axis(problem: Problem) -> Calls:
    """Return the same array along its last axis."""
    yield from _softlane(problem, problem.operands, -1)


def softlane_plain(problem: Problem) -> Calls:
    """Return the same values, contiguous and already of the result's dtype."""
    plain = tuple(np.ascontiguousarray(x, dtype=problem.dtype) for x in problem.operands)
    yield from _softlane(problem, plain, problem.axis)


def softlane_float32(problem: Problem) -> Calls:
    """Return the same values in single precision."""
    single = tuple(x.astype(np.float32) for x in problem.operands)
    yield from softlane(Problem(problem.operation, problem.axis, single, problem.threads))


def softlane_one_thread(problem: Problem) -> Calls:
    """Return the calls with ``num_threads=1``."""
    yield from _softlane(problem, problem.operands, problem.axis, num_threads=1)


def softlane_threads(problem: Problem) -> Calls:
    """Return the calls with the cell's number of threads."""
    yield from _softlane(problem, problem.operands, problem.axis, num_threads=problem.threads)


def _softlane(
    problem: Problem, operands: tuple[Array, ...], axis: int, num_threads: int | None = None
) -> Calls:
    function = getattr(_load_softlane(), problem.operation)
    names = dict(zip("xy", operands, strict=False))
    arguments = ", ".join(names)
    if axis != -1 or problem.operation == "logsumexp":
        arguments += f", {axis}"
    if num_threads is not None:
        arguments += f", num_threads={num_threads}"
    names = {"f": function, **names}
    out = np.empty(problem.shape, problem.dtype)
    yield Call(Mode.FRESH, f"f({arguments})", names)
    yield Call(Mode.OUT, f"f({arguments}, out=out)", {**names, "out": out})
    if len(operands) == 1 and operands[0].dtype == problem.dtype and out.shape == operands[0].shape:
        # Rows tend to the uniform distribution as calls repeat; the work stays the same.
        yield Call(Mode.IN_PLACE, f"f({arguments}, out=x)", {**names, "x": operands[0].copy()})


@cache
def _load_softlane() -> Any:
    module = importlib.import_module("softlane")
    module.set_num_threads(1)
    return module


# Peers.


def scipy(problem: Problem) -> Calls:
    """SciPy has the forward pass only, and no ``out=``."""
    if problem.operation != "softmax_vjp":
        function = getattr(importlib.import_module("scipy.special"), problem.operation)
        (x,) = problem.contiguous()
        yield Call(Mode.FRESH, "f(x, axis)", {"f": function, "x": x, "axis": problem.axis})


def pytorch(problem: Problem) -> Calls:
    """PyTorch in inference mode, which spares it the bookkeeping of autograd."""
    torch = _load_torch()
    operands = [torch.from_numpy(operand) for operand in problem.contiguous()]
    dtype = getattr(torch, problem.dtype.name)
    out = torch.empty(problem.shape, dtype=dtype)
    names = {"axis": problem.axis, "dtype": dtype, "out": out}
    if problem.operation == "logsumexp":
        names |= {"f": torch.logsumexp, "x": operands[0]}
        yield Call(Mode.FRESH, "f(x, axis)", names)
        yield Call(Mode.OUT, "f(x, axis, out=out)", names)
    elif problem.operation != "softmax_vjp":
        names |= {"f": getattr(torch, problem.operation), "x": operands[0]}
        cast = "" if operands[0].dtype == dtype else ", dtype=dtype"
        yield Call(Mode.FRESH, f"f(x, axis{cast})", names)
        yield Call(Mode.OUT, f"f(x, axis{cast}, out=out)", names)
    else:
        names |= {"f": torch._softmax_backward_data, "y": operands[0], "dy": operands[1]}
        yield Call(Mode.FRESH, "f(dy, y, axis, dtype)", names)
        yield Call(Mode.OUT, "f(dy, y, axis, dtype, grad_input=out)", names)


@cache
def _load_torch() -> Any:
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    torch.inference_mode().__enter__()
    return torch


def jax(problem: Problem) -> Calls:
    """JAX on arrays of its own, compiled.

    It has no ``out=``. Donating the input is its way to work in place, and was slower than a
    fresh result at every size tried.
    """
    jax = importlib.import_module("jax")
    axis, dtype = problem.axis, problem.dtype
    operands = [jax.device_put(operand) for operand in problem.contiguous()]
    call = "f(x).block_until_ready()"
    if problem.operation != "softmax_vjp":
        forward = getattr(jax.nn, problem.operation)
        function = jax.jit(lambda x: forward(x.astype(dtype), axis=axis))
        yield Call(Mode.FRESH, call, {"f": function, "x": operands[0]})
        return
    y, dy = operands
    call = "f(y, dy).block_until_ready()"
    # The pull-back carries y, as a training step would keep it, so the forward pass is not timed.
    _, pull_back = jax.vjp(lambda x: jax.nn.softmax(x, axis=axis), jax.numpy.log(y))
    apply = jax.jit(lambda pull_back, dy: pull_back(dy)[0])
    yield Call(Mode.FRESH, call, {"f": apply, "y": pull_back, "dy": dy})
    # The textbook formula, which XLA runs faster than its own pull-back.
    formula = jax.jit(lambda y, dy: y * (dy - (y * dy).sum(axis=axis, keepdims=True)))
    yield Call(Mode.FRESH, call, {"f": formula, "y": y, "dy": dy})


def onnx_runtime(problem: Problem) -> Calls:
    """ONNX Runtime: a plain run, and one with input and output bound beforehand."""
    if problem.operation == "softmax_vjp":
        return
    ort = importlib.import_module("onnxruntime")
    (x,) = problem.contiguous()
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = _onnx_model(problem, x)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = {"session": session, "feed": {"x": x}}
    yield Call(Mode.FRESH, "session.run(None, feed)", names, lambda results: results[0])

    out = np.empty(problem.shape, problem.dtype)
    bound = {name: ort.OrtValue.ortvalue_from_numpy(a) for name, a in (("x", x), ("y", out))}
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", bound["x"])
    binding.bind_ortvalue_output("y", bound["y"])
    names = {"session": session, "binding": binding}
    yield Call(
        Mode.OUT,
        "session.run_with_iobinding(binding)",
        names,
        lambda _: bound["y"].numpy(),
    )


ONNX_NODES: Final = {
    "softmax": "Softmax",
    "log_softmax": "LogSoftmax",
    "logsumexp": "ReduceLogSumExp",
}


def _onnx_model(problem: Problem, x: Array) -> bytes:
    onnx = importlib.import_module("onnx")
    helper = onnx.helper
    given, wanted = (helper.np_dtype_to_tensor_dtype(d) for d in (x.dtype, problem.dtype))
    axis: dict[str, Any] = {"axis": problem.axis}
    if problem.operation == "logsumexp":
        axis = {"axes": [problem.axis], "keepdims": 0}
    nodes = [helper.make_node(ONNX_NODES[problem.operation], ["logits"], ["y"], **axis)]
    if given == wanted:
        nodes[0].input[0] = "x"
    else:
        nodes.insert(0, helper.make_node("Cast", ["x"], ["logits"], to=wanted))
    graph = helper.make_graph(
        nodes,
        problem.operation,
        [helper.make_tensor_value_info("x", given, x.shape)],
        [helper.make_tensor_value_info("y", wanted, problem.shape)],
    )
    # An old format on purpose: any runtime of recent years reads it.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


# Yardsticks: not the operation itself, but what its time is held against.


def copy(problem: Problem) -> Calls:
    """Copy as many elements as there are: the floor for work bound by memory."""
    shape = problem.operands[0].shape
    names = {
        "copyto": np.copyto,
        "out": np.empty(shape, problem.dtype),
        "x": np.ones(shape, problem.dtype),
    }
    yield Call(Mode.OUT, "copyto(out, x)", names)


def numpy_exp(problem: Problem) -> Calls:
    """Take the exponential of the same array: the price of any NumPy call."""
    (x,) = problem.operands
    names = {"exp": np.exp, "x": x, "out": np.empty(problem.shape, problem.dtype)}
    yield Call(Mode.FRESH, "exp(x)", names)
    yield Call(Mode.OUT, "exp(x, out=out)", names)


OURS: Final = "softlane"
COPY: Final = "copy"
ONE_THREAD: Final = "1 thread"
MORE_THREADS: Final = "threads"

CONTESTANTS: Final[dict[str, Callable[[Problem], Calls]]] = {
    OURS: softlane,
    "SciPy": scipy,
    "PyTorch": pytorch,
    "JAX": jax,
    "ONNX Runtime": onnx_runtime,
    COPY: copy,
    "np.exp": numpy_exp,
    "last axis": softlane_last_axis,
    "plain input": softlane_plain,
    "float32": softlane_float32,
    ONE_THREAD: softlane_one_thread,
    MORE_THREADS: softlane_threads,
}

# The modules each peer needs, the one that gives its version first.
PEERS: Final[dict[str, tuple[str, ...]]] = {
    "SciPy": ("scipy", "scipy.special"),
    "PyTorch": ("torch",),
    "JAX": ("jax",),
    "ONNX Runtime": ("onnxruntime", "onnx"),
}

# These do another job; their results are not compared with the problem's.
YARDSTICKS: Final = frozenset({COPY, "np.exp", "last axis", "float32"})


def find_peers() -> tuple[dict[str, str], dict[str, str]]:
    """Return the versions of the peers that load, and why the others do not."""
    found: dict[str, str] = {}
    missing: dict[str, str] = {}
    for peer, modules in PEERS.items():
        try:
            loaded = [importlib.import_module(module) for module in modules]
        except (ImportError, OSError) as error:
            missing[peer] = str(error)
        else:
            found[peer] = str(loaded[0].__version__)
    return found, missing
