"""The tables for the terminal, and the JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .cells import ISA_LIMIT, Suite
from .contestants import COPY, MORE_THREADS, ONE_THREAD, OURS
from .results import ONE_THREAD_LIMIT, Row
from .session import Outcome

BLANK = Text("–", style="dim")


def print_report(outcome: Outcome, console: Console) -> None:
    """Print everything that was measured, one table a question."""
    suites: dict[Suite, Callable[[Outcome, list[Row]], Table]] = {
        Suite.PEERS: _peers_table,
        Suite.THREADS: _threads_table,
        Suite.ISA: _isa_table,
    }
    for suite, make_table in suites.items():
        rows = [row for row in outcome.rows if row.cell.suite is suite]
        if rows:
            console.print(make_table(outcome, rows))
    if outcome.accuracy:
        console.print(_accuracy_table(outcome))
    for note in _notes(outcome):
        console.print(Text(note, style="dim"))
    # Whoever is missing from a cell is missing from its best peer, too.
    crowded = sorted({row.cell.name for row in outcome.rows if row.crowded})
    if crowded:
        names = ", ".join(crowded)
        console.print(Text(f"had to share the CPU with other programs: {names}", style="yellow"))
    for note in outcome.notes:
        console.print(Text(note, style="yellow"))


def _peers_table(outcome: Outcome, rows: list[Row]) -> Table:
    peers = list(outcome.facts.peers)
    table = _table(
        f"One thread, ns per element, ISA {outcome.facts.softlane['isa']}",
        ["softlane", *peers, COPY, "× best peer", "target", "time / copy", "time / reference"],
        left=["operation", "dtype", "array", "result"],
    )
    previous = None
    for row in rows:
        cell = row.cell
        first = cell is not previous
        if (
            first
            and previous
            and (cell.operation, cell.dtype)
            != (
                previous.operation,
                previous.dtype,
            )
        ):
            table.add_section()
        previous = cell
        table.add_row(
            *((cell.operation, cell.dtype, cell.where) if first else ("", "", "")),
            row.mode.value,
            *(_time(row, name) for name in (OURS, *peers, COPY)),
            _score(row.score, cell.target),
            _target(cell.target),
            _plain(row.to_copy),
            _reference(row),
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
            faster = row.times_faster_than(row.ours, ours=name)
            copy = row.times_faster_than(COPY, ours=name)
            table.add_row(
                cell.operation,
                cell.dtype,
                cell.where,
                row.mode.value,
                name.removeprefix(OURS).strip(),
                _time(row, name),
                _limited(None if faster is None else 1 / faster, ISA_LIMIT),
                _score(row.times_faster_than(row.best_peer, ours=name), cell.target),
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
    notes = [f"{outcome.rounds} rounds, medians. " + _machine_line(outcome)]
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
    # Nobody can tell equal from 3 % slower on a shared machine.
    reached = target is not None and value >= target * 0.97
    style = "green" if reached else "red" if value < 1 else "yellow" if target else ""
    return Text(f"{value:.2f}", style=style)


def _limited(value: float | None, limit: float) -> Text:
    """Less is better."""
    if value is None:
        return BLANK
    return Text(f"{value:.2f}", style="green" if value <= limit else "yellow")


def _reference(row: Row) -> Text:
    reference, value = row.cell.reference, row.to_reference
    if reference is None or value is None:
        return BLANK
    return Text.assemble(
        _limited(value, reference.limit),
        (f" {reference.contestant} ≤ {reference.limit:g}", "dim"),
    )


# JSON.


def write_json(outcome: Outcome, path: Path) -> None:
    """Write everything that was measured, with the machine it was measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "softlane": outcome.facts.softlane,
        "machine": outcome.machine,
        "peers": outcome.facts.peers,
        "missing": outcome.facts.missing,
        "notes": outcome.notes,
        "run": "full" if outcome.full else "quick",
        "rounds": outcome.rounds,
        "cells": [_row_document(row) for row in outcome.rows],
        "accuracy": [
            {
                "contestant": a.contestant,
                "dtype": a.dtype,
                "sigma": a.sigma,
                "max_ulp": _rounded(a.ulp),
                "max_subnormal_steps": _rounded(a.subnormal_steps),
            }
            for a in outcome.accuracy
        ],
    }
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _row_document(row: Row) -> dict[str, Any]:
    cell, reference = row.cell, row.cell.reference
    return {
        "name": cell.name,
        "operation": cell.operation,
        "dtype": cell.dtype,
        "shape": cell.shape,
        "axis": cell.axis,
        "every_second": cell.every_second,
        "suite": cell.suite.value,
        "result": row.mode.value,
        "threads": cell.threads,
        "nanoseconds_per_element": {n: _rounded(row.nanoseconds(n)) for n in row.timings},
        "quartiles": {
            name: [_rounded(q / cell.size * 1e9) for q in timing.quartiles]
            for name, timing in row.timings.items()
        },
        "cpu_per_wall": {name: _rounded(t.cpu_per_wall) for name, t in row.timings.items()},
        "crowded": row.crowded,
        "best_peer": row.best_peer,
        "score": _rounded(row.score),
        "target": cell.target,
        "time_over_copy": _rounded(row.to_copy),
        "reference": reference and reference.contestant,
        "time_over_reference": _rounded(row.to_reference),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
