"""How far a classifier's probabilities can be believed, and temperature scaling.

Everything takes logits of shape (n, classes) and the label of each row, an integer. A classifier
that says "80 %" should be right 8 times out of 10; `reliability_curve` and
`expected_calibration_error` tell whether it is, `negative_log_likelihood` and `brier_score` how
good its probabilities are altogether, and `fit_temperature` finds what to divide the logits by.

>>> import numpy as np
>>> from softlane.calibration import expected_calibration_error, fit_temperature
>>> rng = np.random.default_rng(0)
>>> logits = rng.normal(size=(5000, 10))
>>> labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from their softmax
>>> too_sure = 3 * logits
>>> print(f"{expected_calibration_error(too_sure, labels):.3f}")
0.346
>>> temperature = fit_temperature(too_sure, labels)
>>> print(f"{temperature:.2f}")
3.02
>>> print(f"{expected_calibration_error(too_sure, labels, temperature=temperature):.3f}")
0.013

`TemperatureScaling` is for classifiers of scikit-learn (``pip install "softlane[sklearn]"``), and
`plot_reliability` draws with matplotlib (``pip install "softlane[plot]"``).
"""

from typing import TYPE_CHECKING, Any

from softlane.calibration._bins import ReliabilityCurve
from softlane.calibration._errors import (
    expected_calibration_error,
    maximum_calibration_error,
    reliability_curve,
)
from softlane.calibration._plot import plot_reliability
from softlane.calibration._scores import brier_score, negative_log_likelihood
from softlane.calibration._temperature import fit_temperature

if TYPE_CHECKING:
    from softlane.calibration._estimator import TemperatureScaling

__all__ = [
    "ReliabilityCurve",
    "TemperatureScaling",
    "brier_score",
    "expected_calibration_error",
    "fit_temperature",
    "maximum_calibration_error",
    "negative_log_likelihood",
    "plot_reliability",
    "reliability_curve",
]


def __getattr__(name: str) -> Any:
    # scikit-learn is imported for what needs it alone.
    if name == "TemperatureScaling":
        try:
            from softlane.calibration._estimator import TemperatureScaling
        except ImportError as error:
            needed = 'TemperatureScaling needs scikit-learn: pip install "softlane[sklearn]"'
            raise ImportError(needed) from error
        return TemperatureScaling
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
