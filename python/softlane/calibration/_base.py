"""The base of classifiers for scikit-learn, with the types that it lacks."""

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:

    class Classifier:
        """What a classifier inherits."""

        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Self: ...
        def score(self, X: Any, y: Any, sample_weight: Any = None) -> float: ...  # noqa: N803
        def set_score_request(self, *, sample_weight: bool | str | None = ...) -> Self: ...
        def __sklearn_tags__(self) -> Any: ...

else:
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Classifier(ClassifierMixin, BaseEstimator):
        """What a classifier inherits."""
