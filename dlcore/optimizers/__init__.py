"""Optimizers with Keras's names, defaults and formulas, on flat buffers.

`build` moves the trainable variables into one parameter buffer per dtype, their gradients into another, and the
optimizer's own states into more of the same length, so that an update of the whole model is one backend call. Variables
and gradients become views of the buffers: `Variable.data` and `Variable.grad` are re-pointed, and backward writes
straight into them.

Used by `model.fit`, or by hand::

    optimizer = optimizers.Adam(1e-3)
    loss.backward()
    optimizer.step(model.trainable_variables)   # applies the gradients, then clears them
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import schedules
from ..naming import unknown_name
from .adagrad import Adadelta, Adagrad, RMSprop
from .adam import Adam, Adamax, AdamW, Nadam
from .base import Optimizer
from .ftrl import Ftrl
from .sgd import SGD

__all__ = [
    "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Nadam", "Optimizer", "RMSprop", "deserialize",
    "get", "schedules", "serialize",
]  # fmt: skip

_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    cls.__name__.lower(): cls for cls in (SGD, Adagrad, RMSprop, Adam, AdamW, Adamax, Nadam, Adadelta, Ftrl)
}
_ABSENT = {"lion": "AdamW", "adafactor": "AdamW", "muon": "AdamW", "lamb": "AdamW"}


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """`{"class_name", "config"}` of an optimizer."""
    return {"class_name": type(optimizer).__name__, "config": optimizer.get_config()}


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Optimizer:
    """The optimizer that `serialize` described. Raises ValueError for an unknown name."""
    name = config["class_name"]
    for known, cls in (custom_objects or {}).items():
        if known == name:
            return cls.from_config(dict(config.get("config", {})))
    cls = _OPTIMIZERS.get(str(name).lower())
    if cls is None:
        if str(name).lower() in _ABSENT:
            raise ValueError(f"Optimizer {name!r} is not supported; use {_ABSENT[str(name).lower()]!r} instead.")
        raise unknown_name("optimizer", name, _OPTIMIZERS)
    return cls.from_config(dict(config.get("config", {})))  # type: ignore[attr-defined]


def get(identifier: Any) -> Optimizer | None:
    """An optimizer from its name (any case), its configuration or an instance; None stays None.

    Raises:
        ValueError: no optimizer of that name.
    """
    if identifier is None or isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, str):
        return deserialize({"class_name": identifier})
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, type) and issubclass(identifier, Optimizer):
        return identifier()  # type: ignore[call-arg]
    raise ValueError(f"Argument `optimizer` must be a name, a configuration or an Optimizer. Received: {identifier!r}")


def __getattr__(name: str) -> Any:
    from ..absent import absent

    raise absent("optimizers", name, __all__)
