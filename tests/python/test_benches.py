"""The side-by-side: its tables, its checks and its reports. Nothing is timed here."""

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benches.python import markdown, record
from benches.python.blocks import make_blocks
from benches.python.calls import Call, Calls
from benches.python.cell import Cell, Mask, Mode, Reference, Suite
from benches.python.cells import CELLS
from benches.python.contestants import CONTESTANTS, COPY, OURS, PEERS, YARDSTICKS
from benches.python.overview import draw_overview
from benches.python.problem import Problem, lacks, make_problem
from benches.python.report import misses_of, print_report, summary
from benches.python.results import Row, Timing, Verdict, make_rows
from benches.python.roofline import draw_roofline
from benches.python.session import Outcome, _Contender, _Ready
from benches.python.targets import aimed
from benches.python.worker import Entry, Facts, Sample, _Bench

SHAPES = [
    *((1, 10), (1, 1000), (64, 10), (8192, 10), (100_000, 10), (1024, 32), (1024, 100)),
    *((20_000, 100), (1024, 1000), (4096, 128), (128, 50257), (32, 151_936), (4096, 4096)),
    (1, 16_777_216),
]


# The tables.


def test_every_cell_has_a_name_of_its_own() -> None:
    assert len({cell.name for cell in CELLS}) == len(CELLS)


@pytest.mark.parametrize(
    "operation",
    [
        *("softmax", "log_softmax", "logsumexp", "softmax_vjp", "log_softmax_vjp"),
        *("cross_entropy", "cross_entropy_value_and_grad"),
    ],
)
def test_every_operation_meets_every_regime(operation: str) -> None:
    cells = [c for c in CELLS if c.suite is Suite.PEERS and c.operation == operation]
    rows = {c.shape for c in cells if c.is_plain and c.axis == -1 and c.dtype == "float32"}
    assert rows == set(SHAPES)
    assert {c.axis for c in cells} == {-1, 0, 1}
    assert {c.dtype for c in cells if c.is_plain} == {"float32", "float64", "float16", "bfloat16"}
    for suite in (Suite.THREADS, Suite.ISA):
        assert any(c.operation == operation for c in CELLS if c.suite is suite)


def test_headlines_are_part_of_the_quick_run() -> None:
    headlines = [cell for cell in CELLS if cell.headline]
    assert headlines
    assert all(cell.quick and cell.headline in cell.modes for cell in headlines)
    assert sum(cell.quick for cell in CELLS) < 60


def targets(**cell: Any) -> tuple[float | None, dict[str, float]]:
    """Return what a cell of the tables is held to."""
    found = aimed(Cell(**cell))
    return found.target, {r.contestant: r.limit for r in found.references}


@pytest.mark.parametrize(
    ("cell", "target", "limits"),
    [
        ({"shape": (1, 10)}, 3.0, {"np.exp": 1.5}),
        ({"shape": (1, 10), "operation": "softmax_vjp"}, 3.0, {}),
        ({"shape": (1024, 1000)}, 1.5, {}),
        ({"shape": (1024, 1000), "dtype": "float64"}, 1.5, {}),
        ({"shape": (1024, 1000), "operation": "logsumexp"}, 1.8, {}),
        ({"shape": (128, 50257), "operation": "cross_entropy"}, 1.8, {"x.max": 1.6}),
        ({"shape": (64, 10)}, 2.0, {}),
        ({"shape": (100_000, 10)}, 2.0, {"PyTorch": 0.1}),
        ({"shape": (1024, 1000), "axis": 0}, 1.5, {"last axis": 1.25}),
        ({"shape": (10, 100_000), "axis": 0}, 2.0, {"last axis": 1.25}),
        (
            {"shape": (4096, 4096), "operation": "cross_entropy_value_and_grad"},
            2.0,
            {"copy": 1.3},
        ),
        ({"shape": (4096, 4096)}, 1.2, {"copy": 1.25}),
        ({"shape": (1, 16_777_216)}, 1.3, {"copy": 1.7}),
        ({"shape": (1024, 1000), "dtype": "float16"}, 1.5, {"float32": 1.0}),
        ({"shape": (1024, 1000), "dtype": "int32"}, None, {"plain input": 1.5}),
        ({"shape": (1024, 1000), "every_second": True}, None, {"plain input": 1.5}),
        ({"shape": (1024, 1000), "mask": Mask.RANDOM}, None, {"plain input": 1.5}),
        ({"shape": (1024, 1000), "operation": "softmin"}, None, {"plain input": 1.5}),
        ({"shape": (1024, 1000), "suite": Suite.THREADS}, 1.8, {}),
        ({"shape": (1, 10), "suite": Suite.THREADS}, 1.0, {}),
        ({"shape": (1024, 1000), "suite": Suite.ISA}, 1.2, {}),
    ],
)
def test_a_cell_knows_its_targets(
    cell: dict[str, Any], target: float | None, limits: dict[str, float]
) -> None:
    assert targets(**cell) == (target, limits)


# The calls: every kind of cell, made small.


