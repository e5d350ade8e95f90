"""The estimator: arguments checked, the objective minimised, predictions."""

import warnings
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from softlane import _core
from softlane.sklearn._newton import minimise
from softlane.sklearn._objective import Objective

_FLOATS = [np.float64, np.float32]


class SoftmaxClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Softmax regression, which is multinomial logistic regression.
    """

    def __init__(
        self,
        *,
        C: float = 1.0,  # noqa: N803
        fit_intercept: bool = True,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        tol: float = 1e-4,
        max_iter: int = 100,
        warm_start: bool = False,
    ) -> None:
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803
        """Fit."""
        self._check_parameters()
        X, y = validate_data(self, X, y, dtype=_FLOATS)  # noqa: N806
        check_classification_targets(y)
        classes, labels = np.unique(y, return_inverse=True)
        if classes.size < 2:
            raise ValueError(f"y has one class only, {classes[0]!r}; expected at least two classes")
        weights = self._weights(classes, labels, sample_weight)
        objective = Objective(
            X, labels, weights, classes.size, float(self.C), fit_intercept=self.fit_intercept
        )
        start = self._start(objective, classes)
        point, self.n_iter_, size = minimise(objective, start, self.tol, self.max_iter)
        if objective.outputs > 1:
            point[-1] -= point[-1].mean()
        self.classes_ = classes
        self.coef_ = np.ascontiguousarray(point[:-1].T, X.dtype)
        self.intercept_ = point[-1].astype(X.dtype)
        if size > self.tol:
            self._warn(size)
        return self

    def decision_function(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Logits."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=_FLOATS, reset=False)  # noqa: N806
        logits: NDArray[Any] = X @ self.coef_.T + self.intercept_
        return logits if self.classes_.size > 2 else logits[:, 0]

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        logits = self.decision_function(X)
        indices = (logits > 0).astype(np.intp) if logits.ndim == 1 else logits.argmax(axis=1)
        return self.classes_[indices]

    def predict_proba(self, X: Any) -> NDArray[Any]:  # noqa: N803
        return _core.softmax(self._logits(X))

    def predict_log_proba(self, X: Any) -> NDArray[Any]:  # noqa: N803
        return _core.log_softmax(self._logits(X))

    def _logits(self, X: Any) -> NDArray[Any]:  # noqa: N803
        logits = self.decision_function(X)
        return logits if logits.ndim == 2 else np.stack([np.zeros_like(logits), logits], axis=1)

    def _check_parameters(self) -> None:
        for name, kind, wanted, ok in (
            ("C", Real, "a finite number above 0", lambda v: 0 < v < np.inf),
            ("tol", Real, "a finite number of at least 0", lambda v: 0 <= v < np.inf),
            ("max_iter", Integral, "an integer of at least 1", lambda v: v >= 1),
        ):
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise TypeError(f"{name} must be {wanted}, got {value!r}")
            if not ok(value):
                raise ValueError(f"{name} must be {wanted}, got {value!r}")

    def _weights(self, classes, labels, sample_weight):
        weights = None
        if sample_weight is not None:
            weights = check_array(
                sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
            )
            if weights.shape != labels.shape:
                raise ValueError(f"sample_weight has shape {weights.shape}, expected {labels.shape}")
            if weights.min() < 0.0:
                raise ValueError("neg")
        if self.class_weight is not None:
            if self.class_weight == "balanced":
                counts = np.bincount(labels, weights, classes.size)
                of_class = counts.sum() / (classes.size * np.maximum(counts, np.finfo(float).tiny))
            else:
                of_class = compute_class_weight(self.class_weight, classes=classes, y=classes[labels])
            weights = of_class[labels] * (1.0 if weights is None else weights)
        if weights is not None and not weights.sum() > 0:
            raise ValueError("all zero")
        return weights

    def _start(self, objective, classes):
        point = np.zeros((objective.features + 1, objective.outputs))
        if self.warm_start and hasattr(self, "coef_"):
            point[:-1] = self.coef_.T
            point[-1] = self.intercept_
        elif self.fit_intercept:
            share = np.bincount(objective.labels, objective.sample_weight, classes.size)
            share = np.log(np.maximum(share / objective.total, 1e-8))
            point[-1] = share - share.mean() if objective.outputs > 1 else share[1] - share[0]
        return point

    def _warn(self, size: float) -> None:
        warnings.warn("x", ConvergenceWarning, stacklevel=3)
