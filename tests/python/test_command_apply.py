"""`softlane apply`: the bits of the library through any number of blocks, in little memory."""

import io
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import processes
from cases import same_bits
from softlane._cli import main
from softlane._cli.errors import CommandError
from softlane._cli.files import Npy, replacing
from softlane._cli.operation import ELEMENTWISE, NAMES, REDUCING, Operation
from softlane._cli.pieces import reverse_axes
from softlane._cli.streaming import Limits, slabs, stream

DTYPES = ("f2", "f4", "f8", ">f4", "?", "i1", "u2", ">i8")
SHAPES: tuple[tuple[int, ...], ...] = (
    (),
    (0,),
    (1,),
    (7,),
    (3, 0),
    (0, 3),
    (9, 1),
    (21, 37),
    (4, 5, 6),
)
# All at once; blocks of some slabs, the last one shorter; slabs one by one; stretches of lines;
# strips; rows, in a scratch file where they are not contiguous.
LIMITS = (
    Limits(),
    Limits(500, 1 << 20),
    Limits(1, 1 << 20),
    Limits(1, 2400, 2),
    Limits(1, 700),
    Limits(1, 1),
)


def axes_of(name: str, ndim: int) -> list[int | None]:
    if name in ELEMENTWISE:
        return [None]
    return [None, *range(-1, ndim)] if ndim else [None, -1, 0]


def some_array(shape: tuple[int, ...], dtype: str, order: Any = "C") -> Any:
    values = 5 * np.random.default_rng(len(shape)).standard_normal(shape)
    return np.asarray(values.astype(dtype), order=order)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bits_are_those_of_the_library(name: str, dtype: str, tmp_path: Path) -> None:
    given, got = tmp_path / "given.npy", tmp_path / "got.npy"
    for shape, order in itertools.product(SHAPES, "CF"):
        np.save(given, some_array(shape, dtype, order))
        loaded = np.load(given)
        for axis in axes_of(name, len(shape)):
            operation = Operation(name, axis)
            expected = np.asarray(operation.along(loaded, axis))
            wanted = io.BytesIO()
            np.save(wanted, expected)
            for limits in LIMITS:
                done: list[int] = []
                stream(
                    Npy.open(given),
                    got,
                    operation,
                    num_threads=2,
                    limits=limits,
                    advance=done.append,
                )
                case = f"{shape} {order} axis {axis} {limits}"
                assert same_bits(np.load(got), expected), case
                assert sum(done) == loaded.nbytes, case
                if name not in REDUCING or order == "C":  # the order of memory of the file is kept
                    assert got.read_bytes() == wanted.getvalue(), case


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_options_reach_the_function(dtype: str, limits: Limits, tmp_path: Path) -> None:
    x = some_array((20, 30), "f4")
    np.save(tmp_path / "x.npy", x)
    operation = Operation("log_softmax", 0, 0.7, dtype)
    stream(
        Npy.open(tmp_path / "x.npy"), tmp_path / "y.npy", operation, num_threads=1, limits=limits
    )
    expected = operation.along(x, 0)
    assert expected.dtype == dtype
    assert not np.array_equal(expected, Operation("log_softmax", 0, 1.0, dtype).along(x, 0))
    assert same_bits(np.load(tmp_path / "y.npy"), expected)


def test_every_way_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Or the test of bits would prove little.
    taken: list[tuple[str, Any]] = []
    for way in ("_by_blocks", "_by_strips", "_by_rows", "_by_scratch"):
        original = getattr(sys.modules[stream.__module__], way)

        def noted(task: Any, of: Any = None, way: str = way, go: Any = original) -> None:
            taken.append((way, of))
            go(task, *([] if of is None else [of]))

        monkeypatch.setattr(sys.modules[stream.__module__], way, noted)
    np.save(tmp_path / "x.npy", some_array((21, 37), "f4"))
    for limits in LIMITS:
        source, operation = Npy.open(tmp_path / "x.npy"), Operation("softmax", 0)
        stream(source, tmp_path / "y.npy", operation, num_threads=2, limits=limits)
    blocks, stretches = ("_by_blocks", 37), ("_by_blocks", 16)
    scratch = [("_by_scratch", (21, 37)), ("_by_rows", None)]
    assert taken == [blocks, blocks, blocks, stretches, ("_by_strips", None), *scratch]
    assert slabs(source, operation) == (1, 21, 37)


