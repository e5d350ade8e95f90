"""From samples to ratios."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from .cell import Cell, Mode, Suite
from .contestants import COPY, MORE_THREADS, ONE_THREAD, OURS, PEERS
from .targets import ISA_LIMIT
from .worker import Sample

# Above this a call has used more than the one thread it was allowed.
ONE_THREAD_LIMIT = 1.05
# Below this it had to share its CPU with other programs.
CROWDED_LIMIT = 0.9
# Nobody can tell equal from 3 % slower on a shared machine.
NOISE = 1.03


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing a row is held to: a speed to reach, or a time not to exceed.

    ``against`` is whose time ``value`` is relative to; either of them may be more than 1.
    """

    against: str
    value: float
    wanted: float
    at_least: bool

    @property
    def off(self) -> float:
        """How many times too slow: up to 1 for what is met."""
        return self.wanted / self.value if self.at_least else self.value / self.wanted

    @property
    def met(self) -> bool:
        """Whether the target is reached, within the noise."""
        return self.off <= NOISE


@dataclass(frozen=True, slots=True)
class Timing:
    """The blocks of one call, condensed; times in seconds per call."""

    contestant: str
    mode: Mode
    median: float
    quartiles: tuple[float, float]
    cpu_per_wall: float
    blocks: int

    @classmethod
    def of(cls, contestant: str, mode: Mode, samples: list[Sample]) -> Timing:
        """Condense the samples of a call."""
        seconds = [sample.seconds for sample in samples]
        if len(seconds) == 1:
            low = median = high = seconds[0]
        else:
            low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
        cpu = statistics.median(sample.cpu_per_wall for sample in samples)
        return cls(contestant, mode, median, (low, high), cpu, len(samples))


@dataclass(frozen=True, slots=True)
class Row:
    """One cell in one mode: the best timing of everyone who took part."""

    cell: Cell
    mode: Mode
    timings: dict[str, Timing] = field(repr=False)

    def nanoseconds(self, contestant: str) -> float | None:
        """Return nanoseconds per element, or None for one who did not take part."""
        timing = self.timings.get(contestant)
        return None if timing is None else timing.median / self.cell.size * 1e9

    @property
    def ours(self) -> str:
        """Our contender in this row; of several instruction sets, the one chosen by default."""
        if self.cell.suite is Suite.THREADS:
            return MORE_THREADS
        return next(name for name in self.timings if name.startswith(OURS))

    @property
    def best_peer(self) -> str | None:
        """The fastest peer."""
        peers = [name for name in self.timings if name in PEERS]
        return min(peers, key=lambda name: self.timings[name].median, default=None)

    def times_faster_than(self, contestant: str | None, ours: str | None = None) -> float | None:
        """Return their time over ours: above 1, we are faster."""
        theirs = self.timings.get(contestant or "")
        return None if theirs is None else theirs.median / self.timings[ours or self.ours].median

    @property
    def score(self) -> float | None:
        """What the cell's target speaks of: times the best peer, or times one thread."""
        suite = self.cell.suite
        return self.times_faster_than(ONE_THREAD if suite is Suite.THREADS else self.best_peer)

    @property
    def verdicts(self) -> list[Verdict]:
        """All that the cell is held to in this mode."""
        cell = self.cell
        if cell.suite is Suite.ISA:
            return self._verdicts_on_avx2()
        found: list[Verdict] = []
        if cell.target is not None and self.score is not None:
            against = ONE_THREAD if cell.suite is Suite.THREADS else self.best_peer or ""
            found.append(Verdict(against, self.score, cell.target, at_least=True))
        for reference in cell.references:
            over = self.time_over(reference.contestant)
            if over is not None and reference.mode in {None, self.mode}:
                found.append(Verdict(reference.contestant, over, reference.limit, at_least=False))
        return found

    def _verdicts_on_avx2(self) -> list[Verdict]:
        """Of AVX2 beside the peers at their best, and beside AVX-512, where both are."""
        avx2, avx512 = f"{OURS} avx2", f"{OURS} avx512"
        found: list[Verdict] = []
        if avx2 in self.timings:
            score = self.times_faster_than(self.best_peer, ours=avx2)
            if score is not None and self.cell.target is not None:
                found.append(Verdict(self.best_peer or "", score, self.cell.target, at_least=True))
            faster = self.times_faster_than(avx512, ours=avx2)
            if faster is not None:
                found.append(Verdict(avx512, 1 / faster, ISA_LIMIT, at_least=False))
        return found

    def time_over(self, contestant: str) -> float | None:
        """Return our time over theirs."""
        faster = self.times_faster_than(contestant)
        return None if faster is None else 1 / faster

    @property
    def crowded(self) -> bool:
        """Whether other programs took a good part of the CPU from someone in this row."""
        return any(timing.cpu_per_wall < CROWDED_LIMIT for timing in self.timings.values())

    @property
    def strayed(self) -> list[str]:
        """Those who used more than one thread where one was allowed."""
        return [
            name
            for name, timing in self.timings.items()
            if name != MORE_THREADS and timing.cpu_per_wall > ONE_THREAD_LIMIT
        ]


def make_rows(cell: Cell, timings: Iterable[Timing]) -> list[Row]:
    """Return a row for each mode of the cell, like for like.

    A fresh result is held against fresh results; a result in place or in ``out=`` against
    whatever the peers do best.
    """
    timings = list(timings)
    rows = []
    for mode in cell.modes:
        best: dict[str, Timing] = {}
        for timing in timings:
            name = timing.contestant
            any_mode = name == COPY or (name in PEERS and mode is not Mode.FRESH)
            admitted = any_mode or timing.mode is mode
            if admitted and (name not in best or timing.median < best[name].median):
                best[name] = timing
        rows.append(Row(cell, mode, best))
    return rows
