"""Processes that time calls on request, each with its own CPUs and environment.

CPUs and environment are fixed before the process starts, hence before any library reads them:
the only way that holds all of them to one thread. (XLA ignores its own thread flags on CPU; an
affinity of one CPU it heeds.)
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import statistics
import time
import traceback
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from timeit import Timer
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .cell import Cell, Mode

if TYPE_CHECKING:
    from .accuracy import Accuracy
    from .calls import Call, Calls
    from .problem import Problem

# A block is long enough to drown the clock, short enough for everyone's turn to come often.
BLOCK_SECONDS = 0.010

ONE_THREAD_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_X64": "1",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A call that has been made ready, under the contestant's name."""

    index: int
    contestant: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class LineUp:
    """The calls of a cell that are ready, and why a peer lacks some."""

    entries: list[Entry] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """One block: seconds per call, and seconds of CPU per second of wall clock."""

    seconds: float
    cpu_per_wall: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What a worker has found in its process."""

    softlane: dict[str, Any]
    peers: dict[str, str]
    missing: dict[str, str]


class WorkerError(RuntimeError):
    """A worker failed; the message holds its traceback."""


class Worker:
    """A process to be asked for measurements.

    Parameters
    ----------
    cpus : collection of int, optional
        The CPUs the process may use; all that this one may use by default. Ignored where the
        operating system has no notion of it.
    environment : mapping of str to str
        Environment variables to set for the process.
    """

    def __init__(
        self,
        *,
        cpus: Collection[int] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with _affinity(cpus), _environment(environment or {}):
            self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        """Return the worker itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(timeout=1 if kind is None else 0)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def softlane(self) -> dict[str, Any]:
        """Return version and instruction sets of softlane in the process."""
        config: dict[str, Any] = self._ask("softlane")
        return config

    def facts(self) -> Facts:
        """Return what the process runs, with every peer loaded."""
        facts: Facts = self._ask("facts")
        return facts

    def free_cpus(self, threads: int) -> float:
        """Return how many CPUs that many busy threads get, beside whatever else is running."""
        found: float = self._ask("free_cpus", threads)
        return found

    def multiply_adds(self, dtype: str) -> float:
        """Return how many fused multiply-adds a second the machine gets done at its best."""
        found: float = self._ask("multiply_adds", dtype)
        return found

    def prepare(self, cell: Cell, contestants: list[str]) -> LineUp:
        """Make the calls of a cell ready, check their results, and choose lengths of blocks."""
        line_up: LineUp = self._ask("prepare", cell, contestants)
        return line_up

    def block(self, index: int) -> Sample:
        """Time one block of a call that `prepare` has made ready."""
        sample: Sample = self._ask("block", index)
        return sample

    def accuracy(self, contestants: list[str]) -> list[Accuracy]:
        """Return the worst errors of the contestants."""
        found: list[Accuracy] = self._ask("accuracy", contestants)
        return found

    def _ask(self, question: str, *arguments: object) -> Any:
        try:
            self._connection.send((question, arguments))
            answer, failure = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join(timeout=1)
            code = self._process.exitcode
            raise WorkerError(f"worker died during {question!r} (exit code {code})") from error
        if failure:
            raise WorkerError(failure)
        return answer


def _serve(connection: Connection) -> None:
    """Answer questions until the other end hangs up."""
    bench = _Bench()
    while True:
        try:
            question, arguments = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer, failure = getattr(bench, question)(*arguments), ""
        except KeyboardInterrupt:
            return
        except Exception:  # whatever it is, the asker must hear of it
            answer, failure = None, traceback.format_exc()
        connection.send((answer, failure))


