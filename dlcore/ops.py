"""The functions of `dlcore.functional` on plain arrays: `dlcore.ops.conv2d(x, w)`, no model and no tensor needed.

Arrays of any library that NumPy can read (and nested lists) go in, NumPy arrays come out, and nothing is recorded for a
gradient. Where an argument is a `Tensor`, or a symbolic one of a graph, a function is the one of `dlcore.functional`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from . import functional, symbolic
from .tensor import Tensor, no_grad

__all__ = [*functional.__all__]


def _on_arrays(function: Callable) -> Callable:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if any(isinstance(leaf, (Tensor, symbolic.SymbolicTensor)) for leaf in symbolic.flatten((args, kwargs))):
            return function(*args, **kwargs)
        with no_grad():
            return symbolic.map_structure(lambda y: y.numpy(), function(*args, **kwargs))

    call.__module__ = __name__
    return call


globals().update({name: _on_arrays(getattr(functional, name)) for name in __all__})


def __getattr__(name: str) -> Any:
    from .naming import unknown_name

    raise AttributeError(str(unknown_name(f"function of {__name__}", name, __all__)))
