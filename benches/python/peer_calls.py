"""The calls of SciPy, PyTorch and JAX, each the best it has for a problem."""

from __future__ import annotations

import importlib
from contextlib import nullcontext
from functools import cache
from typing import Any

import numpy as np

from .calls import Call, Calls
from .cell import Mode
from .problem import Array, Problem


def scipy(problem: Problem) -> Calls:
    """SciPy has the forward pass only, no mask, and ``out=`` for sigmoid alone.

    What it does in half precision takes a hundred times as long as elsewhere: seconds for large
    arrays, which are left out.
    """
    special = importlib.import_module("scipy.special")
    x = problem.contiguous()[0]
    names: dict[str, Any] = {"x": x, "axis": problem.axis}
    if problem.where is not None or (x.dtype.itemsize < 4 and x.size > 1 << 21):
        return
    match problem.operation:
        case "softmax" | "log_softmax" | "logsumexp":
            names["f"] = getattr(special, problem.operation)
            yield Call(Mode.FRESH, "f(x, axis)", names)
        case "softmin":
            yield Call(Mode.FRESH, "f(-x, axis)", {**names, "f": special.softmax})
        case "sigmoid":
            names |= {"f": special.expit, "out": np.empty_like(x)}
            if x.dtype.itemsize >= 4:
                yield Call(Mode.FRESH, "f(x)", names)
            else:
                # It has no loop for them, and gives float64 unless told what is wanted.
                names["dtype"] = x.dtype
            yield Call(Mode.OUT, "f(x, out=out)", names)


# PyTorch.


def pytorch(problem: Problem) -> Calls:
    """PyTorch, in inference mode where no autograd is asked for: that spares it bookkeeping."""
    torch = _load_torch()
    functional = torch.nn.functional
    operands = [_tensor(torch, operand) for operand in problem.contiguous()]
    x, axis, dtype = operands[0], problem.axis, getattr(torch, problem.dtype.name)
    out = torch.empty(problem.shape, dtype=dtype)
    names = {"x": x, "axis": axis, "dtype": dtype, "out": out}

    def inferred(mode: Mode, expression: str, **more: Any) -> Call:
        return Call(mode, expression, names | more, _from_torch, torch.inference_mode)

    match problem.operation:
        case "softmax" | "log_softmax" | "logsumexp" if problem.where is not None:
            # The best case: what hides is known beforehand.
            hidden = torch.from_numpy(~problem.where)
            more = {"f": getattr(torch, problem.operation), "hidden": hidden, "ninf": -np.inf}
            yield inferred(Mode.FRESH, "f(x.masked_fill(hidden, ninf), axis)", **more)
        case "logsumexp":
            cast = "x" if x.dtype == dtype else "x.to(dtype)"
            yield inferred(Mode.FRESH, f"f({cast}, axis)", f=torch.logsumexp)
            yield inferred(Mode.OUT, f"f({cast}, axis, out=out)", f=torch.logsumexp)
        case "softmax" | "log_softmax":
            f = getattr(torch, problem.operation)
            cast = "" if x.dtype == dtype else ", dtype=dtype"
            yield inferred(Mode.FRESH, f"f(x, axis{cast})", f=f)
            yield inferred(Mode.OUT, f"f(x, axis{cast}, out=out)", f=f)
        case "softmin":
            yield inferred(Mode.FRESH, "f(x, axis)", f=functional.softmin)
        case "sigmoid":
            yield inferred(Mode.FRESH, "f(x)", f=torch.sigmoid)
            yield inferred(Mode.OUT, "f(x, out=out)", f=torch.sigmoid)
        case "softmax_vjp":
            more = {"f": torch._softmax_backward_data, "y": x, "dy": operands[1]}
            yield inferred(Mode.FRESH, "f(dy, y, axis, dtype)", **more)
            yield inferred(Mode.OUT, "f(dy, y, axis, dtype, grad_input=out)", **more)
        case "log_softmax_vjp":
            more = {"f": torch._log_softmax_backward_data, "logp": x, "dy": operands[1]}
            yield inferred(Mode.FRESH, "f(dy, logp, axis, dtype)", **more)
            yield inferred(Mode.OUT, "f(dy, logp, axis, dtype, out=out)", **more)
        case "cross_entropy":
            # It wants the classes on the axis that follows the batch.
            x = torch.movedim(x, axis, 1)
            more = {"f": functional.cross_entropy, "x": x, "y": operands[1]}
            yield inferred(Mode.FRESH, "f(x, y)", **more)
            if problem.dtype.itemsize < 4:  # the mean of many rows is beyond float16
                yield inferred(Mode.FRESH, "f(x.float(), y)", **more)
        case "cross_entropy_value_and_grad":
            value_and_grad = _torch_autograd(torch, axis)
            more = {"f": value_and_grad, "x": x.clone().requires_grad_(), "y": operands[1]}
            yield Call(Mode.FRESH, "f(x, y)", names | more, _from_torch, nullcontext)
            # Without autograd, which is faster.
            f = _torch_by_hand(torch, x, axis, operands[1])
            yield inferred(Mode.FRESH, "f(x)", f=f)
            yield inferred(Mode.OUT, "f(x, out)", f=f)


