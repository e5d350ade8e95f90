"""The last linear layer and the cross-entropy behind it, without the logits in between."""

from typing import Any, Literal, SupportsFloat, SupportsIndex, TypeAlias

from numpy.typing import ArrayLike

from softlane._linear_blocks import run
from softlane._linear_problem import Gradients, Problem

_Real: TypeAlias = SupportsFloat | SupportsIndex

_DEFAULT_BLOCK = 32 << 20


def linear_cross_entropy(
    x: ArrayLike,
    w: ArrayLike,
    labels: ArrayLike,
    /,
    *,
    bias: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    ignore_index: SupportsIndex = -100,
    label_smoothing: _Real = 0.0,
    reduction: Literal["mean", "sum", "none"] = "mean",
    z_loss: _Real = 0.0,
    return_lse: bool = False,
    block_bytes: SupportsIndex = _DEFAULT_BLOCK,
    num_threads: SupportsIndex | None = None,
) -> Any:
    """Return the cross-entropy of a linear layer's logits, which never exist as a whole.

    The same as ``cross_entropy(x @ w.T + bias, labels)``: the logits are made, used and dropped a
    block of rows at a time, so that they take no more memory than ``block_bytes``, however many
    classes there are.

    Parameters
    ----------
    x : array_like, shape (..., D)
        What comes into the layer; N rows in all.
    w : array_like, shape (V, D)
        The weights of the layer: a row for each of V classes.
    labels : array_like, shape (...) of integers or (..., V) of floats
        The class of each row, or its probabilities; told apart by dtype.
    bias : array_like, shape (V,), optional
        Added to the logits.
    weight : array_like, shape (V,), optional
        Of each class, at least 0.
    ignore_index : int, default -100
        Rows with this label do not count.
    label_smoothing : float, default 0.0
        From 0 to 1: what part of the labels is replaced by a uniform distribution.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" is over the rows that count, or over their weights; 0 where none counts.
    z_loss : float, default 0.0
        Adds ``z_loss * lse**2`` to the loss of each row.
    return_lse : bool, default False
        Whether to return the logsumexp of each row's logits, too.
    block_bytes : int, default 32 MiB
        The size of the memory to work in. Where not even 16 rows of logits fit, classes are cut
        into blocks as well, and the logits are computed anew for each use.
    num_threads : int, optional
        For the softmax; the matrix products are NumPy's, whose BLAS has threads of its own.

    Returns
    -------
    loss : numpy scalar, or numpy.ndarray of shape (...) for "none"
        float64 where x, w or bias is (or holds integers), or else float32.
    lse : numpy.ndarray, shape (...)
        With ``return_lse`` alone; of the loss' dtype.

    Raises
    ------
    TypeError
        For a dtype that is not supported; for labels of bool.
    ValueError
        For shapes that do not fit, probabilities or weights that are negative or NaN, and options
        outside their range.
    IndexError
        For a label that is no class: the first of them is named.

    See Also
    --------
    linear_cross_entropy_value_and_grad : With the gradients of x, w and bias.

    Notes
    -----
    The loss of each row is as exact as that of ``cross_entropy`` on the logits, and these are as
    exact as the BLAS makes them. The losses of rows are added up exactly, so that blocks change
    nothing there.

    Beside the block, some 50 bytes a row are needed, and copies: of all of w where it is not of the
    dtype that is computed in (half precision is computed in float32), or not in C or Fortran order;
    of x where its rows do not follow one another evenly.

    Cutting the classes up, too, is the cut cross-entropy of Wijmans et al., "Cut your losses in
    large-vocabulary language models" (2024).

    Examples
    --------
    >>> import numpy as np
    >>> import softlane as sl
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> w = np.array([[2.0, 0.0], [0.0, 2.0]])
    >>> print(sl.linear_cross_entropy(x, w, [0, 0, 1]))
    0.9823344008819634
    >>> sl.linear_cross_entropy(x, w, [0, -100, 1], reduction="none")
    array([0.12692801, 0.        , 0.69314718])
    """
    problem = Problem(
        x,
        w,
        labels,
        bias,
        weight,
        ignore_index,
        label_smoothing,
        reduction,
        z_loss,
        block_bytes,
        num_threads,
    )
    run(problem, None, None)
    loss = problem.loss()
    return (loss, problem.lse_result()) if return_lse else loss


