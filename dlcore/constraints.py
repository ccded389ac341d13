"""What weights are projected onto after each update: Keras 3's names and formulas."""

from __future__ import annotations

from typing import Any

from . import functional as F
from .checking import real_number
from .tensor import Tensor

_EPSILON = 1e-7


class Constraint:
    """Base class: a callable that gives the allowed value for a weight's value, in the same shape."""

    def __call__(self, w: Tensor) -> Tensor:
        return w

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)


class _Norm(Constraint):
    """Limits the L2 norms along `axis`: 0 for those of a Dense unit's weights, [0, 1, 2] for a Conv2D filter's."""

    def __init__(self, axis: Any = 0) -> None:
        whole = [axis] if isinstance(axis, int) else axis
        if not isinstance(whole, (list, tuple)) or not all(type(a) is int for a in whole) or not whole:
            raise ValueError(f"axis must be a whole number or several, got {axis!r}")
        self.axis = axis if isinstance(axis, int) else list(axis)

    def _scaled(self, w: Tensor, desired: Any) -> Tensor:
        """w with the norms that `desired` makes of its norms."""
        norms = F.sqrt(F.sum(F.square(w), axis=self.axis, keepdims=True))
        return w * (desired(norms) / (_EPSILON + norms))

    def get_config(self) -> dict[str, Any]:
        return {"axis": self.axis}


class MaxNorm(_Norm):
    """Norms of at most `max_value` (Srivastava et al. 2014, appendix A.1)."""

    def __init__(self, max_value: float = 2, axis: Any = 0) -> None:
        super().__init__(axis)
        self.max_value = real_number(max_value, "max_value", least=0)

    def __call__(self, w: Tensor) -> Tensor:
        return self._scaled(w, lambda norms: F.clip(norms, 0.0, self.max_value))

    def get_config(self) -> dict[str, Any]:
        return {"max_value": self.max_value, **super().get_config()}


class MinMaxNorm(_Norm):
    """Norms between two limits; with a `rate` below 1 they are moved only by that share of the way."""

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Any = 0) -> None:
        super().__init__(axis)
        self.min_value = real_number(min_value, "min_value", least=0)
        self.max_value = real_number(max_value, "max_value", least=0)
        self.rate = real_number(rate, "rate", least=0)
        if self.min_value > self.max_value:
            raise ValueError(f"min_value must be at most max_value, got {min_value} and {max_value}")

    def __call__(self, w: Tensor) -> Tensor:
        def desired(norms: Tensor) -> Tensor:
            return self.rate * F.clip(norms, self.min_value, self.max_value) + (1.0 - self.rate) * norms

        return self._scaled(w, desired)

    def get_config(self) -> dict[str, Any]:
        return {
            "min_value": self.min_value,
            "max_value": self.max_value,
            "rate": self.rate,
            **super().get_config(),
        }


class UnitNorm(_Norm):
    """Norms of 1."""

    def __call__(self, w: Tensor) -> Tensor:
        return self._scaled(w, lambda norms: 1.0)


class NonNeg(Constraint):
    """No element below 0."""

    def __call__(self, w: Tensor) -> Tensor:
        return F.maximum(w, 0.0)


max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm


_NAMES: dict[str, Any] = {
    "Constraint": Constraint,
    "MaxNorm": MaxNorm,
    "MinMaxNorm": MinMaxNorm,
    "NonNeg": NonNeg,
    "UnitNorm": UnitNorm,
    "constraint": Constraint,
    "max_norm": MaxNorm,
    "min_max_norm": MinMaxNorm,
    "non_neg": NonNeg,
    "unit_norm": UnitNorm,
}


def get(identifier: Any) -> Any:
    """A constraint from its name, its class, its config or any callable.

    Raises:
        ValueError: no constraint has this name.
    """
    from .io.serialization import resolve

    return resolve("constraint", identifier, Constraint, _NAMES)


def serialize(constraint: Any) -> dict[str, Any] | None:
    """A config that `deserialize` turns back into the constraint."""
    from .io.serialization import describe

    return describe("constraint", constraint, Constraint)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The constraint that `serialize` described."""
    from .io.serialization import restore

    return restore("constraint", config, _NAMES, custom_objects)


def __getattr__(name: str) -> Any:
    from .absent import absent

    raise absent("constraints", name, list(globals()))
