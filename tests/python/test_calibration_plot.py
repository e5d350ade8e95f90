"""The reliability diagram shows the reliability curve."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from softlane.calibration import expected_calibration_error, plot_reliability, reliability_curve


def problem(scale: float) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2000, 6))
    return logits * scale, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


def bars(ax: Axes, *, above: bool) -> list[Rectangle]:
    """Return the bars of the diagram, or those of the strip of counts below it."""
    found = [bar for bar in ax.patches if isinstance(bar, Rectangle)]
    return [bar for bar in found if (bar.get_y() >= 0.0) == above]


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_bars_are_the_curve(strategy: Any, scale: float) -> None:
    logits, labels = problem(scale)
    ax = plot_reliability(logits, labels, n_bins=8, strategy=strategy, ax=Figure().subplots())
    curve = reliability_curve(logits, labels, n_bins=8, strategy=strategy)
    filled = curve.count > 0
    # Each bar ends at the smaller of accuracy and confidence; what is coloured, at the larger.
    places = np.array([bar.get_x() for bar in bars(ax, above=True)])
    tops = np.array([bar.get_y() + bar.get_height() for bar in bars(ax, above=True)])
    left = curve.edges[:-1][filled]
    for x, accuracy, confidence in zip(
        left, curve.accuracy[filled], curve.confidence[filled], strict=True
    ):
        here = tops[np.isclose(places, x)]
        assert here.min() == pytest.approx(min(accuracy, confidence))
        assert here.max() == pytest.approx(max(accuracy, confidence))
    depths = np.array([-bar.get_height() for bar in bars(ax, above=False)])
    np.testing.assert_allclose(depths / depths.max(), curve.count[filled] / curve.count.max())


def test_words() -> None:
    logits, labels = problem(4.0)
    ax = Figure().subplots()
    assert plot_reliability(logits, labels, ax=ax, label="before", temperature=2.0) is ax
    error = expected_calibration_error(logits, labels, temperature=2.0)
    (corner,) = (text.get_text() for text in ax.texts)
    assert corner == f"before\nECE {error:.3f}\n2,000 rows"
    legend = ax.get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["accuracy", "too sure", "too unsure", "rows"]


def test_a_perfect_classifier_lacks_nothing() -> None:
    ax = plot_reliability([[0.0, -np.inf]], [0], ax=Figure().subplots())
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["accuracy", "rows"]


def test_axes_of_its_own(tmp_path: Path) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    plot_reliability(*problem(1.0))
    try:
        pyplot.savefig(tmp_path / "reliability.png")
    finally:
        pyplot.close()
    assert (tmp_path / "reliability.png").stat().st_size > 5000


def test_without_matplotlib_the_error_names_the_extra() -> None:
    script = """
import sys
sys.modules["matplotlib"] = None
from softlane.calibration import plot_reliability
try:
    plot_reliability([[0, 1]], [0])
except ImportError as error:
    print(error)
"""
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert said.stdout == 'plot_reliability needs matplotlib: pip install "softlane[plot]"\n'