def test_defaults_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = some_array((6, 5), "f8")
    np.save(tmp_path / "x.npy", x)
    for name in NAMES:
        assert main(["apply", str(tmp_path / "x.npy"), "--op", name]) == 0
        said = capsys.readouterr()
        assert said.out.startswith(f"{tmp_path / f'x.{name}.npy'}: float64 ")
        assert said.err == ""
        expected = Operation(name, None if name in REDUCING else -1).along(x, -1)
        if name in REDUCING:
            expected = np.asarray(Operation(name, None).along(x, None))
        assert same_bits(np.load(tmp_path / f"x.{name}.npy"), expected)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["x.npy", *(f"x.{name}.npy" for name in NAMES)]
    )


def test_archives(tmp_path: Path) -> None:
    one, two = some_array((6, 5), "f4"), some_array((3,), "i4")
    np.savez(tmp_path / "both.npz", one=one, two=two)
    np.savez(tmp_path / "single.npz", one=one)
    for arguments, output, given in [
        (["both.npz:one"], "both.one.softmax.npy", one),
        (["both.npz", "--key", "two", "-o", "named.npy"], "named.npy", two),
        (["single.npz"], "single.softmax.npy", one),
    ]:
        paths = [a if a[0] == "-" or a == "two" else str(tmp_path / a) for a in arguments]
        assert main(["apply", "-q", *paths]) == 0
        assert same_bits(np.load(tmp_path / output), Operation("softmax", -1).along(given, -1))


def test_force_replaces_the_output_and_even_the_input(tmp_path: Path) -> None:
    x, path = some_array((6, 5), "f4"), tmp_path / "x.npy"
    np.save(path, x)
    path.chmod(0o640)
    (tmp_path / "link.npy").symlink_to(path)
    before = path.read_bytes()
    for output in (path, tmp_path / "link.npy"):
        assert main(["apply", str(path), "-o", str(output)]) == 2
        assert path.read_bytes() == before
    assert main(["apply", str(path), "-q", "-f", "-o", str(tmp_path / "link.npy")]) == 0
    assert same_bits(np.load(path), Operation("softmax", -1).along(x, -1))
    assert (tmp_path / "link.npy").is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("shape", [(7,), (3, 40), (40, 3), (1, 5), (4, 5, 6), (2, 1, 9, 3, 2)])
@pytest.mark.parametrize("run", [1, 3, 8, 1000])
def test_axes_in_reverse(shape: tuple[int, ...], run: int, tmp_path: Path) -> None:
    x = some_array(shape, ">f4")
    np.save(tmp_path / "x.npy", x)
    source = Npy.open(tmp_path / "x.npy")
    for workers in (1, 2):
        target = Npy.create(tmp_path / "y.npy", shape[::-1], x.dtype, fortran=False)
        done: list[int] = []
        reverse_axes(source, target, shape, run=run, workers=workers, advance=done.append)
        assert np.array_equal(np.load(target.path), x.T)
        assert sum(done) == x.size
        assert max(done) <= run * run


# ------------------------------------------------------------------------- interrupted, and killed


def parts(folder: Path) -> list[str]:
    return [path.name for path in folder.glob(".softlane-*.part")]


@pytest.mark.parametrize("limits", LIMITS[1:], ids=str)
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, SystemExit])
def test_nothing_is_left_of_what_was_interrupted(
    error: type[BaseException], limits: Limits, tmp_path: Path
) -> None:
    def advance(_: int) -> None:
        assert len(parts(tmp_path)) == 1
        raise error

    np.save(tmp_path / "x.npy", some_array((21, 37), "f4"))
    source, operation = Npy.open(tmp_path / "x.npy"), Operation("softmax", 0)
    with pytest.raises(error), replacing(tmp_path / "y.npy") as part:
        stream(source, part, operation, num_threads=2, limits=limits, advance=advance)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", [None, "float64"])
