"""`softlane apply`: the bits of the library through any number of blocks, in little memory."""

import itertools
import os
import re
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
from softlane._cli.files import Npy, replacing
from softlane._cli.operation import ELEMENTWISE, NAMES, REDUCING, Operation
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
# strips; rows.
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
    given, got, wanted = (tmp_path / f"{role}.npy" for role in ("given", "got", "wanted"))
    for shape, order in itertools.product(SHAPES, "CF"):
        np.save(given, some_array(shape, dtype, order))
        loaded = np.load(given)
        for axis, limits in itertools.product(axes_of(name, len(shape)), LIMITS):
            operation = Operation(name, axis)
            done: list[int] = []
            stream(
                Npy.open(given), got, operation, num_threads=2, limits=limits, advance=done.append
            )
            expected = np.asarray(operation.along(loaded, axis))
            case = f"{shape} {order} axis {axis} {limits}"
            assert same_bits(np.load(got), expected), case
            assert sum(done) == loaded.nbytes, case
            if name not in REDUCING or order == "C":  # the order of memory of the file is kept
                np.save(wanted, expected)
                assert got.read_bytes() == wanted.read_bytes(), case


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
    taken: list[tuple[str, int]] = []
    for way in ("_by_blocks", "_by_strips", "_by_rows"):
        original = getattr(sys.modules[stream.__module__], way)

        def noted(
            task: Any, width: int = 0, way: str = way, go: Any = original, **options: Any
        ) -> None:
            taken.append((way, width))
            go(task, *([width] if width else []), **options)

        monkeypatch.setattr(sys.modules[stream.__module__], way, noted)
    np.save(tmp_path / "x.npy", some_array((21, 37), "f4"))
    for limits in LIMITS:
        source, operation = Npy.open(tmp_path / "x.npy"), Operation("softmax", 0)
        stream(source, tmp_path / "y.npy", operation, num_threads=2, limits=limits)
    blocks, stretches = ("_by_blocks", 37), ("_by_blocks", 16)
    assert taken == [blocks, blocks, blocks, stretches, ("_by_strips", 0), ("_by_rows", 0)]
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


def sparse(path: Path, shape: tuple[int, ...], dtype: str = "f4") -> None:
    np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the command on a file of many blocks; at work when the fixture returns."""
    sparse(tmp_path / "x.npy", (200_000, 250))
    command = [sys.executable, "-m", "softlane._cli", "apply", str(tmp_path / "x.npy")]
    with subprocess.Popen(
        [*command, "--block-bytes", "1000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
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
    ],
    ids=["blocks", "strips", "row"],
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


# ------------------------------------------------------------------------------------------ errors

GOOD = np.arange(12.0).reshape(3, 4)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files of many kinds, where the command runs."""
    monkeypatch.chdir(tmp_path)
    np.save("good.npy", GOOD)
    whole = Path("good.npy").read_bytes()
    Path("empty.npy").write_bytes(b"")
    Path("text.npy").write_text("1.0 2.0\n")
    Path("cut.npy").write_bytes(whole[:-1])
    Path("head.npy").write_bytes(whole[:40])
    Path("keys.npy").write_bytes(whole.replace(b"'shape'", b"'shqpe'"))
    np.save("object.npy", np.array([1, "a"], object), allow_pickle=True)
    np.save("fields.npy", np.zeros(3, "i4,f4"))
    np.save("complex.npy", np.zeros(3, "c8"))
    np.save("text_array.npy", np.array(["a"]))
    np.savez("two.npz", a=GOOD, b=GOOD)
    Path("broken.npz").write_bytes(Path("two.npz").read_bytes()[:300])
    Path("text.npz").write_text("1.0 2.0\n")
    Path("folder").mkdir()
    Path("plain.npz").write_bytes(whole)
    sparse(Path("huge.npy"), (shutil.disk_usage(tmp_path).free // 4,), "i1")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("missing.npy", "missing.npy: No such file or directory"),
        ("folder", "folder is a directory, expected a file"),
        ("/dev/null", "/dev/null is no regular file: it cannot be read in blocks"),
        ("empty.npy", "empty.npy is empty"),
        ("text.npy", "text.npy is no .npy file: it begins with b'1.0 2.'"),
        ("cut.npy", "cut.npy is truncated: its 223 bytes do not hold the array of its header"),
        ("head.npy", "head.npy has a header that cannot be read: EOF: .*"),
        ("keys.npy", "keys.npy has a header that cannot be read: .*'shqpe'.*"),
        ("object.npy", "object.npy holds Python objects, expected numbers"),
        ("fields.npy", r"softmax: the array has dtype \[\('f0'.*, expected bool, an integer, .*"),
        ("complex.npy", "softmax: the array has dtype complex64, expected bool, an integer, .*"),
        ("text_array.npy", "softmax: the array has dtype <U1, expected bool, an integer, .*"),
        ("good.npy --axis 2", "softmax: axis 2 is out of bounds for array of dimension 2"),
        ("good.npy --axis all", "--axis is 'all', expected an integer or 'none'"),
        ("good.npy --temperature 0", "softmax: temperature must be a finite number above 0, .*"),
        ("good.npy --temperature nan", "softmax: temperature must be a finite .*, got nan"),
        (
            "good.npy --temperature x",
            r"argument --temperature: .*'x' \(see .* --help\)",
        ),
        ("good.npy --op hardmax", "--op is 'hardmax', expected one of softmax, .*"),
        ("good.npy --op sigmoid --axis 0", "sigmoid is of each entry alone: it has no axis"),
        ("good.npy --op logsumexp --temperature 2", "logsumexp has no temperature; .*"),
        ("good.npy --dtype int8", "--dtype is 'int8', expected one of float16, float32, float64"),
        ("good.npy --threads 0", "softmax: num_threads must be at least 1, got 0"),
        ("good.npy --key a", "good.npy is no .npz file: it has no array by the name 'a'"),
        ("good.npy -o good.npy", "good.npy exists: choose another name, or replace it .*"),
        ("good.npy -o folder", "folder is a directory, expected a file"),
        ("good.npy -o no/y.npy", "no/y.npy cannot be written: there is no folder no"),
        ("good.npy -f -o /dev/null", "/dev/null is no regular file: it cannot be replaced"),
        ("two.npz", "two.npz holds 'a', 'b': choose with two.npz:NAME"),
        ("two.npz:c", "two.npz holds 'a', 'b', no 'c'"),
        ("broken.npz", "broken.npz cannot be read as an archive of arrays: .*"),
        ("text.npz", "text.npz cannot be read as an archive of arrays: .*"),
        ("plain.npz", "plain.npz is an .npy file by another name"),
        ("huge.npy", r"not enough space in .*: \d+ bytes wanted, \d+ free"),
        ("", r"the following arguments are required: IN.npy \(see softlane apply --help\)"),
    ],
)
def test_errors(
    folder: Path, arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    try:
        status = main(["apply", *arguments.split()])
    except SystemExit as error:  # argparse's way
        status = int(str(error.code))
    said = capsys.readouterr()
    assert status == 2
    assert said.out == ""
    assert re.fullmatch(f"softlane: {message}\n", said.err), said.err
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on files that Linux keeps")
@pytest.mark.parametrize("limits", [[], ["--row-bytes", "1"]], ids=["blocks", "rows"])
def test_a_write_that_fails(limits: list[str], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((100, 100)))
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000));"
        "from softlane._cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = processes.run("-c", code, "apply", str(tmp_path / "x.npy"), *limits)
    assert done.returncode == 2
    assert done.stderr == f"softlane: {tmp_path / 'x.softmax.npy'}: File too large\n"
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
