"""Everyone who takes part.

A contestant is a function from a problem to calls, its best ones; one that does not offer the
operation yields none. Libraries are loaded only when asked for, so a process that times softlane
alone holds nothing else.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Final

from . import onnx_calls, own_calls, peer_calls
from .calls import Calls
from .problem import Problem

OURS: Final = "softlane"
COPY: Final = "copy"
ONE_THREAD: Final = "1 thread"
MORE_THREADS: Final = "threads"

CONTESTANTS: Final[dict[str, Callable[[Problem], Calls]]] = {
    OURS: own_calls.softlane,
    "SciPy": peer_calls.scipy,
    "PyTorch": peer_calls.pytorch,
    "JAX": peer_calls.jax,
    "ONNX Runtime": onnx_calls.onnx_runtime,
    COPY: own_calls.copy,
    "np.exp": own_calls.numpy_exp,
    "x.max": own_calls.numpy_max,
    "last axis": own_calls.softlane_last_axis,
    "plain input": own_calls.softlane_plain,
    "float32": own_calls.softlane_float32,
    ONE_THREAD: own_calls.softlane_one_thread,
    MORE_THREADS: own_calls.softlane_threads,
}

# The modules each peer needs, the one that gives its version first.
PEERS: Final[dict[str, tuple[str, ...]]] = {
    "SciPy": ("scipy", "scipy.special"),
    "PyTorch": ("torch",),
    "JAX": ("jax",),
    "ONNX Runtime": ("onnxruntime", "onnx"),
}

# These do another job; their results are not compared with the problem's.
YARDSTICKS: Final = frozenset({COPY, "np.exp", "x.max", "last axis", "plain input", "float32"})


def find_peers() -> tuple[dict[str, str], dict[str, str]]:
    """Return the versions of the peers that load, and why the others do not."""
    found: dict[str, str] = {}
    missing: dict[str, str] = {}
    for peer, modules in PEERS.items():
        try:
            loaded = [importlib.import_module(module) for module in modules]
        except Exception as error:  # a broken installation fails in any way it likes
            missing[peer] = f"{type(error).__name__}: {error}".splitlines()[0]
        else:
            found[peer] = str(loaded[0].__version__)
    return found, missing