class _Bench:
    """The worker's side: the calls of the present cell."""

    def __init__(self) -> None:
        self._timers: list[tuple[Call, Timer, int]] = []
        _settle_allocator()

    def softlane(self) -> dict[str, Any]:
        import softlane

        config = softlane.show_config()
        return {
            "version": str(config["version"]),
            "isa": str(config["isa"]),
            "isas": [str(isa) for isa in config["isas"]],
        }

    def facts(self) -> Facts:
        from .contestants import find_peers

        return Facts(self.softlane(), *find_peers())

    def free_cpus(self, threads: int) -> float:
        data = bytes(32 << 20)

        def busy(_: int) -> bytes:
            return hashlib.sha256(data).digest()  # lets go of the GIL

        found: list[float] = []
        with ThreadPoolExecutor(threads) as pool:
            for _ in range(5):
                started, started_cpu = time.perf_counter(), time.process_time()
                list(pool.map(busy, range(threads)))
                cpu = time.process_time() - started_cpu
                found.append(cpu / (time.perf_counter() - started))
        return statistics.median(found)

    def multiply_adds(self, dtype: str) -> float:
        import numpy as np

        # A product of matrices that fit into L2: what BLAS libraries are made for.
        n = 192
        x = np.ones((n, n), dtype)
        out = np.empty_like(x)
        timer = Timer(lambda: np.matmul(x, x, out=out))
        return n**3 * 10 / min(timer.repeat(repeat=20, number=10))

    def prepare(self, cell: Cell, contestants: list[str]) -> LineUp:
        from .contestants import CONTESTANTS, PEERS
        from .problem import make_problem

        self._timers.clear()
        problem = make_problem(cell)
        line_up = LineUp()
        for contestant in contestants:
            calls = CONTESTANTS[contestant](problem)
            more = True
            while more:
                try:
                    more = self._make_ready(contestant, calls, cell, problem, line_up)
                except Exception as error:
                    # Old versions of a peer may lack a call or a dtype; that must not end the run.
                    if contestant not in PEERS:
                        raise
                    why = f"{type(error).__name__}: {error}".splitlines()[0]
                    line_up.failures[contestant] = why
        return line_up

    def _make_ready(
        self, contestant: str, calls: Calls, cell: Cell, problem: Problem, line_up: LineUp
    ) -> bool:
        """Check and calibrate the next call; return whether there was one."""
        call = next(calls, None)
        if call is None:
            return False
        if _wanted(contestant, call.mode, cell):
            _check(contestant, call, problem)
            timer, count = _timer(call)
            line_up.entries.append(Entry(len(self._timers), contestant, call.mode))
            self._timers.append((call, timer, count))
        return True

    def block(self, index: int) -> Sample:
        call, timer, calls = self._timers[index]
        with call.context():
            started, started_cpu = time.perf_counter(), time.process_time()
            seconds = timer.timeit(calls)
            cpu, wall = time.process_time() - started_cpu, time.perf_counter() - started
        return Sample(seconds / calls, cpu / wall)

    def accuracy(self, contestants: list[str]) -> list[Accuracy]:
        from .accuracy import measure_accuracy

        return measure_accuracy(contestants)


def _settle_allocator() -> None:
    """Bring malloc to the state it reaches in any process that has lived for a while.

    glibc keeps freed blocks for reuse up to the size of the largest one it has seen freed, at
    most 32 MiB. Without this, whether fresh results of a few MB cost page faults would hang on
    the cells measured before.
    """
    import numpy as np

    np.empty(31 << 20, np.uint8)


def _wanted(contestant: str, mode: Mode, cell: Cell) -> bool:
    """Whether a row of the cell needs it: peers may use a fresh result where `out=` is asked."""
    from .contestants import COPY, PEERS

    return (
        mode in cell.modes
        or contestant == COPY
        or (contestant in PEERS and mode is Mode.FRESH)
        or (contestant in PEERS and mode is Mode.OUT and Mode.IN_PLACE in cell.modes)
    )


def _check(contestant: str, call: Call, problem: Problem) -> None:
    """Run the call once, and see that it does the job it is timed for."""
    from .contestants import YARDSTICKS

    results = call.evaluate()
    if contestant not in YARDSTICKS and (fault := problem.fault(results)):
        raise AssertionError(f"{call.expression} {fault}")


def _timer(call: Call) -> tuple[Timer, int]:
    """Return a timer and the calls that make a block.

    The set-up is the call itself: the first of a block warms the caches and is not counted.
    """
    timer = Timer(call.expression, setup=call.expression, globals=call.names)
    calls = 1
    with call.context():
        while (elapsed := timer.timeit(calls)) < BLOCK_SECONDS / 4:
            calls *= 4
    return timer, max(1, round(calls * BLOCK_SECONDS / elapsed))


@contextmanager
def _affinity(cpus: Collection[int] | None) -> Iterator[None]:
    """Hold this thread, and so the processes it starts, to the given CPUs."""
    if cpus is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