@cache
def _load_torch() -> Any:
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    return torch


def _tensor(torch: Any, array: Array) -> Any:
    """Return the array as a tensor; NumPy's own bfloat16 is unknown to PyTorch."""
    if array.dtype.name != "bfloat16":
        return torch.from_numpy(array)
    return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)


def _from_torch(result: Any) -> tuple[Array, ...]:
    torch = _load_torch()

    def to_numpy(tensor: Any) -> Array:
        if tensor.dtype == torch.bfloat16:
            return np.asarray(tensor.view(torch.uint16).numpy()).view("bfloat16")
        return np.asarray(tensor.numpy())

    return tuple(map(to_numpy, result if isinstance(result, tuple) else (result,)))


def _torch_autograd(torch: Any, axis: int) -> Any:
    cross_entropy, grad = torch.nn.functional.cross_entropy, torch.autograd.grad
    moved = axis not in {-1, 1}

    def value_and_grad(x: Any, classes: Any) -> tuple[Any, Any]:
        loss = cross_entropy(torch.movedim(x, axis, 1) if moved else x, classes)
        return loss.detach(), grad(loss, x)[0]

    return value_and_grad


def _torch_by_hand(torch: Any, like: Any, axis: int, classes: Any) -> Any:
    classes = classes.unsqueeze(axis)
    scale = 1.0 / classes.numel()
    correction = torch.full(classes.shape, -scale, dtype=like.dtype)
    wide = torch.promote_types(like.dtype, torch.float32)

    def value_and_grad(x: Any, out: Any = None) -> tuple[Any, Any]:
        gradient = torch.log_softmax(x, axis, out=out)
        loss = gradient.gather(axis, classes).to(wide).mean().neg_()
        return loss, gradient.exp_().mul_(scale).scatter_add_(axis, classes, correction)

    return value_and_grad


# JAX.


def jax(problem: Problem) -> Calls:
    """JAX on arrays of its own, compiled.

    It has no ``out=``. Donating the input is its way to work in place, and was slower than a
    fresh result at every size tried.
    """
    jax = importlib.import_module("jax")
    axis, dtype, nn = problem.axis, problem.dtype, jax.nn
    names = dict(zip("xy", map(jax.device_put, problem.contiguous()), strict=False))

    def compiled(function: Any, **more: Any) -> Call:
        given = {**names, **more}
        call = f"f({', '.join(given)})"
        if len(problem.expected) == 1:
            call += ".block_until_ready()"
        else:  # all results of a program are ready together
            call = f"(results := {call}, results[0].block_until_ready())[0]"
        return Call(Mode.FRESH, call, {**given, "f": jax.jit(function)})

    match problem.operation:
        case "softmax" | "log_softmax" | "logsumexp":
            forward = getattr(nn, problem.operation)
            if problem.where is None:
                yield compiled(lambda x: forward(x.astype(dtype), axis=axis))
            else:
                mask = jax.device_put(problem.where)
                yield compiled(lambda x, mask: forward(x, axis=axis, where=mask), mask=mask)
        case "softmin":
            yield compiled(lambda x: nn.softmax(-x, axis=axis))
        case "sigmoid":
            yield compiled(nn.sigmoid)
        case "softmax_vjp":
            # The pull-back carries y, as a training step would keep it, so the forward pass is
            # not timed.
            y = names["x"]
            _, pull_back = jax.vjp(lambda x: nn.softmax(x, axis=axis), jax.numpy.log(y))
            yield compiled(lambda pull_back, dy: pull_back(dy)[0], x=pull_back)
            # The textbook formula, which XLA runs faster than its own pull-back; but it takes a
            # minute for one row of 16 million.
            if problem.operands[0].shape[axis] < 1 << 20:
                yield compiled(lambda y, dy: y * (dy - (y * dy).sum(axis=axis, keepdims=True)))
        case "log_softmax_vjp":
            exp = jax.numpy.exp
            yield compiled(lambda logp, dy: dy - exp(logp) * dy.sum(axis=axis, keepdims=True))
        case "cross_entropy" | "cross_entropy_value_and_grad":
            names["y"] = names["y"].astype(np.int32)
            loss = _jax_loss(jax, axis)
            value = problem.operation == "cross_entropy"
            yield compiled(loss if value else jax.value_and_grad(loss))


def _jax_loss(jax: Any, axis: int) -> Any:
    numpy = jax.numpy

    def loss(x: Any, classes: Any) -> Any:
        # As softlane's, the loss of half-precision logits is float32.
        x = x.astype(numpy.promote_types(x.dtype, numpy.float32))
        chosen = numpy.take_along_axis(x, numpy.expand_dims(classes, axis), axis)
        return numpy.mean(jax.nn.logsumexp(x, axis=axis) - chosen.squeeze(axis))

    return loss
