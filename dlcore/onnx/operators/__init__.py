"""How each ONNX operator is expressed by this library's layers and functions, in a file per subject.

A translator takes a `Node`, an operator's call, and returns its `Value`, or a list of them for several outputs. What an
operator asks for and no layer does raises `Unsupported`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import (
    attention,
    constants,
    convolution,
    dense,
    elementwise,
    lookup,
    losses,
    normalization,
    pooling,
    recurrence,
    reduction,
    resizing,
    shaping,
)  # fmt: skip
from .graph import Node

_GROUPS = (
    attention, constants, convolution, dense, elementwise, lookup, losses, normalization, pooling, recurrence,
    reduction, resizing, shaping,
)  # fmt: skip
OPERATORS: dict[str, Callable[[Node], Any]] = {name: f for group in _GROUPS for name, f in group.OPERATORS.items()}
KNOWN = frozenset((*OPERATORS, *constants.FOLDED))
