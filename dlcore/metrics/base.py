"""`Metric`, and values as arrays on the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import current
from ..losses import check_shapes
from ..naming import to_snake_case
from ..tensor import Tensor, Variable


class Metric:
    """Base of all metrics: override `update_state`, `result` and `reset_state`.

    Attributes:
        direction: "up" or "down", whichever is better, for callbacks with mode="auto"; None if unknown.
    """

    direction: str | None = None

    def __init__(self, dtype: Any = None, name: str | None = None) -> None:
        self.name = name or to_snake_case(type(self).__name__)
        self.dtype = dtype or "float32"

    def add_variable(
        self, shape: Any = (), initializer: Any = "zeros", dtype: Any = None, name: str | None = None
    ) -> Variable:
        """A Variable for the state of a metric of your own, which `reset_state` sets to zeros."""
        variable = Variable(initializer or "zeros", shape, dtype or "float32", trainable=False, name=name)
        self.variables.append(variable)
        return variable

    add_weight = add_variable

    @property
    def variables(self) -> list[Variable]:
        """What `add_variable` made."""
        return vars(self).setdefault("_variables", [])

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} must override update_state().")

    def result(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must override result().")

    def reset_state(self) -> None:
        if not self.variables:
            raise NotImplementedError(f"{type(self).__name__} must override reset_state().")
        for variable in self.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.update_state(*args, **kwargs)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name!r}>"


def host(x: Any) -> np.ndarray:
    """An array on the host, from a tensor, an engine's array, or anything that NumPy takes."""
    if isinstance(x, Tensor):
        return current().to_numpy(x.data)
    if isinstance(x, np.ndarray) or not hasattr(x, "__cuda_array_interface__"):
        return np.asarray(x)
    return current().to_numpy(x)


def numbers(x: Any, argument: str) -> np.ndarray:
    """x on the host in double precision, or a TypeError that names the argument."""
    array = host(x)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"Argument `{argument}` must hold numbers; received an array of dtype {array.dtype}.")
    return array.astype(np.float64)


def matched(y_true: np.ndarray, y_pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions with as many axes, or a ValueError if they do not go with each other."""
    y_true, y_pred = same_rank(y_true, y_pred)
    check_shapes(y_true, y_pred)
    return y_true, y_pred


def spread_weight(weight: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The weights of values of a shape, or a ValueError if they do not fit it."""
    try:
        return np.broadcast_to(weight, shape)
    except ValueError:
        raise ValueError(
            "Argument `sample_weight` does not fit the values it weighs. "
            f"Received: sample_weight.shape={weight.shape}, values of shape {tuple(shape)}"
        ) from None


def same_rank(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with as many axes, where one of them has a last axis of length 1 more."""
    if a.ndim == b.ndim + 1 and a.shape[-1] == 1:
        return (a, b[:, None]) if b.ndim == 1 else (a[..., 0], b)
    if b.ndim == a.ndim + 1 and b.shape[-1] == 1:
        return (a[:, None], b) if a.ndim == 1 else (a, b[..., 0])
    return a, b
