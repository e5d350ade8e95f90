"""The five lessons together."""

from dataclasses import dataclass

from threadpoolctl import threadpool_limits  # comes with scikit-learn

from softlane._demo import data
from softlane._demo.attributes import Attributes, describe
from softlane._demo.confidence import Confidence, overtrain
from softlane._demo.learning import Learning, learn
from softlane._demo.neither import Neither, ask
from softlane._demo.slope import Slope, walk
from softlane._demo.training import Watch, unwatched


@dataclass(frozen=True)
class Lessons:
    """What came out of each."""

    learning: Learning
    neither: Neither
    attributes: Attributes
    slope: Slope
    confidence: Confidence


def teach(*, seed: int = 0, watch: Watch = unwatched) -> Lessons:
    """Go through all of them, which takes less than a minute on one core."""
    training, test = data.load()
    # The matrix products are too small to be shared out: threads would wait for each other.
    with threadpool_limits(1, "blas"):
        return Lessons(
            learn(training, test, seed=seed, watch=watch),
            ask(training, test, seed=seed, watch=watch),
            describe(training, test, seed=seed, watch=watch),
            walk(training),
            overtrain(training, test, seed=seed, watch=watch),
        )
