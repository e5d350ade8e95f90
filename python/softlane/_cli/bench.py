"""``softlane bench``: a quick side-by-side with the libraries that are installed."""

import math
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

import softlane
from softlane._cli.errors import CommandError
from softlane._cli.extras import has
from softlane._cli.peers import OPERATIONS, PEERS, Array, Call, Calls, ours
from softlane._cli.progress import working
from softlane._cli.tables import show
from softlane._timing import seconds_in_block

SHAPES = ((1024, 1000), (20000, 10), (64, 32000))
BLOCK_SECONDS = 0.005
LEAST_ROUNDS = 3
# Read by the peers' libraries when they are loaded.
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Contender:
    """A call, how many make a block, and the seconds a call took in each block."""

    call: Call
    count: int
    seconds: list[float]

    def take_turn(self) -> None:
        """Time one block."""
        self.seconds.append(seconds_in_block(self.call, self.count))


def run(seconds: float) -> int:
    """Print how many times faster softlane is than each library, operation by operation."""
    if not (math.isfinite(seconds) and seconds > 0):
        raise CommandError(f"--seconds is {seconds}, expected a number above 0")
    # glibc keeps freed blocks up to the largest it has seen freed. Without this the first cells,
    # of fresh results, would pay for pages that later ones reuse.
    np.empty(31 << 20, np.uint8)
    with _one_thread(), working("Measuring") as announce:
        peers, notes = _load()
        cells = [(operation, shape) for operation in OPERATIONS for shape in SHAPES]
        rows = []
        for operation, shape in cells:
            announce(f"{operation} {shape[0]} × {shape[1]}")
            row, failures = _measure(operation, shape, peers, seconds / len(cells))
            rows.append(row)
            notes += failures
    config = softlane.show_config()
    print(f"softlane {config['version']}, {config['isa']}; float32, one thread each.")
    title = "Time of softlane's call, and of the others' over it: above 1, softlane is faster."
    show(["along the last axis", "softlane", *peers], rows, title=title)
    for note in dict.fromkeys(notes):
        print(note)
    return 0


def _load() -> tuple[dict[str, Calls], list[str]]:
    """Return the calls of whatever is installed, and why something that is would not load."""
    found: dict[str, Calls] = {}
    notes = []
    for name, (calls, modules) in PEERS.items():
        if all(has(module) for module in modules):
            try:
                found[name] = calls()
            except Exception as error:  # a broken installation of a peer, whatever its way to fail
                notes.append(f"{name} is left out: {_first_line(error)}")
    return found, notes


def _measure(
    operation: str, shape: tuple[int, int], peers: dict[str, Calls], seconds: float
) -> tuple[list[str], list[str]]:
    """Return a row of the table for one operation and shape, and what was left out."""
    rng = np.random.default_rng(0)
    x: Array = rng.standard_normal(shape, np.float32) * np.float32(4)
    labels: Array = rng.integers(0, shape[1], shape[0])
    first = ours()[operation](x, labels)
    expected = np.asarray(first())
    contenders = {"softlane": _ready(first)}
    notes = []
    for name, calls in peers.items():
        try:
            call = calls[operation](x, labels)
            # Half the digits: this is to see that it is the same job, not how well it is done.
            if not np.allclose(np.asarray(call()), expected, rtol=1e-3, atol=1e-3):
                raise ValueError("another result")
            contenders[name] = _ready(call)
        except Exception as error:  # old versions of a peer may lack a call
            notes.append(f"{name} has no {operation} here: {_first_line(error)}")
    end = time.perf_counter() + seconds
    rounds = 0
    # In turns, so that a slow moment of the machine hits everyone.
    while rounds < LEAST_ROUNDS or time.perf_counter() < end:
        for contender in contenders.values():
            contender.take_turn()
        rounds += 1
    own = contenders["softlane"].seconds
    cells = [f"{operation} {shape[0]} × {shape[1]}", _duration(statistics.median(own))]
    for name in peers:
        ratio = "–"
        if name in contenders:
            pairs = zip(contenders[name].seconds, own, strict=True)
            ratio = f"{statistics.median(theirs / mine for theirs, mine in pairs):.1f}"
        cells.append(ratio)
    return cells, notes


def _ready(call: Call) -> Contender:
    """Return a contender whose blocks are of a certain length."""
    call()
    return Contender(call, max(1, round(BLOCK_SECONDS / seconds_in_block(call, 1))), [])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Hold everyone to one CPU: the only limit that JAX heeds."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if cpus:
        os.sched_setaffinity(0, {max(cpus)})  # the first often serves the system's interrupts
    try:
        yield
    finally:
        if cpus:
            os.sched_setaffinity(0, cpus)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _duration(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} µs"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
