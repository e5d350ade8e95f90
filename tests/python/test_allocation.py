"""Zero copy: with ``out=`` nothing the size of the input is allocated, without it only the result.

`tracemalloc` sees NumPy's memory. What Rust takes from the system it cannot see, so the same calls
also run under a limit on the address space that a second copy would break.
"""

import functools
import math
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import golden
import processes
from cases import Function
from reference import Array, Axis

ALLOWED = 64 * 1024


def peak(call: Callable[[], Any]) -> int:
    """Return the most memory held at once during a call, in bytes."""
    call()  # the thread pool and NumPy's caches are not what is measured
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        result = call()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    del result
    return most - before


def _rows(x: Array) -> Array:
    return x[:, : x.shape[1] // 2]


def _columns(x: Array) -> Array:
    return x[:, ::2]


# How a 4 MB array is looked at, and along which axis.
VIEWS: dict[str, tuple[Callable[[Array], Array], Axis]] = {
    "contiguous rows": (lambda x: x, -1),
    "strided rows": (_rows, -1),
    "reversed rows": (lambda x: x[::-1], -1),
    "columns": (lambda x: x, 0),
    "strided columns": (_rows, 0),
    "Fortran rows": (lambda x: x.T, -1),
    "Fortran columns": (lambda x: x.T, 0),
    "middle axis": (lambda x: x.reshape(8, -1, 64), 1),
    "several axes": (lambda x: x.reshape(64, -1, 64), (1, 2)),
    "whole array": (lambda x: x, None),
    "tiny rows": (lambda x: x.reshape(-1, 8), -1),
    "one long row": (lambda x: x.reshape(1, -1), -1),
    "every second entry": (_columns, -1),
    "reversed entries": (lambda x: x[:, ::-1], -1),
}


@functools.cache
def inputs(function: Function, dtype: np.dtype[Any]) -> tuple[Array, ...]:
    """Return 4 MB an argument: probabilities take their time, and any will do here."""
    return function.inputs(golden.values((1024, 4 * 2**20 // 1024 // dtype.itemsize), dtype))


@pytest.fixture(params=list(VIEWS.values()), ids=list(VIEWS))
def case(request: pytest.FixtureRequest, function: Function, dtype: np.dtype[Any]) -> Any:
    view, axis = request.param
    return function, tuple(view(a.copy()) for a in inputs(function, dtype)), axis


@pytest.mark.parametrize("threads", [1, 2])
def test_with_out(case: Any, threads: int) -> None:
    function, arrays, axis = case
    out = np.empty(function.result_shape(arrays[0].shape, axis), arrays[0].dtype)
    used = peak(lambda: function(*arrays, axis=axis, out=out, num_threads=threads))
    assert used < ALLOWED


def test_in_place(case: Any) -> None:
    function, arrays, axis = case
    if function.reduces:
        pytest.skip(f"{function.name} has results of another shape")
    assert peak(lambda: function(*arrays, axis=axis, out=arrays[0])) < ALLOWED


def test_without_out(case: Any) -> None:
    function, arrays, axis = case
    used = peak(lambda: function(*arrays, axis=axis))
    size = arrays[0].itemsize * math.prod(function.result_shape(arrays[0].shape, axis))
    assert size <= used < size + ALLOWED


def test_dlpack_is_read_where_it_lies(function: Function, dtype: np.dtype[Any]) -> None:
    if dtype.kind != "f":
        pytest.skip(f"NumPy exports no {dtype} by DLPack")

    class Exported:
        def __init__(self, array: Array) -> None:
            self.array = array

        def __dlpack__(self, **options: Any) -> Any:
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return 1, 0

    arrays = function.inputs(golden.values((1024, 1024), dtype))
    exported = [Exported(a) for a in arrays]
    out = np.empty(function.result_shape((1024, 1024)), dtype)
    assert peak(lambda: function(*exported, out=out)) < ALLOWED


def test_the_measure_sees_a_copy(dtype: np.dtype[Any]) -> None:
    x = golden.values((1024, 1024), dtype)
    assert peak(lambda: (x + x).sum()) >= x.nbytes


UNDER_A_LIMIT = """
import resource, sys
import numpy as np
from cases import BY_NAME
from test_allocation import VIEWS

function = BY_NAME[sys.argv[1]]
dtype = np.dtype(sys.argv[2])
memory = np.full((2048, 32 * 2**20 // 2048 // dtype.itemsize), 0.25, dtype)
result = np.empty_like(memory)
function(*[memory[:4] for _ in function.arguments], num_threads=1)

with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 16 * 2**20, resource.RLIM_INFINITY))
try:
    np.empty_like(memory)
except MemoryError:
    pass
else:
    sys.exit("the limit is not enforced here")
for name, (view, axis) in VIEWS.items():
    arrays = [view(memory) for _ in function.arguments]
    out = np.ndarray(function.result_shape(arrays[0].shape, axis), dtype, result)
    print(name, flush=True)
    function(*arrays, axis=axis, out=out, num_threads=1)
print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads its own size from /proc")
def test_no_hidden_copy(function: Function, dtype: np.dtype[Any]) -> None:
    done = processes.run("-c", UNDER_A_LIMIT, function.name, str(dtype))
    assert done.stdout.splitlines() == [*VIEWS, "done"], done.stderr
