"""Every script of examples/ runs by itself; a few epochs are enough to see that."""

import re
from pathlib import Path

import pytest

import processes

pytest.importorskip("sklearn")

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
# What each must print, with figures that hold after three epochs already.
SAYS = {
    "01_train_a_network": r"random weights: .*\n(?:epoch .*\n)+trained: [5-9]\d\.\d% right",
    "02_neither": r"of 360 images of neither .* sure of \d+%\n",
    "03_softmax_or_sigmoid": r"\n8 +(?: +\d+%){6}\n",
    "04_why_not_argmax": r"(?: +-?\d\.\d\d +\d+ +0\.00 +\d\.\d{4} +-?\d\.\d{4}\n){17}",
    "05_overconfidence": r"divided by \d\.\d\d: expected calibration error \d+\.\d%",
}


def test_every_example_is_listed_and_tested() -> None:
    names = [script.stem for script in SCRIPTS]
    assert names == sorted(SAYS)
    listed = re.findall(r"\]\((\w+)\.py\)", (EXAMPLES / "README.md").read_text("utf-8"))
    assert listed == names


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_runs(script: Path) -> None:
    done = processes.run(str(script), "3", timeout=120, OPENBLAS_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.search(SAYS[script.stem], done.stdout + "\n"), done.stdout