def small(cell: Cell) -> Cell:
    """Return the cell with few enough entries for a test."""
    return replace(cell, shape=tuple(min(size, 12) for size in cell.shape))


KINDS = {
    cell.name: cell for cell in map(small, CELLS) if cell.suite is Suite.PEERS and not lacks(cell)
}


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Cell:
    """Each kind of cell in turn."""
    chosen: Cell = request.param
    return chosen


def test_softlane_does_what_is_timed(kind: Cell) -> None:
    problem = make_problem(kind)
    modes = set()
    for call in CONTESTANTS[OURS](problem):
        assert problem.fault(call.evaluate()) is None, call.expression
        modes.add(call.mode)
    assert modes >= set(kind.modes)


def test_yardsticks_run(kind: Cell) -> None:
    problem = make_problem(kind)
    for reference in (*kind.references, Reference(COPY, 1.0)):
        if reference.contestant in YARDSTICKS:
            calls = list(CONTESTANTS[reference.contestant](problem))
            assert calls
            for call in calls:
                call.evaluate()


@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_does_what_is_timed(peer: str) -> None:
    if importlib.util.find_spec(PEERS[peer][0]) is None:
        pytest.skip(f"{peer} is not installed")
    done = 0
    for cell in KINDS.values():
        if cell.dtype in {"float32", "float64"}:
            problem = make_problem(cell)
            for call in CONTESTANTS[peer](problem):
                assert problem.fault(call.evaluate()) is None, (cell.name, call.expression)
                done += 1
    assert done


