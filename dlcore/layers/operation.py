"""`Operation`: a function of `dlcore.functional` as a layer, so that a graph of layers can hold it."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..naming import to_snake_case, unknown_name
from ..symbolic import SymbolicTensor
from .base import Layer, unique_name


class Operation(Layer):
    """Calls `dlcore.functional.<function>` with whatever it is called with.

    Arithmetic on symbolic tensors and functions of `dlcore.functional` called on them make these layers.
    """

    _takes_lists = True

    def __init__(self, function: str, name: str | None = None, **kwargs: Any) -> None:
        if function.startswith("_") or not callable(getattr(F, function, None)):
            raise unknown_name("function of dlcore.functional", function, [n for n in dir(F) if not n.startswith("_")])
        super().__init__(name=name or unique_name(to_snake_case(function)), **kwargs)
        self.function = function

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        return None  # which steps still count after an arbitrary function is not known

    def _convert(self, x: Any) -> Any:
        return x

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(F, self.function)(*args, **kwargs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        if self.function != "reshape":
            return super().compute_output_spec(*args, **kwargs)
        return self._reshaped(*args, **kwargs)  # known without a run, which would need a batch that is a multiple

    def _reshaped(self, x: SymbolicTensor, shape: Any) -> SymbolicTensor:
        given = shape if isinstance(shape, (list, tuple)) else [shape]
        lengths = [-1 if n is None else int(n) for n in given]  # None comes from the shape of a symbolic tensor
        if None not in x.shape:
            return self._infer_by_running((x, lengths), {})
        return SymbolicTensor(tuple(None if n == -1 else n for n in lengths), x.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "function": self.function}
