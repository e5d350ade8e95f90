"""How many threads, who decides, and that threads disturb nothing: fork, the GIL, Ctrl-C."""

import asyncio
import contextvars
import math
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import golden
import processes
import softlane as sl
from cases import Function, same_bits

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
CAN_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

REPORT = "import softlane as sl; print(sl.get_num_threads())"


def test_set_num_threads() -> None:
    for n in (1, 2, 3, np.int64(5)):
        sl.set_num_threads(n)
        assert sl.get_num_threads() == n
        assert type(sl.get_num_threads()) is int
        assert sl.show_config()["num_threads"] == n


def test_threads_nest_and_restore() -> None:
    sl.set_num_threads(4)
    with sl.threads(3):
        assert sl.get_num_threads() == 3
        with sl.threads(1):
            assert sl.get_num_threads() == 1
            sl.set_num_threads(2)  # of the process: the block still decides here
            assert sl.get_num_threads() == 1
        assert sl.get_num_threads() == 3
        assert sl.show_config()["num_threads"] == 3
    assert sl.get_num_threads() == 2


def test_threads_restores_after_an_error() -> None:
    before = sl.get_num_threads()
    with pytest.raises(ZeroDivisionError), sl.threads(before + 1):
        _ = 1 / (sl.get_num_threads() - before - 1)
    assert sl.get_num_threads() == before


def test_threads_is_used_again() -> None:
    sl.set_num_threads(1)
    three = sl.threads(3)
    assert sl.get_num_threads() == 1  # nothing happens before `with`
    for _ in range(2):
        with three:
            assert sl.get_num_threads() == 3
        assert sl.get_num_threads() == 1


@pytest.mark.parametrize("setter", [sl.set_num_threads, sl.threads])
def test_bad_numbers(setter: Any) -> None:
    before = sl.get_num_threads()
    for n in (0, -1, -(2**40)):
        with pytest.raises(ValueError, match=str(n)):
            setter(n)
    for junk in (1.0, "2", None, [1], 2j):
        with pytest.raises(TypeError):
            setter(junk)
    assert sl.get_num_threads() == before


def in_new_context(results: list[int]) -> None:
    # Explicitly empty: a thread may or may not inherit its parent's context, by Python's version.
    contextvars.Context().run(lambda: results.append(sl.get_num_threads()))


def test_other_threads_do_not_see_the_block() -> None:
    sl.set_num_threads(2)
    results: list[int] = []
    with sl.threads(5):
        thread = threading.Thread(target=in_new_context, args=(results,))
        thread.start()
        thread.join()
        assert sl.get_num_threads() == 5
    assert results == [2]


def test_a_block_in_a_thread_stays_there() -> None:
    sl.set_num_threads(2)
    inside, checked = threading.Event(), threading.Event()
    seen: list[int] = []

    def work() -> None:
        with sl.threads(5):
            inside.set()
            checked.wait(10)
            seen.append(sl.get_num_threads())

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(10)
    assert sl.get_num_threads() == 2
    sl.set_num_threads(3)
    checked.set()
    thread.join()
    assert seen == [5]


def test_copied_contexts_see_the_block() -> None:
    sl.set_num_threads(2)
    with sl.threads(5):
        context = contextvars.copy_context()
    assert sl.get_num_threads() == 2
    assert context.run(sl.get_num_threads) == 5


def test_tasks_have_each_their_own() -> None:
    async def task(n: int) -> list[int]:
        seen = []
        with sl.threads(n):
            for _ in range(5):
                await asyncio.sleep(0)
                seen.append(sl.get_num_threads())
        return seen

    async def both() -> list[list[int]]:
        return list(await asyncio.gather(task(2), task(3)))

    assert asyncio.run(both()) == [[2] * 5, [3] * 5]


# Where the number comes from when nobody in Python said one.

