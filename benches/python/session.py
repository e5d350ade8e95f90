"""A run of the side-by-side: who takes part, in which process, in which order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from .accuracy import Accuracy
from .cell import Cell, Suite
from .contestants import COPY, MORE_THREADS, ONE_THREAD, OURS, PEERS
from .machine import granted_cpus, machine_facts
from .problem import lacks
from .results import Row, Timing, make_rows
from .worker import ONE_THREAD_ENVIRONMENT, Entry, Facts, Sample, Worker, WorkerError

# After so many rounds a peer's call that takes so many times as long as the fastest peer's gets a
# block only every so many rounds: it decides nothing, and some would take most of the time.
HEATS: Final = 3
HOPELESS: Final = 3.0
SELDOM: Final = 4
# Where rounds take longer than so many seconds there are fewer of them, but never fewer than these:
# long calls differ less from one another.
SECONDS_A_ROUND: Final = 0.5
FEWEST: Final = 7


@dataclass(slots=True)
class Outcome:
    """Everything a run has found; ``cut_short`` says where and why it ended before its time."""

    rounds: int
    full: bool
    facts: Facts
    machine: dict[str, Any]
    multiply_adds: dict[str, float] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    accuracy: list[Accuracy] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cut_short: str = ""


@dataclass(slots=True)
class _Contender:
    """A call made ready in some process."""

    worker: Worker
    entry: Entry
    label: str
    samples: list[Sample] = field(default_factory=list)
    hopeless: bool = False


@dataclass(slots=True)
class _Ready:
    """Everyone ready for a cell."""

    cell: Cell
    failures: dict[tuple[str, str], list[str]]
    contenders: list[_Contender] = field(default_factory=list)

    def add(self, worker: Worker, contestants: list[str], label: str | None = None) -> None:
        line_up = worker.prepare(self.cell, contestants)
        self.contenders += [_Contender(worker, e, label or e.contestant) for e in line_up.entries]
        for who, why in line_up.failures.items():
            self.failures.setdefault((f"a call of {who}", why), []).append(self.cell.name)

    def take_turns(self, rounds: int) -> list[Timing]:
        """Give everyone a block a round, beginning with another one each time."""
        patience = time.monotonic() + SECONDS_A_ROUND * rounds
        for turn in range(rounds):
            if turn >= FEWEST and time.monotonic() > patience:
                break
            if turn == HEATS:
                self._see_who_is_hopeless()
            first = turn % len(self.contenders)
            for contender in self.contenders[first:] + self.contenders[:first]:
                if not contender.hopeless or turn % SELDOM == 0:
                    contender.samples.append(contender.worker.block(contender.entry.index))
        return [Timing.of(c.label, c.entry.mode, c.samples) for c in self.contenders]

    def _see_who_is_hopeless(self) -> None:
        peers = [contender for contender in self.contenders if contender.label in PEERS]
        times = [median(sample.seconds for sample in peer.samples) for peer in peers]
        for peer, seconds in zip(peers, times, strict=True):
            peer.hopeless = seconds > HOPELESS * min(times)


def run(
    cells: Iterable[Cell],
    *,
    rounds: int,
    full: bool,
    with_accuracy: bool,
    announce: Callable[[str], None],
) -> Outcome:
    """Measure the cells in turn.

    Parameters
    ----------
    cells : iterable of Cell
        What to measure.
    rounds : int
        Blocks of each contestant, at most.
    full : bool
        Whether this is the full run; only written down.
    with_accuracy : bool
        Measure the accuracy of everyone, too.
    announce : callable
        Called with the name of each step before it starts.

    Returns
    -------
    Outcome
        Rows in the order of the cells.
    """
    cells = list(cells)
    cpus = granted_cpus()
    # The first CPU often serves the system's interrupts, so take the last.
    alone = {max(cpus)}
    with ExitStack() as stack:

        def one_thread(**environment: str) -> Worker:
            environment |= ONE_THREAD_ENVIRONMENT
            return stack.enter_context(Worker(cpus=alone, environment=environment))

        announce("loading the contestants")
        everyone = one_thread()
        facts = everyone.facts()
        outcome = Outcome(rounds, full, facts, machine_facts())
        peers = list(facts.peers)
        suites = {cell.suite for cell in cells}

        threads = None
        if Suite.THREADS in suites:
            if len(cpus) > 1:
                threads = stack.enter_context(Worker())
            else:
                outcome.notes.append("one CPU only: cells with more threads left out")
        # A process each, for the instruction set is chosen once; they take turns like the rest.
        isas: dict[str, Worker] = {}
        if Suite.ISA in suites:
            if len(facts.softlane["isas"]) > 1:
                # The one in use first: it is what the others are compared with.
                names = dict.fromkeys([facts.softlane["isa"], *facts.softlane["isas"]])
                isas = {isa: one_thread(SOFTLANE_ISA=isa) for isa in names}
                for isa, worker in isas.items():
                    if (used := worker.softlane()["isa"]) != isa:
                        raise WorkerError(f"SOFTLANE_ISA={isa} was asked for, {used} is in use")
            else:
                outcome.notes.append("one instruction set only: nothing to compare it with")
        absent = {"avx512", "avx2"} - set(facts.softlane["isas"])
        if absent:
            outcome.notes.append(f"this machine lacks {', '.join(sorted(absent))}: not measured")

        if Suite.SIZES in suites:
            announce("fused multiply-adds a second")
            dtypes = dict.fromkeys(cell.dtype for cell in cells if cell.suite is Suite.SIZES)
            outcome.multiply_adds = {dtype: everyone.multiply_adds(dtype) for dtype in dtypes}

        busy: dict[str, float] = {}
        failures: dict[tuple[str, str], list[str]] = {}

        def measure(cell: Cell) -> None:
            ready = _Ready(cell, failures)
            if package := lacks(cell):
                missing = ("everyone", f"{package} is not installed")
                failures.setdefault(missing, []).append(cell.name)
            elif cell.suite in {Suite.PEERS, Suite.SIZES}:
                others = [reference.contestant for reference in cell.references]
                ready.add(everyone, list(dict.fromkeys([OURS, *peers, COPY, *others])))
            elif cell.suite is Suite.THREADS and threads is not None:
                free = threads.free_cpus(cell.threads)
                if free < 0.9 * cell.threads:
                    busy[cell.name] = free
                ready.add(threads, [ONE_THREAD, MORE_THREADS])
            elif cell.suite is Suite.ISA and isas:
                for isa, worker in isas.items():
                    ready.add(worker, [OURS], label=f"{OURS} {isa}")
                ready.add(everyone, [*peers, COPY])
            if ready.contenders:
                outcome.rows += make_rows(cell, ready.take_turns(rounds))

        for cell in cells:
            announce(cell.name)
            try:
                measure(cell)
            except (WorkerError, KeyboardInterrupt) as error:
                # What was measured until here is worth having.
                why = str(error).strip().splitlines() or ["interrupted"]
                outcome.cut_short = f"{cell.name}: {why[-1]}"
                break

        outcome.notes += [
            f"{who} left out: {why} ({len(names)} cells: {', '.join(names[:3])}"
            f"{', …' if len(names) > 3 else ''})"
            for (who, why), names in failures.items()
        ]
        if busy:
            outcome.notes.append(
                f"other programs left as few as {min(busy.values()):.2f} CPUs free; these cells "
                f"say nothing about threads: {', '.join(busy)}"
            )
        if with_accuracy and not outcome.cut_short:
            announce("accuracy")
            outcome.accuracy = everyone.accuracy([OURS, *peers])
    return outcome
