"""Arguments that many layers share, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checking import is_whole


def positive_int(value: Any, argument: str) -> int:
    """`value` as an int of at least 1, or a ValueError that names the argument."""
    if not is_whole(value, 1):
        raise ValueError(f"{argument} must be a positive whole number, got {value!r}")
    return int(value)


def whole_numbers(value: Any, argument: str, count: int, least: int = 1) -> tuple[int, ...]:
    """One whole number for all of `count` axes, or one for each."""
    values = (value,) * count if isinstance(value, (int, np.integer)) else value
    if not isinstance(values, (list, tuple)) or len(values) != count or not all(is_whole(n, least) for n in values):
        several = ", or two of them" if count == 2 else ""
        raise ValueError(f"{argument} must be a whole number of at least {least}{several}, got {value!r}")
    return tuple(int(n) for n in values)


def pair(value: Any, argument: str, least: int = 1) -> tuple[int, int]:
    """One whole number for both axes of an image, or one for each."""
    first, second = whole_numbers(value, argument, 2, least)
    return first, second


def one_of(value: Any, argument: str, choices: tuple) -> Any:
    """`value` if it is among the choices (names in any case)."""
    value = value.lower() if isinstance(value, str) else value
    if value not in choices:
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def axis_argument(axis: Any, layer: str) -> Any:
    """One axis as an int or several as a list, or a ValueError that names the layer."""
    if is_whole(axis):
        return int(axis)
    if not isinstance(axis, (list, tuple)) or not axis or not all(map(is_whole, axis)):
        raise ValueError(f"axis of {layer} must be a whole number or several, got {axis!r}")
    return [int(one) for one in axis]
