"""The command `softlane`: what it says, its exit status, and what it does without its extras."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import processes
import softlane
from softlane._cli import main
from softlane._cli.peers import OPERATIONS, PEERS, ours
from softlane._cli.progress import WORTH_SHOWING, progress, working

# A module that is None in sys.modules cannot be imported.
WITHOUT = """
import sys
for name in {names!r}:
    sys.modules[name] = None
from softlane._cli import main
sys.exit(main(sys.argv[1:]))
"""
README = Path(__file__).parents[2] / "README.md"
OPTIONAL = ("jax", "matplotlib", "onnx", "onnxruntime", "rich", "scipy", "sklearn", "torch")


def without(*names: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the command where some modules are not installed."""
    return processes.run("-c", WITHOUT.format(names=names), *arguments)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return processes.run("-m", "softlane", *arguments)


def test_info() -> None:
    done = command("info")
    assert (done.returncode, done.stderr) == (0, "")
    config = softlane.show_config()
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in done.stdout.splitlines())
    assert facts["softlane"] == softlane.__version__
    assert facts["instruction set"] == f"{config['isa']} (available: {', '.join(config['isas'])})"
    assert int(facts["threads"]) >= 1
    assert "bfloat16" in facts["dtypes"]
    assert facts["NumPy"] == np.__version__
    assert facts["Python"].startswith(sys.version.split()[0])


def test_version_and_help() -> None:
    assert command("--version").stdout == f"softlane {softlane.__version__}\n"
    for arguments in ([], *([name] for name in ("info", "apply", "report", "bench", "demo"))):
        done = command(*arguments, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("usage: softlane")
        assert "bytes" not in done.stdout  # the options for tests


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["info", "--fast"], ["bench", "--seconds", "0"]]
)
def test_mistakes_are_one_line(arguments: list[str]) -> None:
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"softlane: .+\n", done.stderr)


def test_info_and_apply_need_nothing_but_numpy(tmp_path: Path) -> None:
    done = without(*OPTIONAL, arguments=["info"])
    assert (done.returncode, done.stderr) == (0, "")
    np.save(tmp_path / "x.npy", np.zeros((2, 4)))
    done = without(*OPTIONAL, arguments=["apply", str(tmp_path / "x.npy")])
    assert (done.returncode, done.stderr) == (0, "")
    assert np.array_equal(np.load(tmp_path / "x.softmax.npy"), np.full((2, 4), 0.25))


def test_the_command_loads_no_extra() -> None:
    code = "import sys, softlane._cli as c; c.main(['info']); print(*sys.modules)"
    loaded = set(processes.output(code).splitlines()[-1].split())
    assert "numpy" in loaded
    assert not loaded & set(OPTIONAL)


def test_demo_says_what_it_needs() -> None:
    done = without("sklearn", "rich", arguments=["demo"])
    assert (done.returncode, done.stdout) == (2, "")
    wanted = "softlane: softlane demo needs rich, sklearn: pip install 'softlane[demo]'\n"
    assert done.stderr == wanted


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_closed_pipe_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "softlane", "info"],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, "")


def test_output_that_cannot_show_a_name(tmp_path: Path) -> None:
    np.save(tmp_path / "é.npy", np.zeros((2, 4)))
    done = processes.run(
        "-m", "softlane", "apply", str(tmp_path / "é.npy"), PYTHONIOENCODING="ascii"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "?.softmax.npy: float64 (2, 4)" in done.stdout
    assert (tmp_path / "é.softmax.npy").exists()


def test_output_that_is_closed(tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(size=(200, 5))
    np.save(tmp_path / "x.npy", logits)
    np.save(tmp_path / "y.npy", np.where(np.arange(200) % 3, logits.argmax(-1), 0))
    report = ("report", str(tmp_path / "x.npy"), str(tmp_path / "y.npy"))
    code = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    for arguments in (("info",), report):
        done = processes.run("-c", code, "-m", "softlane", *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_progress_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    with progress("nothing", WORTH_SHOWING, quiet=False) as advance:
        advance(1)
    with working("nothing") as step:
        step("still")


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("softlane._cli.info.run", interrupted)
    assert main(["info"]) == 130
    assert capsys.readouterr() == ("", "")


def test_memory_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def starved() -> int:
        raise MemoryError

    monkeypatch.setattr("softlane._cli.info.run", starved)
    assert main(["info"]) == 2
    assert capsys.readouterr() == ("", "softlane: not enough memory\n")


def test_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    section = README.read_text("utf-8").split("## The command\n")[1].split("\n## ")[0]
    lines = re.findall(r"^softlane ([^#\n]+)", section, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 5))
    np.save("logits.npy", logits)
    np.save("labels.npy", (logits + rng.gumbel(size=logits.shape)).argmax(axis=1))
    np.savez("data.npz", logits=logits, other=0)
    for line in lines:
        if line.split() != ["bench"]:  # it takes its time
            assert main(line.split()) == 0, line
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {
        *("logits.npy", "labels.npy", "data.npz"),
        *("logits.softmax.npy", "out.npy", "data.logits.logsumexp.npy", "reliability.png"),
    }


# ------------------------------------------------------------------------------------------- bench


def test_bench_compares_with_numpy_alone() -> None:
    peers = tuple(set(OPTIONAL) - {"rich"})
    done = without(*peers, arguments=["bench", "--seconds", "0.1"])
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert re.split(r"  +", lines[2]) == ["along the last axis", "softlane", "NumPy"]
    rows = [re.split(r"  +", line) for line in lines[3:] if line]
    assert [row[0].split()[0] for row in rows] == [name for name in OPERATIONS for _ in range(3)]
    for _, duration, ratio in rows:
        assert re.fullmatch(r"\d+\.\d+ (ms|µs)", duration)
        assert float(ratio) > 0


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_peers_do_the_same(name: str, operation: str) -> None:
    calls, modules = PEERS[name]
    for module in modules:
        pytest.importorskip(module, exc_type=ImportError)
    x = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    labels = np.arange(20)
    theirs, mine = (np.asarray(c()[operation](x, labels)()) for c in (calls, ours))
    assert theirs.shape == mine.shape
    assert theirs.dtype == np.float32
    np.testing.assert_allclose(theirs, mine, rtol=1e-5, atol=1e-6)
