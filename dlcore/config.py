"""Keras's `config`: what is fixed here, and what its scripts ask and set.

Setting what is so anyway does nothing; setting anything else is an error.
"""

from __future__ import annotations

from typing import Any

from .losses import EPSILON

__all__ = [
    "backend", "disable_traceback_filtering", "dtype_policy", "enable_traceback_filtering", "epsilon", "floatx",
    "image_data_format", "is_traceback_filtering_enabled", "set_dtype_policy", "set_floatx", "set_image_data_format",
]  # fmt: skip


def backend() -> str:
    """Name of the engine that is active here and now."""
    from .backends import current

    return current().name


def floatx() -> str:
    """The type of numbers that layers work with unless they are told another: float32."""
    return "float32"


def dtype_policy() -> str:
    """The same."""
    return "float32"


def epsilon() -> float:
    """What keeps logarithms and quotients from infinity."""
    return EPSILON


def image_data_format() -> str:
    """How images lie: [N, H, W, C]."""
    return "channels_last"


def set_floatx(value: str) -> None:
    """Raises ValueError unless it is float32: layers and models take a dtype of their own."""
    _fixed("value", value, floatx(), "give the layers dtype='float64'")


def set_dtype_policy(policy: Any) -> None:
    """Raises ValueError unless it is float32."""
    _fixed("policy", getattr(policy, "name", policy), dtype_policy(), "give the layers dtype='float64'")


def set_image_data_format(data_format: str) -> None:
    """Raises ValueError unless it is channels_last."""
    _fixed("data_format", data_format, image_data_format(), "transpose images to [N, H, W, C]")


def enable_traceback_filtering() -> None:
    """Nothing: errors come with all of their traceback."""


def disable_traceback_filtering() -> None:
    """Nothing: errors come with all of their traceback."""


def is_traceback_filtering_enabled() -> bool:
    """No."""
    return False


def _fixed(argument: str, value: Any, only: str, advice: str) -> None:
    if value != only:
        raise ValueError(f"{argument} must be {only!r}, got {value!r}; instead, {advice}")


def __getattr__(name: str) -> Any:
    from .absent import absent

    raise absent("config", name, __all__)
