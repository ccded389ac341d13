"""Penalties on weights and outputs: Keras 3's names and formulas."""

from __future__ import annotations

from typing import Any

from . import functional as F
from .checking import real_number
from .tensor import Settings, Tensor


class Regularizer(Settings):
    """Base class: a callable that gives the penalty of a tensor as a scalar tensor."""

    def __call__(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(x)")

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Regularizer:
        return cls(**config)


class L1L2(Regularizer):
    """l1·Σ|x| + l2·Σx²."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = real_number(0.0 if l1 is None else l1, "l1", least=0)
        self.l2 = real_number(0.0 if l2 is None else l2, "l2", least=0)

    def __call__(self, x: Tensor) -> Tensor:
        penalty: Any = None
        if self.l1:
            penalty = self.l1 * F.sum(F.abs(x))
        if self.l2:
            squares = self.l2 * F.sum(F.square(x))
            penalty = squares if penalty is None else penalty + squares
        return F.sum(x) * 0.0 if penalty is None else penalty

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2}


class L1(L1L2):
    """l1·Σ|x|."""

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=0.01 if l1 is None else l1)

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1}


class L2(L1L2):
    """l2·Σx²."""

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=0.01 if l2 is None else l2)

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    return L1L2(l1=l1, l2=l2)


l1, l2 = L1, L2


_NAMES: dict[str, Any] = {"L1": L1, "L2": L2, "L1L2": L1L2, "l1": L1, "l2": L2, "l1_l2": l1_l2, "l1l2": L1L2}


def get(identifier: Any) -> Any:
    """A regularizer from its name, its class, its config or any callable.

    Raises:
        ValueError: no regularizer has this name.
    """
    from .io.serialization import resolve

    return resolve("regularizer", identifier, Regularizer, _NAMES)


def serialize(regularizer: Any) -> dict[str, Any] | None:
    """A config that `deserialize` turns back into the regularizer."""
    from .io.serialization import describe

    return describe("regularizer", regularizer, Regularizer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The regularizer that `serialize` described."""
    from .io.serialization import restore

    return restore("regularizer", config, _NAMES, custom_objects)


def __getattr__(name: str) -> Any:
    from .absent import absent

    raise absent("regularizers", name, list(globals()))
