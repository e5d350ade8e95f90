"""Softmax regression as a scikit-learn estimator.

>>> from sklearn.datasets import load_iris
>>> from softlane.sklearn import SoftmaxClassifier
>>> X, y = load_iris(return_X_y=True)
>>> print(SoftmaxClassifier().fit(X, y).score(X, y))
0.9733333333333334

Needs scikit-learn and SciPy: ``pip install "softlane[sklearn]"``.
"""

try:
    from softlane.sklearn._classifier import SoftmaxClassifier
except ImportError as _error:
    raise ImportError(
        'softlane.sklearn needs scikit-learn and SciPy: pip install "softlane[sklearn]"'
    ) from _error

__all__ = ["SoftmaxClassifier"]
