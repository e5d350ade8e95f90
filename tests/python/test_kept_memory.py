"""Memory of large results is used again: by whom, how much of it, and what NumPy sees of it."""

import gc
import sys
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy._core.multiarray import get_handler_name

import processes
import softlane as sl

if sys.platform != "linux":
    pytest.skip("large results are NumPy's own here", allow_module_level=True)

DEFAULT = get_handler_name()


@pytest.fixture
def x() -> Iterator[Any]:
    yield np.tile(np.linspace(-3, 3, 1 << 16, dtype=np.float32), (64, 1))
    gc.collect()


def address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def test_the_next_result_has_the_memory_of_the_last(x: Any) -> None:
    p = sl.softmax(x)
    before, expected = address(p), p.copy()
    del p
    p = sl.softmax(x)
    assert address(p) == before
    assert np.array_equal(p, expected)


def test_a_result_that_is_alive_keeps_its_memory(x: Any) -> None:
    results = [sl.softmax(x[: 48 + 3 * k]) for k in range(6)]
    copies = [p.copy() for p in results]
    assert len({address(p) for p in results}) == 6
    del results[::2]
    again = [sl.log_softmax(x) for _ in range(3)]
    for p, copy in zip(results, copies[1::2], strict=True):
        assert np.array_equal(p, copy)
    assert not {address(p) for p in results} & {address(p) for p in again}


def test_smaller_results_are_numpys(x: Any) -> None:
    assert get_handler_name(sl.softmax(x)) == "softlane"
    assert get_handler_name(sl.softmax(x[:4])) == DEFAULT
    assert get_handler_name(sl.logsumexp(x, axis=-1)) == DEFAULT
    assert get_handler_name() == DEFAULT
    assert get_handler_name(np.empty(1 << 24)) == DEFAULT


def test_it_owns_its_data(x: Any) -> None:
    p = sl.softmax(x)
    assert p.flags.owndata
    assert p.base is None
    assert address(p) % 64 == 0
    assert sys.getsizeof(p) > p.nbytes


@pytest.mark.parametrize("factor", [0.001, 0.3, 0.9, 1, 1.0001, 2, 40])
def test_it_can_be_resized(x: Any, factor: float) -> None:
    p = sl.softmax(x)
    expected, size = p.ravel().copy(), int(p.size * factor)
    p.resize(size, refcheck=False)
    common = min(size, expected.size)
    assert np.array_equal(p[:common], expected[:common])
    assert not p[common:].any()


def test_tracemalloc_counts_it(x: Any) -> None:
    sl.softmax(x)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        p = sl.softmax(x)
        used = tracemalloc.get_traced_memory()[0] - before
        del p
        left = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert x.nbytes <= used < x.nbytes + 64 * 1024
    assert left < 64 * 1024


def test_threads_do_not_share(x: Any) -> None:
    def work(k: int) -> bool:
        y = x[: 48 + 4 * (k % 4)] * np.float32(k + 1)
        with np.errstate(all="raise"):
            return all(
                bool((np.abs(sl.softmax(y).sum(-1, dtype=np.float64) - 1) < 1e-6).all())
                for _ in range(5)
            )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(32)))


def test_a_failed_call_leaves_numpys_handler(x: Any) -> None:
    with pytest.raises((MemoryError, ValueError)):
        sl.softmax(np.broadcast_to(np.float32(0), (1 << 40, 1 << 20)))
    assert get_handler_name() == DEFAULT


IN_A_PROCESS = """
import numpy as np
import softlane as sl

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

x = np.zeros((1 << 10, 1 << 13), np.float32)
before = resident()
results = [sl.softmax(x) for _ in range(12)]
held = resident() - before
del results
left = resident() - before
assert held > 12 * x.nbytes, held
assert left < 270 << 20, left
results = [sl.softmax(x) for _ in range(12)]
del results
assert resident() - before < 270 << 20
"""


def test_not_more_than_so_much_is_kept() -> None:
    processes.output(IN_A_PROCESS)


AFTER_FORK = """
import os
import numpy as np
import softlane as sl

x = np.ones((1 << 10, 1 << 13), np.float32)
p = sl.softmax(x, num_threads=1)
q = sl.softmax(x, num_threads=1)
del q
if child := os.fork():
    r = sl.softmax(x, num_threads=1)
    status = os.waitpid(child, 0)[1]
    assert (p == p[0, 0]).all() and (r == p).all()
    assert status == 0, status
else:
    r = sl.log_softmax(2 * x, num_threads=1)
    del p
    s = sl.log_softmax(x, num_threads=1)
    os._exit(0 if (r == s).all() else 1)
"""


def test_each_process_has_its_own() -> None:
    processes.output(AFTER_FORK)


UNDER_A_LIMIT = """
import resource
import numpy as np
import softlane as sl

x = np.zeros((1 << 10, 1 << 13), np.float32)
results = [sl.softmax(x) for _ in range(6)]
del results
with open("/proc/self/statm") as file:
    now = int(file.read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (now + (80 << 20),) * 2)
large = np.zeros((1 << 10, 1 << 14), np.float16)
p = sl.softmax(large, dtype=np.float32)
try:
    sl.softmax(np.broadcast_to(np.float32(0), (1 << 22, 1 << 13)))
except MemoryError:
    pass
else:
    raise AssertionError("no such memory")
"""


def test_what_is_kept_makes_room() -> None:
    processes.output(UNDER_A_LIMIT)