PRECEDENCE = [
    ({"SOFTLANE_NUM_THREADS": "3"}, "", 3),
    ({"OMP_NUM_THREADS": "3"}, "", 3),
    ({"SOFTLANE_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, "", 3),
    ({"OMP_NUM_THREADS": "4,2"}, "", 4),  # OpenMP's list by nesting level: the outermost
    ({"SOFTLANE_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, "sl.set_num_threads(7)", 7),
    ({"SOFTLANE_NUM_THREADS": "3"}, "sl.set_num_threads(7); sl.threads(6).__enter__()", 6),
    ({"SOFTLANE_NUM_THREADS": "3"}, "sl.threads(6).__enter__(); sl.set_num_threads(7)", 6),
]


@pytest.mark.parametrize(("environment", "code", "expected"), PRECEDENCE)
def test_precedence(environment: dict[str, Any], code: str, expected: int) -> None:
    script = f"import softlane as sl; {code}\nprint(sl.get_num_threads())"
    assert processes.output(script, **environment) == str(expected)


@ON_LINUX
def test_affinity_is_obeyed() -> None:
    script = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); " + REPORT
    assert processes.output(script) == "1"
    # The environment asks for more: that is the user's decision.
    assert processes.output(script, OMP_NUM_THREADS="3") == "3"


def granted_cpus() -> int:
    """Return the CPUs of the affinity mask, less where the control group has a quota."""
    cpus = len(os.sched_getaffinity(0))
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.exists():
        limit, period = quota.read_text(encoding="ascii").split()
        if limit != "max":
            cpus = min(cpus, max(1, math.ceil(int(limit) / int(period))))
    return cpus


@ON_LINUX
def test_default_is_what_the_process_was_granted() -> None:
    assert 1 <= int(processes.output(REPORT)) <= granted_cpus()
    if not Path("/sys/fs/cgroup/cpu.max").exists():
        assert int(processes.output(REPORT)) == granted_cpus()


# The threads of the process before and after calls that may and may not use more than one.
COUNT = """
import os
import golden
import softlane as sl

def threads():
    return len(os.listdir("/proc/self/task"))

x = golden.values((3000, 1000), "float32")
before = threads()
{}
print(threads() - before)
"""


@ON_LINUX
@pytest.mark.parametrize(
    "call",
    [
        "sl.softmax(x, num_threads=1)",
        "sl.set_num_threads(1); sl.softmax(x)",
        "\nwith sl.threads(1): sl.softmax(x)",
        "\nwith sl.threads(2): sl.softmax(x, num_threads=1)",
        "sl.softmax(x[:4, :50], num_threads=2)",  # small work stays on the calling thread
    ],
)
def test_no_pool_without_need(call: str) -> None:
    assert processes.output(COUNT.format(call), SOFTLANE_NUM_THREADS="3") == "0"


@ON_LINUX
@pytest.mark.parametrize(
    "call",
    [
        "sl.softmax(x)",
        "sl.set_num_threads(1); sl.softmax(x, num_threads=2)",
        "\nwith sl.threads(1): sl.softmax(x, num_threads=2)",
        "sl.set_num_threads(1)\nwith sl.threads(2): sl.softmax(x)",
    ],
)
def test_pool_at_first_need(call: str) -> None:
    assert int(processes.output(COUNT.format(call), SOFTLANE_NUM_THREADS="3")) > 0


def test_bits_do_not_depend_on_the_setting(function: Function, dtype: np.dtype[Any]) -> None:
    arrays = function.inputs(golden.values((500, 1030), dtype))
    expected = function(*arrays, num_threads=1)
    for n in (1, 2, 3, 8):
        sl.set_num_threads(n)
        assert same_bits(function(*arrays), expected)
        with sl.threads(n + 1):
            assert same_bits(function(*arrays), expected)


def test_calls_from_many_threads(function: Function, dtype: np.dtype[Any]) -> None:
    arrays = function.inputs(golden.values((400, 1030), dtype))
    expected = function(*arrays)
    right: list[bool] = []

    def work() -> None:
        for n in (1, 2, 3, 2):
            right.append(same_bits(function(*arrays, num_threads=n), expected))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert right == [True] * 16


FORK = """
import hashlib, os, signal
import golden
import softlane as sl

def digest(n):
    x = golden.values((2000, 1030), "float32")
    return hashlib.sha256(sl.softmax(x, num_threads=n).tobytes()).hexdigest()

expected = digest(2)
for generation in range(3):
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a pool that did not survive the fork hangs
        if digest(2) != expected or digest(1) != expected or digest(3) != expected:
            os._exit(1)
        if generation == 2:  # and again in a child of the child
            grandchild = os.fork()
            if grandchild == 0:
                signal.alarm(20)
                os._exit(0 if digest(2) == expected else 1)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert digest(2) == expected  # the parent's pool still works
print("same")
"""


@CAN_FORK
def test_fork() -> None:
    assert processes.output(FORK, timeout=90) == "same"


MULTIPROCESSING = """
import hashlib, multiprocessing
import golden
import softlane as sl

def digest(n):
    x = golden.values((2000, 1030), "float64")
    return hashlib.sha256(sl.softmax(x, num_threads=n).tobytes()).hexdigest()

if __name__ == "__main__":
    expected = digest(2)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(digest, [1, 2, 3, 2]).get(timeout=40) == [expected] * 4
    print("same")
"""


@CAN_FORK
def test_multiprocessing() -> None:
    assert processes.output(MULTIPROCESSING, timeout=90) == "same"


@CAN_FORK
def test_fork_while_another_thread_computes() -> None:
    script = FORK.replace(
        "expected = digest(2)",
        "import threading\nstop = threading.Event()\n"
        "def busy():\n    while not stop.is_set(): digest(2)\n"
        "expected = digest(2)\nthreading.Thread(target=busy, daemon=True).start()",
        1,
    )
    assert processes.output(script + "stop.set()", timeout=90).endswith("same")


def test_the_gil_is_released(function: Function) -> None:
    arrays = function.inputs(golden.values((4000, 1500), np.float64))
    out = np.empty(function.result_shape(arrays[0].shape))
    ticks: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    ticker = threading.Thread(target=tick)
    interval = sys.getswitchinterval()
    # Nobody is forced to hand over the GIL: a tick within the call proves that the call let go.
    sys.setswitchinterval(100.0)
    try:
        ticker.start()
        for _ in range(10):
            time.sleep(0.01)
            start = time.perf_counter()
            function(*arrays, out=out, num_threads=1)
            end = time.perf_counter()
            within = sum(start < t < end for t in ticks)
            if within >= 3:
                break
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        ticker.join()
    assert within >= 3, f"{within} ticks of another thread in a call of {end - start:.3f} s"


# Interrupts itself a fifth of the way; entries still untouched show that the work was given up.
INTERRUPT = """
import os, signal, sys, threading, time
import numpy as np
import softlane as sl

way, threads = sys.argv[1], int(sys.argv[2])
untouched = -7.0
long = 0.2  # seconds: many times what passes between two looks for a signal

def arrays(rows):
    if way == "copy":
        buffer = np.full((rows + 1, 1000), untouched, np.float32)
        return buffer[:-1], buffer[1:]  # they overlap, so the input is copied first
    columns = {"rows": 1000, "long rows": 10_000}[way]
    out = np.full((rows, columns), untouched, np.float32)
    # One row of memory, converted and read backwards for each row of the result: slow for its size.
    return np.broadcast_to(np.zeros(columns, np.int8)[::-1], out.shape), out

def call():
    sl.softmax(x, out=out, dtype=np.float32, num_threads=threads)

rows, whole = 1000, 0.0
while whole < long:
    rows = int(rows * min(10, max(1.5, 1.2 * long / max(whole, 1e-3))))
    x = out = None  # frees the memory
    x, out = arrays(rows)
    start = time.perf_counter()
    call()
    whole = time.perf_counter() - start
    assert not (out == untouched).any()

for _ in range(5):
    out.fill(untouched)
    interrupt = threading.Timer(whole / 5, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    try:
        call()
        interrupt.join()
        time.sleep(0.01)
    except KeyboardInterrupt:
        left = (out[:, 0] == untouched).mean()
        if left > 0.2:
            print("interrupted")
            break
interrupt.join()
# And it works again, pool and all.
again = sl.softmax(x[:2000], num_threads=threads)
assert np.allclose(again, 1 / x.shape[1], rtol=1e-6, atol=0)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends itself a POSIX signal")
@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("way", ["rows", "long rows", "copy"])
def test_ctrl_c(way: str, threads: str) -> None:
    done = processes.run("-c", INTERRUPT, way, threads)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "interrupted"