def test_a_call_that_fails_does_not_take_the_others_along(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(problem: Problem) -> Calls:
        (right,) = (expected.astype(np.float32) for expected in problem.expected)
        yield Call(Mode.FRESH, "right * 2", {"right": right})
        yield Call(Mode.FRESH, "right + 0", {"right": right})
        raise NotImplementedError("no more")

    monkeypatch.setitem(CONTESTANTS, "JAX", fake)
    line_up = _Bench().prepare(Cell(shape=(6, 5)), ["JAX"])
    assert [(entry.contestant, entry.mode) for entry in line_up.entries] == [("JAX", Mode.FRESH)]
    assert line_up.failures == {"JAX": "NotImplementedError: no more"}


def test_a_hopeless_peer_seldom_gets_a_block() -> None:
    class Fake:
        def block(self, index: int) -> Sample:
            return Sample((1.0, 2.0, 7.0)[index], 1.0)

    names = ("JAX", OURS, "SciPy")
    worker: Any = Fake()
    ready = _Ready(Cell(shape=(6, 5)), {})
    ready.contenders += [
        _Contender(worker, Entry(index, name, Mode.FRESH), name) for index, name in enumerate(names)
    ]
    blocks = {timing.contestant: timing.blocks for timing in ready.take_turns(25)}
    assert blocks == {"JAX": 25, OURS: 25, "SciPy": 3 + 6}


def test_wrong_results_are_found() -> None:
    problem = make_problem(Cell(shape=(6, 5)))
    (right,) = problem.expected
    single = right.astype(np.float32)
    assert problem.fault((single,)) is None
    assert problem.fault((right,)) == "gave float64, not float32"
    assert problem.fault((single, single))
    assert problem.fault((single[:, 0],))
    assert problem.fault((single[::-1],))
    other = make_problem(Cell(shape=(6, 5), axis=0)).expected[0]
    assert problem.fault((other.astype(np.float32),))
    nan = single.copy()
    nan[0, 0] = np.nan
    assert problem.fault((nan,))


def test_copy_moves_as_many_bytes() -> None:
    for operation, arrays in (("softmax", 2), ("softmax_vjp", 3)):
        problem = make_problem(Cell(operation=operation, shape=(8, 16)))
        (call,) = CONTESTANTS[COPY](problem)
        assert 2 * call.names["out"].nbytes == arrays * problem.operands[0].nbytes


# From samples to verdicts.


def timing(contestant: str, mode: Mode, seconds: float) -> Timing:
    return Timing.of(contestant, mode, [Sample(seconds, 1.0)] * 3)


def test_fresh_results_are_held_against_fresh_ones() -> None:
    cell = Cell(shape=(2, 5))
    fresh, out = make_rows(
        cell,
        [
            timing(OURS, Mode.FRESH, 2.0),
            timing(OURS, Mode.OUT, 1.0),
            timing("JAX", Mode.FRESH, 3.0),
            timing("PyTorch", Mode.FRESH, 4.0),
            timing("PyTorch", Mode.OUT, 1.5),
            timing(COPY, Mode.OUT, 0.5),
        ],
    )
    assert (fresh.best_peer, fresh.score) == ("JAX", 1.5)
    assert (out.best_peer, out.score) == ("PyTorch", 1.5)
    assert fresh.time_over(COPY) == 4.0
    assert out.time_over(COPY) == 2.0


def test_a_verdict_allows_for_noise_only() -> None:
    assert Verdict("JAX", 1.47, 1.5, at_least=True).met
    assert not Verdict("JAX", 1.45, 1.5, at_least=True).met
    assert Verdict(COPY, 1.28, 1.25, at_least=False).met
    assert not Verdict(COPY, 1.3, 1.25, at_least=False).met
    assert Verdict(COPY, 2.5, 1.25, at_least=False).off == 2.0


def test_limits_speak_of_one_mode_where_they_say_so() -> None:
    cell = aimed(Cell(shape=(4096, 4096)))
    timings = {
        name: timing(name, Mode.OUT, t) for name, t in ((OURS, 2.0), ("JAX", 2.0), (COPY, 1.0))
    }
    assert [v.against for v in Row(cell, Mode.FRESH, timings).verdicts] == ["JAX"]
    assert [v.against for v in Row(cell, Mode.OUT, timings).verdicts] == ["JAX", COPY]


def test_a_faster_peer_is_a_miss_without_a_target() -> None:
    cell = aimed(Cell(shape=(1024, 1000), dtype="int32"))
    timings = {
        name: timing(name, Mode.OUT, t)
        for name, t in ((OURS, 2.0), ("JAX", 1.0), ("plain input", 1.9))
    }
    ((_, verdict),) = misses_of(Row(cell, Mode.OUT, timings))
    assert (verdict.against, verdict.value, verdict.wanted) == ("JAX", 0.5, 1.0)


# Reports, of an invented run.


def invented() -> Iterator[Row]:
    """Yield rows for every cell, as if it had been measured."""
    rng = np.random.default_rng(0)
    for cell in CELLS:
        names = [OURS, *PEERS, COPY, *(r.contestant for r in cell.references)]
        if cell.suite is Suite.THREADS:
            names = ["1 thread", "threads"]
        elif cell.suite is Suite.ISA:
            names = [f"{OURS} avx512", f"{OURS} avx2", *PEERS, COPY]
        for mode in cell.modes:
            seconds = cell.size * 1e-9 * rng.lognormal(size=len(names))
            timings = zip(names, seconds, strict=True)
            yield Row(cell, mode, {name: timing(name, mode, float(t)) for name, t in timings})


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """Return the invented run."""
    return Outcome(
        rounds=3,
        full=True,
        facts=Facts(
            {"version": "0", "isa": "avx512", "isas": ["avx512", "avx2"]},
            dict.fromkeys(PEERS, "1.2.3"),
            {},
        ),
        machine={
            "date": "2020-01-01",
            "cpu": "Invented CPU",
            "caches": {"L1 data": "32K", "L2": "512K", "L3": "32768K"},
            "python": "3.13.0",
            "packages": {"numpy": "2.4.0"},
        },
        multiply_adds={"float32": 3e10, "float64": 1.5e10},
        rows=list(invented()),
    )


def test_what_is_written_is_read_again(outcome: Outcome, tmp_path: Path) -> None:
    record.write_json(outcome, tmp_path / "run.json")
    again = record.read_json(tmp_path / "run.json")
    assert len(again.rows) == len(outcome.rows)
    for row, before in zip(again.rows, outcome.rows, strict=True):
        assert (row.cell, row.mode, row.best_peer) == (before.cell, before.mode, before.best_peer)
        assert row.score == pytest.approx(before.score, rel=1e-5)
    assert markdown.markdown(again).splitlines()[:5] == markdown.markdown(outcome).splitlines()[:5]


def test_markdown_has_a_line_a_headline(outcome: Outcome) -> None:
    lines = markdown.markdown(outcome).splitlines()
    table = lines[: lines.index("")]
    assert len(table) == 2 + sum(cell.headline is not None for cell in CELLS)
    assert {line.count("|") for line in table} == {len(PEERS) + 2}
    assert summary(outcome.rows) in "\n".join(lines)


def test_every_row_is_in_the_overview(outcome: Outcome) -> None:
    blocks = make_blocks(outcome.rows)
    fields = sum(field is not None for b in blocks for line in b.lines for field in line.fields)
    rows = [row for row in outcome.rows if row.cell.suite is not Suite.SIZES]
    # Two fields for those held against plain input, and for two instruction sets.
    twice = sum(not r.cell.is_plain or r.cell.suite is Suite.ISA for r in rows)
    assert fields == len(rows) + twice


def test_pictures_are_drawn(outcome: Outcome, tmp_path: Path) -> None:
    outcome = replace(outcome, rows=[row for row in outcome.rows if row.cell.quick])
    for draw in (draw_overview, draw_roofline):
        path = tmp_path / f"{draw.__name__}.png"
        assert draw(outcome, path)
        assert path.read_bytes().startswith(b"\x89PNG")
        empty = tmp_path / "empty.png"
        assert not draw(replace(outcome, rows=[]), empty)
        assert not empty.exists()


def test_the_report_ends_with_the_misses(
    outcome: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    console = pytest.importorskip("rich.console").Console(width=200)
    print_report(outcome, console)
    printed = capsys.readouterr().out
    for title in ("Side by side", "Softmax by size", "Threads", "Instruction sets", "Misses"):
        assert title in printed
    assert printed.splitlines()[-1] == summary(outcome.rows)
