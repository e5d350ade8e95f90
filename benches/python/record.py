"""The JSON of a run: written, and read again to print and draw it anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .accuracy import Accuracy
from .cell import Mode
from .cells import CELLS
from .report import misses_of
from .results import Row, Timing
from .session import Outcome
from .worker import Facts


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
        "cut_short": outcome.cut_short,
        "multiply_adds_per_second": {n: _rounded(v) for n, v in outcome.multiply_adds.items()},
        "cells": [_row_document(row) for row in outcome.rows],
        "misses": [
            {
                "name": row.cell.name,
                "result": row.mode.value,
                "against": verdict.against,
                "speed_over" if verdict.at_least else "time_over": _rounded(verdict.value),
                "wanted": verdict.wanted,
            }
            for row in outcome.rows
            for row, verdict in misses_of(row)
        ],
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


def read_json(path: Path) -> Outcome:
    """Return a run as it was written; cells that the tables no longer have are left out."""
    document = json.loads(path.read_text(encoding="utf-8"))
    cells = {cell.name: cell for cell in CELLS}
    return Outcome(
        rounds=document["rounds"],
        full=document["run"] == "full",
        facts=Facts(document["softlane"], document["peers"], document["missing"]),
        machine=document["machine"],
        multiply_adds=document["multiply_adds_per_second"],
        rows=[
            _row(cells[found["name"]], found)
            for found in document["cells"]
            if found["name"] in cells
        ],
        accuracy=[
            Accuracy(
                found["contestant"],
                found["dtype"],
                found["sigma"],
                found["max_ulp"],
                found["max_subnormal_steps"],
            )
            for found in document["accuracy"]
        ],
        notes=document["notes"],
        cut_short=document["cut_short"],
    )


def _row_document(row: Row) -> dict[str, Any]:
    cell = row.cell
    return {
        "name": cell.name,
        "operation": cell.operation,
        "dtype": cell.dtype,
        "shape": cell.shape,
        "axis": cell.axis,
        "every_second": cell.every_second,
        "mask": cell.mask,
        "suite": cell.suite.value,
        "result": row.mode.value,
        "threads": cell.threads,
        "nanoseconds_per_element": {n: _rounded(row.nanoseconds(n)) for n in row.timings},
        "timings": {
            name: {
                "result": timing.mode.value,
                "median": _rounded(timing.median),
                "quartiles": [_rounded(q) for q in timing.quartiles],
                "cpu_per_wall": _rounded(timing.cpu_per_wall),
                "blocks": timing.blocks,
            }
            for name, timing in row.timings.items()
        },
        "crowded": row.crowded,
        "best_peer": row.best_peer,
        "score": _rounded(row.score),
        "targets": [
            {
                "against": verdict.against,
                "at_least" if verdict.at_least else "at_most": verdict.wanted,
                "found": _rounded(verdict.value),
                "met": verdict.met,
            }
            for verdict in row.verdicts
        ],
    }


def _row(cell: Any, found: dict[str, Any]) -> Row:
    timings = {
        name: Timing(
            name,
            Mode(timing["result"]),
            timing["median"],
            (timing["quartiles"][0], timing["quartiles"][1]),
            timing["cpu_per_wall"],
            timing["blocks"],
        )
        for name, timing in found["timings"].items()
    }
    return Row(cell, Mode(found["result"]), timings)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
