"""The tables for the terminal."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .cell import Cell, Suite
from .contestants import COPY, MORE_THREADS, ONE_THREAD, OURS
from .results import NOISE, ONE_THREAD_LIMIT, Row, Verdict
from .session import Outcome
from .targets import ISA_LIMIT

BLANK = Text("–", style="dim")
_TITLES = {Suite.PEERS: "Side by side", Suite.SIZES: "Softmax by size"}


def print_report(outcome: Outcome, console: Console) -> None:
    """Print everything that was measured, one table a question."""
    suites: dict[Suite, Callable[[Outcome, list[Row]], Table]] = {
        Suite.PEERS: _peers_table,
        Suite.THREADS: _threads_table,
        Suite.ISA: _isa_table,
        Suite.SIZES: _peers_table,
    }
    for suite, make_table in suites.items():
        rows = [row for row in outcome.rows if row.cell.suite is suite]
        if rows:
            console.print(make_table(outcome, rows))
    if outcome.accuracy:
        console.print(_accuracy_table(outcome))
    for note in _notes(outcome):
        console.print(Text(note, style="dim"))
    for note in outcome.notes:
        console.print(Text(note, style="yellow"))
    # Whoever is missing from a cell is missing from its best peer, too.
    crowded = sorted({row.cell.name for row in outcome.rows if row.crowded})
    if crowded:
        names = ", ".join(crowded)
        console.print(Text(f"had to share the CPU with other programs: {names}", style="yellow"))
    misses = [miss for row in outcome.rows for miss in misses_of(row)]
    if misses:
        console.print(_misses_table(misses))
    console.print(summary(outcome.rows))


def misses_of(row: Row) -> list[tuple[Row, Verdict]]:
    """Return the targets that the row misses; a peer that is faster counts even without one."""
    found = [(row, verdict) for verdict in row.verdicts if not verdict.met]
    behind = row.cell.suite is Suite.PEERS and row.cell.target is None and (row.score or 1) < 1
    if behind:
        verdict = Verdict(row.best_peer or "", row.score or 1, 1.0, at_least=True)
        found += [] if verdict.met else [(row, verdict)]
    return found


def summary(rows: list[Row]) -> str:
    """Return one sentence of what was reached."""
    against_peers = [row.score for row in rows if row.cell.suite is Suite.PEERS and row.score]
    verdicts = [verdict for row in rows for verdict in row.verdicts]
    met = sum(verdict.met for verdict in verdicts)
    parts = []
    if against_peers:
        ahead = sum(score >= 1 for score in against_peers)
        parts.append(f"ahead of the best peer in {ahead} of {len(against_peers)} results")
    if verdicts:
        parts.append(f"{met} of {len(verdicts)} targets reached")
    return "; ".join(parts)


def _misses_table(misses: list[tuple[Row, Verdict]]) -> Table:
    table = _table(
        f"Misses, the worst first; {NOISE - 1:.0%} of noise allowed",
        ["reached", "wanted", "off by"],
        left=["cell", "result", "what"],
    )
    for row, verdict in sorted(misses, key=lambda miss: -miss[1].off):
        what = f"× {verdict.against}" if verdict.at_least else f"time / {verdict.against}"
        table.add_row(
            row.cell.name,
            row.mode.value,
            what,
            f"{verdict.value:.2f}",
            f"{'≥' if verdict.at_least else '≤'} {verdict.wanted:g}",
            f"{verdict.off:.2f}",
        )
    return table


def _peers_table(outcome: Outcome, rows: list[Row]) -> Table:
    peers = list(outcome.facts.peers)
    table = _table(
        f"{_TITLES[rows[0].cell.suite]}, one thread, ns per element, "
        f"ISA {outcome.facts.softlane['isa']}",
        ["softlane", *peers, COPY, "× best peer", "target", "time / copy", "time / others"],
        left=["operation", "dtype", "array", "result"],
    )
    previous: Cell | None = None
    for row in rows:
        cell = row.cell
        first = cell is not previous
        if (
            first
            and previous
            and (cell.operation, cell.dtype) != (previous.operation, previous.dtype)
        ):
            table.add_section()
        previous = cell
        table.add_row(
            *((cell.operation, cell.dtype, cell.where) if first else ("", "", "")),
            row.mode.value,
            *(_time(row, name) for name in (OURS, *peers, COPY)),
            _score(row.score, cell.target),
            _target(cell.target),
            _plain(row.time_over(COPY)),
            _references(row),
        )
    return table


def _threads_table(_outcome: Outcome, rows: list[Row]) -> Table:
    table = _table(
        "Threads, ns per element",
        [ONE_THREAD, "more threads", "× one thread", "target", "CPUs used"],
        left=["operation", "dtype", "array", "result", "threads"],
    )
    for row in rows:
        cell = row.cell
        table.add_row(
            cell.operation,
            cell.dtype,
            cell.where,
            row.mode.value,
            str(cell.threads),
            _time(row, ONE_THREAD),
            _time(row, MORE_THREADS),
            _score(row.score, cell.target),
            _target(cell.target),
            _plain(row.timings[MORE_THREADS].cpu_per_wall),
        )
    return table


def _isa_table(_outcome: Outcome, rows: list[Row]) -> Table:
    table = _table(
        "Instruction sets, one thread, ns per element",
        ["ns", "time / default", "× best peer", "time / copy"],
        left=["operation", "dtype", "array", "result", "ISA"],
    )
    for row in rows:
        cell = row.cell
        for name in (name for name in row.timings if name.startswith(OURS)):
            is_avx2 = name.endswith("avx2")
            faster = row.times_faster_than(row.ours, ours=name)
            copy = row.times_faster_than(COPY, ours=name)
            table.add_row(
                cell.operation,
                cell.dtype,
                cell.where,
                row.mode.value,
                name.removeprefix(OURS).strip(),
                _time(row, name),
                _limited(None if faster is None else 1 / faster, ISA_LIMIT if is_avx2 else None),
                _score(
                    row.times_faster_than(row.best_peer, ours=name),
                    cell.target if is_avx2 else None,
                ),
                _plain(None if copy is None else 1 / copy),
            )
    return table


def _accuracy_table(outcome: Outcome) -> Table:
    columns = list(dict.fromkeys((a.dtype, a.sigma) for a in outcome.accuracy))
    table = _table(
        "Worst error of softmax, ULP, 64 × 1000 normal results",
        [f"{dtype} σ={sigma}" for dtype, sigma in columns],
        left=["contestant"],
    )
    for contestant in dict.fromkeys(a.contestant for a in outcome.accuracy):
        found = {(a.dtype, a.sigma): a for a in outcome.accuracy if a.contestant == contestant}
        table.add_row(contestant, *(f"{found[column].ulp:,.2f}" for column in columns))
    return table


def _notes(outcome: Outcome) -> list[str]:
    notes = [f"Medians of up to {outcome.rounds} rounds. " + _machine_line(outcome)]
    notes += [f"{peer} not measured: {why}" for peer, why in outcome.facts.missing.items()]
    strayed = sorted({name for row in outcome.rows for name in row.strayed})
    if strayed:
        notes.append(
            f"† used more than one thread (CPU time / wall clock > {ONE_THREAD_LIMIT}): "
            + ", ".join(strayed)
        )
    return notes


def _machine_line(outcome: Outcome) -> str:
    machine = outcome.machine
    caches = " ".join(f"{name} {size}" for name, size in machine["caches"].items())
    peers = ", ".join(f"{name} {version}" for name, version in outcome.facts.peers.items())
    numpy = f"NumPy {machine['packages']['numpy']}"
    return f"{machine['cpu']}; {caches}; Python {machine['python']}; {numpy}, {peers}."


# Cells of the tables.


def _table(title: str, numbers: list[str], left: list[str]) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", title_style="bold")
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=name in (OURS, COPY))
    return table


def _time(row: Row, contestant: str) -> Text:
    value = row.nanoseconds(contestant)
    if value is None:
        return BLANK
    mark = "†" if contestant in row.strayed else ""
    style = "bold" if contestant == row.best_peer else ""
    return Text(f"{value:.3g}{mark}" if value < 100 else f"{value:.0f}{mark}", style=style)


def _plain(value: float | None) -> Text:
    return BLANK if value is None else Text(f"{value:.2f}")


def _target(value: float | None) -> Text:
    return BLANK if value is None else Text(f"≥ {value:g}", style="dim")


def _score(value: float | None, target: float | None) -> Text:
    """More is better: red where slower, green where the target is met."""
    if value is None:
        return BLANK
    reached = target is not None and value * NOISE >= target
    style = "green" if reached else "red" if value < 1 else "yellow" if target else ""
    return Text(f"{value:.2f}", style=style)


def _limited(value: float | None, limit: float | None) -> Text:
    """Less is better."""
    if value is None:
        return BLANK
    style = "" if limit is None else "green" if value <= limit * NOISE else "yellow"
    return Text(f"{value:.2f}", style=style)


def _references(row: Row) -> Text:
    parts = [
        Text.assemble(
            _limited(verdict.value, verdict.wanted),
            (f" {verdict.against} ≤ {verdict.wanted:g}", "dim"),
        )
        for verdict in row.verdicts
        if not verdict.at_least
    ]
    return Text(", ").join(parts) if parts else BLANK