def linear_cross_entropy_value_and_grad(
    x: ArrayLike,
    w: ArrayLike,
    labels: ArrayLike,
    /,
    *,
    bias: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    ignore_index: SupportsIndex = -100,
    label_smoothing: _Real = 0.0,
    reduction: Literal["mean", "sum", "none"] = "mean",
    z_loss: _Real = 0.0,
    return_lse: bool = False,
    dloss: ArrayLike | None = None,
    block_bytes: SupportsIndex = _DEFAULT_BLOCK,
    num_threads: SupportsIndex | None = None,
) -> tuple[Any, ...]:
    """Return `linear_cross_entropy` and its gradients with respect to x, w and bias.

    Logits and their gradient share one block of memory, which is used again for each block of rows.

    Parameters
    ----------
    x : array_like, shape (..., D)
        What comes into the layer; N rows in all.
    w : array_like, shape (V, D)
        The weights of the layer: a row for each of V classes.
    labels : array_like, shape (...) of integers or (..., V) of floats
        The class of each row, or its probabilities; told apart by dtype.
    bias : array_like, shape (V,), optional
        Added to the logits.
    weight : array_like, shape (V,), optional
        Of each class, at least 0.
    ignore_index : int, default -100
        Rows with this label do not count, and have no gradient.
    label_smoothing : float, default 0.0
        From 0 to 1: what part of the labels is replaced by a uniform distribution.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" is over the rows that count, or over their weights; 0 where none counts.
    z_loss : float, default 0.0
        Adds ``z_loss * lse**2`` to the loss of each row.
    return_lse : bool, default False
        Whether to return the logsumexp of each row's logits, too.
    dloss : array_like, optional
        The cotangent of the loss: a number, or for "none" anything that broadcasts to the shape of
        the loss. By default 1, which for "none" gives the gradients of the sum.
    block_bytes : int, default 32 MiB
        The size of the memory to work in.
    num_threads : int, optional
        For the softmax; the matrix products are NumPy's, whose BLAS has threads of its own.

    Returns
    -------
    loss : numpy scalar, or numpy.ndarray of shape (...) for "none"
        As `linear_cross_entropy` returns it.
    gradients : tuple of numpy.ndarray
        ``(dx, dw, dbias)``, of the shapes and dtypes of x, w and bias (float64 for integers);
        ``dbias`` is None where there is no bias.
    lse : numpy.ndarray, shape (...)
        With ``return_lse`` alone.

    Raises
    ------
    TypeError, ValueError, IndexError
        As `linear_cross_entropy`; ValueError for a ``dloss`` that does not broadcast.

    Notes
    -----
    In half precision the gradient of w is summed in float32, which takes memory for it.

    Examples
    --------
    >>> import numpy as np
    >>> import softlane as sl
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> w = np.array([[2.0, 0.0], [0.0, 2.0]])
    >>> loss, (dx, dw, dbias) = sl.linear_cross_entropy_value_and_grad(x, w, [0, 1])
    >>> print(loss, dbias)
    0.1269280110429725 None
    >>> dw
    array([[-0.05960146,  0.05960146],
           [ 0.05960146, -0.05960146]])
    """
    problem = Problem(
        x,
        w,
        labels,
        bias,
        weight,
        ignore_index,
        label_smoothing,
        reduction,
        z_loss,
        block_bytes,
        num_threads,
    )
    gradients = Gradients(problem)
    run(problem, gradients, problem.coefficients(dloss))
    results: tuple[Any, ...] = (problem.loss(), gradients.results())
    return (*results, problem.lse_result()) if return_lse else results
