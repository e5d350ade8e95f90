"""The reliability diagram."""

from typing import TYPE_CHECKING, Literal, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from softlane.calibration._bins import ReliabilityCurve
from softlane.calibration._errors import curve_of
from softlane.calibration._rows import Floats, Real, Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _FAINT, _BAR = "#23272e", "#b9bec6", "#7f9fbf"
_TOO_SURE, _TOO_UNSURE = "#e6949f", "#82c0a9"
# The strip below 0 for the numbers of rows, and the least width that can be seen.
_STRIP_TOP, _STRIP_HEIGHT, _THIN = -0.03, 0.14, 0.004


def plot_reliability(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: Real = 1.0,
    n_bins: SupportsIndex = 15,
    strategy: Literal["uniform", "quantile"] = "uniform",
    ax: "Axes | None" = None,
    label: str | None = None,
) -> "Axes":
    """Draw a reliability diagram: the accuracy of the rows of each bin of confidence.

    A calibrated classifier has its bars end on the diagonal. Where it claims more than comes true,
    or less, the difference is coloured. Below are the numbers of rows in the bins, and in the
    corner is the expected calibration error.

    Parameters
    ----------
    logits : array_like, shape (n, classes)
        Of any float dtype; integers and bool become float64. -inf excludes a class.
    labels : array_like of int, shape (n,)
        The class of each row, from 0 on.
    temperature : float, default 1.0
        What logits are divided by; finite and above 0.
    n_bins : int, default 15
        How many bins, at least 1.
    strategy : {"uniform", "quantile"}, default "uniform"
        Bins of equal width from 0 to 1, or of equally many rows.
    ax : matplotlib.axes.Axes, optional
        What to draw on; by default the axes of a new figure of pyplot.
    label : str, optional
        Stands in the corner, above the error.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ImportError
        Without matplotlib: ``pip install "softlane[plot]"``.
    ValueError, IndexError, TypeError
        As `expected_calibration_error`.

    Warns
    -----
    UserWarning
        Where all rows look like probabilities.

    See Also
    --------
    reliability_curve : The numbers drawn.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from softlane.calibration import plot_reliability
    >>> logits = [[0.0, 0.0], [0.0, 0.0], [40.0, 0.0], [40.0, 0.0]]
    >>> ax = plot_reliability(logits, [0, 1, 0, 1], ax=Figure().subplots(), label="before")
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('confidence', 'accuracy')
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            'plot_reliability needs matplotlib: pip install "softlane[plot]"'
        ) from error
    curve = curve_of(Rows(logits, labels), temperature, n_bins, strategy)
    if ax is None:
        ax = plt.subplots(figsize=(5.2, 5.6), layout="constrained")[1]
    _draw(ax, curve, label)
    return ax


def _draw(ax: "Axes", curve: ReliabilityCurve, label: str | None) -> None:
    filled = curve.count > 0
    width = np.maximum(np.diff(curve.edges)[filled], _THIN)
    left = np.minimum(curve.edges[:-1][filled], 1.0 - width)
    confidence, accuracy = curve.confidence[filled], curve.accuracy[filled]
    share = curve.count[filled] / curve.count.sum()

    def bars(height: Floats, bottom: Floats | float, colour: str, name: str) -> None:
        ax.bar(
            left,
            height,
            width,
            bottom,
            align="edge",
            color=colour,
            edgecolor="white",
            linewidth=0.6,
            label=name,
        )

    bars(np.minimum(accuracy, confidence), 0.0, _BAR, "_")  # no entry in the legend
    for name, colour, gap in (
        ("too sure", _TOO_SURE, confidence - accuracy),
        ("too unsure", _TOO_UNSURE, accuracy - confidence),
    ):
        if (gap > 0.0).any():
            bars(np.maximum(gap, 0.0), np.minimum(accuracy, confidence), colour, name)
    ax.hlines(accuracy, left, left + width, color=_INK, linewidth=1.6, label="accuracy")
    bars(-_STRIP_HEIGHT * share / share.max(), _STRIP_TOP, _FAINT, "rows")
    ax.plot([0, 1], [0, 1], color=_INK, linewidth=1, linestyle=(0, (5, 3)))
    ax.axhline(0, color=_INK, linewidth=0.8)

    error = float((share * abs(confidence - accuracy)).sum())
    words = [label] if label else []
    ax.text(
        0.97,
        0.03,
        "\n".join([*words, f"ECE {error:.3f}", f"{curve.count.sum():,} rows"]),
        color=_INK,
        ha="right",
        va="bottom",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 4},
    )
    ax.set(
        xlim=(0, 1),
        ylim=(_STRIP_TOP - _STRIP_HEIGHT - 0.02, 1),
        xlabel="confidence",
        ylabel="accuracy",
        yticks=np.arange(6) / 5,
        aspect="equal",
    )
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="upper left", frameon=False, fontsize="small")
