"""Numbers that arguments hold, Python's or NumPy's, checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def is_number(value: Any) -> bool:
    """Whether this is a real number, which bools are not."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def is_whole(value: Any, least: float = -math.inf) -> bool:
    """Whether this is a whole number of at least `least`; bools are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= least)


def real_number(value: Any, argument: str, least: float = -math.inf, most: float = math.inf) -> float:
    """`value` as a finite float in least … most, or a ValueError that names the argument."""
    if not is_number(value) or not math.isfinite(value) or not least <= value <= most:
        within = "" if least == -math.inf else f" of at least {least}" if most == math.inf else f" in {least} … {most}"
        raise ValueError(f"{argument} must be a number{within}, got {value!r}")
    return float(value)


def whole_number(value: Any, argument: str, least: int = 0) -> int:
    """`value` as an int of at least `least`, or a ValueError that names the argument."""
    if not is_whole(value, least):
        raise ValueError(f"{argument} must be a whole number of at least {least}, got {value!r}")
    return int(value)
