"""Memory that a kernel needs for itself. CuPy's pool keeps it, so asking for it costs next to nothing."""

from __future__ import annotations

from typing import Any

Array = Any


def scratch(like: Array, *shape: int) -> Array:
    """An array with undefined contents, in the memory and of the type of `like`."""
    return type(like)(shape, like.dtype)
