"""What the pictures have in common: a page measured in inches, its words and colours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from matplotlib.figure import Figure

from .session import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK: Final = "#1f2430"
MUTED: Final = "#6b7280"
ACCENT: Final = "#1b7f6b"
PEER: Final = "#c3c9d3"
FLOOR: Final = "#e3dcc8"
EMPTY: Final = "#f3f4f6"

MARGIN: Final = 0.35

STYLE: Final[dict[Any, Any]] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": INK,
    "ytick.color": INK,
}


class Page:
    """A figure on which things are placed in inches from its top left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._figure = Figure(figsize=(width, height), facecolor="white")

    def axes(self, left: float, top: float, wide: float, high: float) -> Axes:
        """Return axes in a box, without frame and ticks."""
        box = (
            left / self.width,
            1 - (top + high) / self.height,
            wide / self.width,
            high / self.height,
        )
        axes = self._figure.add_axes(box)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        return axes

    def write(self, left: float, top: float, text: str, **style: Any) -> None:
        """Write a line that stands on `top`."""
        self._figure.text(left / self.width, 1 - top / self.height, text, va="baseline", **style)

    def save(self, path: Path) -> None:
        """Write the picture."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._figure.savefig(path, dpi=150)


def origin(outcome: Outcome) -> str:
    """Return where and how the figures were measured."""
    machine = outcome.machine
    isa = outcome.facts.softlane["isa"]
    peers = ", ".join(f"{peer} {version}" for peer, version in outcome.facts.peers.items())
    return (
        f"softlane {outcome.facts.softlane['version']}, {peers} · {machine['cpu']}, {isa} · "
        f"medians of up to {outcome.rounds} rounds · {machine['date']}"
    )
