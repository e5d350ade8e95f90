"""The estimator: its arguments checked, its objective minimised, its predictions."""

# ruff: noqa: N803, N806
# X and C are scikit-learn's names.

import warnings
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

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

_Array: TypeAlias = NDArray[Any]
_Floats: TypeAlias = NDArray[np.float64]

_DTYPES = [np.float64, np.float32]
# Of a class without weight: it would be pushed to a logarithm of -inf.
_SMALLEST_SHARE = 1e-8


if TYPE_CHECKING:

    class _Estimator:
        # What scikit-learn, which has no types, brings along.
        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Self: ...
        def score(self, X: Any, y: Any, sample_weight: Any = None) -> float: ...
        def set_score_request(self, *, sample_weight: bool | str | None = ...) -> Self: ...

else:

    class _Estimator(ClassifierMixin, BaseEstimator):
        pass


class SoftmaxClassifier(_Estimator):
    """Softmax regression, also known as multinomial logistic regression.

    The objective, and so the optimum, is that of scikit-learn's ``LogisticRegression``; the way
    there is another one, which takes fewer steps and less time.

    Parameters
    ----------
    C : float, default 1.0
        The inverse of the penalty's strength; above 0.
    fit_intercept : bool, default True
        Whether logits have an intercept, which is not penalised.
    class_weight : dict, "balanced" or None, default None
        The weight of each class, by its label; 1 for those that a dict does not name. "balanced"
        gives all classes the same sum of weights. They multiply ``sample_weight``.
    tol : float, default 1e-4
        The gradient of the mean loss, with the penalty, has no entry larger than this in the end;
        for float32, before the coefficients are rounded to it.
    max_iter : int, default 100
        The largest number of steps.
    warm_start : bool, default False
        Whether to begin where the last fit ended.

    Attributes
    ----------
    coef_ : numpy.ndarray, shape (K, D), or (1, D) for two classes
        The coefficients of each feature; of X's dtype, as ``intercept_``. The sum over three or
        more classes is 0, for both.
    intercept_ : numpy.ndarray, shape (K,), or (1,) for two classes
        What is added to the logits; 0 without ``fit_intercept``.
    classes_ : numpy.ndarray, shape (K,)
        The labels, sorted.
    n_features_in_ : int
        The number of features D.
    feature_names_in_ : numpy.ndarray, shape (D,)
        Their names, where X has names that are strings.
    n_iter_ : int
        The number of steps.

    See Also
    --------
    softlane.cross_entropy_value_and_grad : The loss and its gradient.

    Notes
    -----
    What is minimised, over coefficients W and intercepts b, is ::

        C * sum(s * cross_entropy(X @ W.T + b, y)) + 0.5 * (W**2).sum()

    where s are the weights of samples. Two classes have one row of coefficients, and the logits
    are those of the second class against the first, as in ``LogisticRegression``. (Rows for both
    classes would have the same probabilities with half of the penalty.)

    X is dense: float32 is computed and stays in float32, and anything else in float64. Steps are
    Newton's, found by conjugate gradients, for which a copy of X in float32 is made unless it is
    small; the gradient is computed in X's dtype, or in float64 where float32 would keep it from
    getting any smaller. Matrix products are NumPy's, and the last digits depend on its BLAS.

    References
    ----------
    Nocedal and Wright, "Numerical Optimization", 2nd edition (2006), chapter 7.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from softlane.sklearn import SoftmaxClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SoftmaxClassifier().fit(X, y)
    >>> model.coef_.shape
    (3, 4)
    >>> model.predict(X[[0, 60, 120]])
    array([0, 1, 2])
    >>> model.predict_proba(X[[0, 60, 120]]).round(2)
    array([[0.98, 0.02, 0.  ],
           [0.06, 0.94, 0.01],
           [0.  , 0.02, 0.98]])
    """

    coef_: _Array
    intercept_: _Array
    classes_: _Array
    n_features_in_: int
    feature_names_in_: _Array
    n_iter_: int

    if TYPE_CHECKING:  # made by scikit-learn of the signature of fit

        def set_fit_request(self, *, sample_weight: bool | str | None = ...) -> Self: ...

    def __init__(
        self,
        *,
        C: float = 1.0,
        fit_intercept: bool = True,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
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

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Find the coefficients.

        Parameters
        ----------
        X : array_like, shape (N, D)
            The samples.
        y : array_like, shape (N,)
            The label of each.
        sample_weight : array_like, shape (N,), optional
            The weight of each, at least 0; as if there were so many of it.

        Returns
        -------
        self : SoftmaxClassifier
            The estimator itself.

        Raises
        ------
        TypeError
            For parameters of a wrong type, and sparse X.
        ValueError
            For parameters outside their range, weights that are negative, all zero or of an
            infinite sum, fewer than two classes, and a warm start from other classes or features.

        Warns
        -----
        ConvergenceWarning
            If the gradient is not as small as ``tol`` wants.
        """
        self._check_parameters()
        X, y = validate_data(self, X, y, dtype=_DTYPES)
        check_classification_targets(y)
        classes, labels = np.unique(y, return_inverse=True)
        if classes.size < 2:
            raise ValueError(f"y has one class alone, {classes[0]!r}, expected at least two")
        weights = self._weights(classes, labels, sample_weight)
        start = self._start(X, classes, labels, weights)
        with np.errstate(all="ignore"):  # steps may be too long for any number
            objective = Objective(
                X, labels, weights, classes.size, float(self.C), fit_intercept=self.fit_intercept
            )
            point, steps, size = minimise(objective, start, self.tol, self.max_iter)
        self.classes_, self.n_iter_ = classes, steps
        self.coef_ = np.ascontiguousarray(point[:-1].T, X.dtype)
        self.intercept_ = point[-1].astype(X.dtype)
        if not size <= self.tol:
            self._warn(size)
        return self

    def decision_function(self, X: Any) -> _Array:
        """Return the logits of samples.

        Parameters
        ----------
        X : array_like, shape (N, D)
            The samples.

        Returns
        -------
        logits : numpy.ndarray, shape (N, K), or (N,) for two classes
            Of each class, or of the second against the first.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=_DTYPES, reset=False)
        logits: _Array = X @ self.coef_.T + self.intercept_
        return logits if self.classes_.size > 2 else logits[:, 0]

    def predict(self, X: Any) -> _Array:
        """Return the most probable label of each sample.

        Parameters
        ----------
        X : array_like, shape (N, D)
            The samples.

        Returns
        -------
        labels : numpy.ndarray, shape (N,)
            Each of them one of ``classes_``.
        """
        best = self._all_logits(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: Any) -> _Array:
        """Return the probability of each class, which is softmax of the logits.

        Parameters
        ----------
        X : array_like, shape (N, D)
            The samples.

        Returns
        -------
        probabilities : numpy.ndarray, shape (N, K)
            In the order of ``classes_``.
        """
        return _core.softmax(self._all_logits(X))

    def predict_log_proba(self, X: Any) -> _Array:
        """Return the logarithm of each class' probability, exact near certainty as well.

        Parameters
        ----------
        X : array_like, shape (N, D)
            The samples.

        Returns
        -------
        log_probabilities : numpy.ndarray, shape (N, K)
            In the order of ``classes_``.
        """
        return _core.log_softmax(self._all_logits(X))

    def _all_logits(self, X: Any) -> _Array:
        logits = self.decision_function(X)
        return logits if logits.ndim == 2 else np.stack([np.zeros_like(logits), logits], axis=1)

    # ------------------------------------------------------------------------------- the arguments

    def _check_parameters(self) -> None:
        self._check("C", Real, lambda value: 0.0 < value < np.inf, "a finite number above 0")
        self._check("tol", Real, lambda value: 0.0 <= value < np.inf, "a finite number, at least 0")
        self._check("max_iter", Integral, lambda value: value >= 1, "an integer, at least 1")
        for name in ("fit_intercept", "warm_start"):
            value = getattr(self, name)
            if not isinstance(value, bool | np.bool_):
                raise TypeError(f"{name} must be True or False, got {value!r}")
        given: Any = self.class_weight
        if not (given is None or isinstance(given, Mapping | str)):
            raise TypeError(f"class_weight must be a dict, 'balanced' or None, got {given!r}")
        if isinstance(given, str) and given != "balanced":
            raise ValueError(f"class_weight must be a dict, 'balanced' or None, got {given!r}")

    def _check(self, name: str, kind: type, holds: Callable[[Any], bool], wanted: str) -> None:
        value = getattr(self, name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TypeError(f"{name} must be {wanted}, got {value!r}")
        if not holds(value):
            raise ValueError(f"{name} must be {wanted}, got {value!r}")

    def _weights(
        self, classes: _Array, labels: NDArray[np.intp], sample_weight: Any
    ) -> _Floats | None:
        """Return the weight of each sample, its class' included; None if all are 1."""
        weights: _Floats | None = None
        if sample_weight is not None:
            weights = check_array(
                sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
            )
            if weights.shape != labels.shape:
                wanted = f"{labels.shape}, a weight of each sample"
                raise ValueError(f"sample_weight has shape {weights.shape}, expected {wanted}")
            _check_weights("sample_weight", weights)
        if self.class_weight is not None:
            if self.class_weight == "balanced":
                sums = np.bincount(labels, weights, classes.size)
                of_class = sums.sum() / (classes.size * np.where(sums > 0.0, sums, np.inf))
            else:
                of_class = compute_class_weight(
                    dict(self.class_weight), classes=classes, y=classes[labels]
                )
            _check_weights("class_weight", of_class)
            with np.errstate(over="ignore"):
                weights = of_class[labels] * (1.0 if weights is None else weights)
            if not weights.any():
                raise ValueError("class_weight and sample_weight together are all zero")
        if weights is not None and not np.isfinite(_sum(weights)):
            raise ValueError("the sum of the weights of samples is too large for float64")
        return weights

    def _start(
        self, X: _Array, classes: _Array, labels: NDArray[np.intp], weights: _Floats | None
    ) -> _Floats:
        """Return the coefficients of the last fit, or the intercepts that are best without any."""
        outputs = 1 if classes.size == 2 else classes.size
        point = np.zeros((X.shape[1] + 1, outputs))
        if self.warm_start and hasattr(self, "coef_"):
            if self.coef_.shape != point[:-1].T.shape or not np.array_equal(self.classes_, classes):
                raise ValueError(
                    f"warm_start needs the features and classes of the last fit: got {X.shape[1]} "
                    f"and {classes}, expected {self.coef_.shape[1]} and {self.classes_}"
                )
            point[:-1] = self.coef_.T
            if self.fit_intercept:
                point[-1] = self.intercept_
        elif self.fit_intercept:
            share = np.bincount(labels, weights, classes.size)
            share = np.log(np.maximum(share / share.sum(), _SMALLEST_SHARE))
            point[-1] = share if outputs > 1 else share[1] - share[0]
        # What is the same for all classes changes no probability, and would only be penalised.
        return point - point.mean(axis=1, keepdims=True) if outputs > 1 else point

    def _warn(self, size: float) -> None:
        if self.n_iter_ == self.max_iter:
            what = f"did not converge in max_iter={self.max_iter} steps"
            advice = "Increase max_iter, or scale the features"
        else:
            what = f"could not converge to tol={self.tol}, for rounding errors"
            advice = "Increase tol, or scale the features"
        message = f"SoftmaxClassifier {what}: the gradient has an entry of {size:.3g}. {advice}."
        warnings.warn(message, ConvergenceWarning, stacklevel=3)


def _sum(weights: _Floats) -> float:
    with np.errstate(over="ignore"):
        return float(weights.sum())


def _check_weights(name: str, weights: _Floats) -> None:
    if not (weights.min() >= 0.0 and weights.max() < np.inf):
        wrong = weights[~((weights >= 0.0) & (weights < np.inf))][0]
        raise ValueError(f"{name} must be finite and at least 0, got {wrong}")
    if not weights.any():
        raise ValueError(f"{name} is all zero, expected some weight above zero")