def test_no_scratch_file_is_left(
    order: Any, dtype: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "x.npy", some_array((21, 37), "f4", order))
    source = Npy.open(tmp_path / "x.npy")
    operation = Operation("softmax", 0 if order == "C" else None, dtype=dtype)
    calls: list[int] = []
    for last in itertools.count(1):
        calls.clear()

        def advance(_: int, last: int = last) -> None:
            calls.append(len(list(tmp_path.glob(".softlane-*.scratch"))))
            if len(calls) == last:
                raise KeyboardInterrupt

        try:
            with replacing(tmp_path / "y.npy") as part:
                stream(source, part, operation, num_threads=1, limits=LIMITS[-1], advance=advance)
        except KeyboardInterrupt:
            assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
        else:
            break
    # Each of the steps was interrupted: bringing rows there, the rows, bringing them back.
    assert len(calls) > 4
    assert set(calls) == {1 if dtype is None else 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npy", "y.npy"]


def test_lack_of_space_for_scratch_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = some_array((21, 37), "f4")
    np.save(tmp_path / "x.npy", x)
    source, operation = Npy.open(tmp_path / "x.npy"), Operation("softmax", 0)
    usage = shutil.disk_usage(tmp_path)._replace(free=2 * x.nbytes - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    done: list[int] = []
    with pytest.raises(CommandError, match="not enough space"), replacing(tmp_path / "y") as part:
        stream(source, part, operation, num_threads=1, limits=LIMITS[-1], advance=done.append)
    assert done == []
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def sparse(path: Path, shape: tuple[int, ...], dtype: str = "f4") -> None:
    np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the command on a file of many blocks; at work when the fixture returns."""
    sparse(tmp_path / "x.npy", (200_000, 250))
    command = [sys.executable, "-m", "softlane", "apply", str(tmp_path / "x.npy")]
    with subprocess.Popen(
        [*command, "--block-bytes", "1000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=processes.FRESH,
    ) as process:
        end = time.monotonic() + 30
        while not parts(tmp_path):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.005)
        time.sleep(0.1)
        yield process
        process.kill()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "status", "left"),
    [
        (signal.SIGKILL, -signal.SIGKILL, 1),
        (signal.SIGTERM, 128 + signal.SIGTERM, 0),
        (signal.SIGHUP, 128 + signal.SIGHUP, 0),
        (signal.SIGINT, 130, 0),
    ],
)
def test_signals(
    running: subprocess.Popen[str], number: int, status: int, left: int, tmp_path: Path
) -> None:
    running.send_signal(number)
    out, err = running.communicate(timeout=30)
    assert (running.returncode, out, err) == (status, "", "")
    assert not (tmp_path / "x.softmax.npy").exists()
    assert len(parts(tmp_path)) == left


# ------------------------------------------------------------------------------------------ memory

PEAK = """
import sys
from pathlib import Path
from softlane._cli import main
from softlane._cli.errors import CommandError
status = main(sys.argv[1:])
# The peak of this program alone: getrusage begins with that of the process it came from.
print(status, *[line.split()[1] for line in Path("/proc/self/status").read_text().splitlines()
                if line.startswith("VmHWM")])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("shape", "axis", "most"),
    [
        ((100_000, 1000), "-1", 100),
        ((100_000, 1000), "0", 260),
        # Mapped; what is counted hangs on how often the pages are released. All of it is 800 MB.
        ((100_000_000,), "-1", 500),
        # All of it is 400 MB.
        ((50_000_000, 2), "0", 300),
    ],
    ids=["blocks", "strips", "row", "scratch"],
)
def test_memory_does_not_grow_with_the_file(
    shape: tuple[int, ...], axis: str, most: int, tmp_path: Path
) -> None:
    sparse(tmp_path / "x.npy", shape)
    done = processes.run("-c", PEAK, "apply", "-q", str(tmp_path / "x.npy"), "--axis", axis)
    assert done.stderr == ""
    status, peak = map(int, done.stdout.split())
    assert status == 0
    assert peak < most << 10
    result = np.load(tmp_path / "x.softmax.npy", mmap_mode="r")
    assert result[(-1,) * len(shape)] == np.float32(1 / shape[int(axis)])
    (tmp_path / "x.softmax.npy").unlink()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_archives_are_not_held_in_memory(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((50_000, 1000), np.float32))
    done = processes.run("-c", PEAK, "apply", "-q", str(tmp_path / "x.npz"))
    assert done.stderr == ""
    status, peak = map(int, done.stdout.split())
    assert status == 0
    assert peak < 100 << 10  # of 200 MB
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npz", "x.softmax.npy"]
