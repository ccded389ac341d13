"""Activation functions by Keras's names: each takes a tensor and gives one of its shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import functional as F
from .backends.interface import FUSED_ACTIVATIONS
from .functional import (
    elu,
    exponential,
    gelu,
    hard_sigmoid,
    leaky_relu,
    log_softmax,
    relu6,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    softsign,
    step,
    tanh,
)
from .naming import unknown_name
from .tensor import Tensor, as_tensor


def linear(x: Any) -> Tensor:
    """x itself."""
    return as_tensor(x)


def relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Tensor:
    """x above the threshold, negative_slope·(x − threshold) below it, at most max_value."""
    if threshold == 0 and max_value is None:
        return F.leaky_relu(x, negative_slope) if negative_slope else F.relu(x)
    if threshold == 0 and max_value == 6 and not negative_slope:
        return F.relu6(x)
    x = as_tensor(x)
    y = F.where(F.greater(x, threshold), x, F.multiply(x, 0.0)) if threshold else F.relu(x)
    if max_value is not None:
        y = F.minimum(y, max_value)
    if negative_slope:
        y = y - negative_slope * F.relu(threshold - x)
    return y


def hard_silu(x: Any) -> Tensor:
    """x·hard_sigmoid(x)."""
    x = as_tensor(x)
    return x * F.hard_sigmoid(x)


def mish(x: Any) -> Tensor:
    """x·tanh(softplus(x)) (Misra 2019)."""
    x = as_tensor(x)
    return x * F.tanh(F.softplus(x))


def log_sigmoid(x: Any) -> Tensor:
    """log(sigmoid(x))."""
    return -F.softplus(-as_tensor(x))


def hard_tanh(x: Any) -> Tensor:
    """x clipped to −1 … 1."""
    return F.clip(x, -1.0, 1.0)


swish = silu
hard_swish = hard_silu

_NAMES: dict[str, Callable] = {
    "linear": linear,
    "relu": relu,
    "relu6": relu6,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "selu": selu,
    "exponential": exponential,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "softplus": softplus,
    "softsign": softsign,
    "sigmoid": sigmoid,
    "hard_sigmoid": hard_sigmoid,
    "log_sigmoid": log_sigmoid,
    "tanh": tanh,
    "hard_tanh": hard_tanh,
    "silu": silu,
    "swish": silu,
    "hard_silu": hard_silu,
    "hard_swish": hard_silu,
    "gelu": gelu,
    "mish": mish,
    "step": step,
}
# Not the sigmoid: a loss on its result works, accurately, on the logits under it, and a fused one has lost them.
_FUSED: dict[Callable, str] = {_NAMES[name]: name for name in FUSED_ACTIVATIONS if name != "sigmoid"} | {F.relu: "relu"}


def get(identifier: Any) -> Callable:
    """An activation from its name, its config or any callable; `linear` for None.

    Raises:
        ValueError: no activation has this name.
    """
    if identifier is None:
        return linear
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        if identifier not in _NAMES:
            raise unknown_name("activation", identifier, _NAMES)
        return _NAMES[identifier]
    if callable(identifier):
        return identifier
    raise ValueError(f"an activation must be a name or a callable, got {identifier!r}")


def split(activation: Callable) -> tuple[str, Callable | None]:
    """How a layer runs an activation: (what goes into the primitive's epilogue, what is called after it or None)."""
    fused = _FUSED.get(activation) if _hashable(activation) else None
    return ("linear", activation) if fused is None else (fused, None)


def serialize(activation: Callable) -> str | dict[str, Any]:
    """The activation's name, or for a layer used as one its config."""
    for name, function in _NAMES.items():
        if function is activation:
            return name
    if activation is F.relu:
        return "relu"
    from .layers.base import Layer

    if isinstance(activation, Layer):
        from .layers import serialize as serialize_layer

        return serialize_layer(activation)
    name = getattr(activation, "__name__", "")
    if name and name != "<lambda>":
        return {"class_name": "function", "config": name}
    raise ValueError(f"activation {activation!r} cannot be saved: use a named function")


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Callable:
    """The activation that `serialize` described."""
    from .io.serialization import restore

    if isinstance(config, str):
        return restore("activation", {"class_name": "function", "config": config}, _NAMES, custom_objects)
    if config.get("class_name") != "function":
        from .layers import deserialize as deserialize_layer

        return deserialize_layer(config, custom_objects)
    return restore("activation", config, _NAMES, custom_objects)


def _hashable(function: Callable) -> bool:
    return getattr(function, "__hash__", None) is not None


def __getattr__(name: str) -> Any:
    from .absent import absent

    raise absent("activations", name, list(globals()))
