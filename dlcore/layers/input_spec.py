"""What a layer takes: `InputSpec`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..symbolic import Shape

if TYPE_CHECKING:
    from .base import Layer


class InputSpec:
    """What the first argument of a layer must look like: rank and the lengths of some axes."""

    __slots__ = ("axes", "dtype", "max_ndim", "min_ndim", "ndim", "shape")

    def __init__(
        self,
        dtype: Any = None,
        shape: Shape | None = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: dict[int, int | None] | None = None,
    ) -> None:
        self.dtype = dtype
        self.shape = tuple(shape) if shape is not None else None
        self.ndim = len(self.shape) if self.shape is not None else ndim
        self.max_ndim = max_ndim
        self.min_ndim = min_ndim
        self.axes = dict(axes) if axes else {}
        if self.shape is not None:
            self.axes.update({axis: n for axis, n in enumerate(self.shape) if n is not None})

    def __repr__(self) -> str:
        parts = [
            f"{key}={getattr(self, key)}" for key in ("ndim", "min_ndim", "max_ndim", "axes") if getattr(self, key)
        ]
        return f"InputSpec({', '.join(parts)})"

    def check(self, shape: Shape, layer: Layer) -> None:
        """Raise ValueError unless an input of this shape fits."""
        ndim = len(shape)
        if self.ndim is not None and ndim != self.ndim:
            raise ValueError(f"{layer._said} expected an input of rank {self.ndim}, got shape {tuple(shape)}")
        if self.min_ndim is not None and ndim < self.min_ndim:
            raise ValueError(
                f"{layer._said} expected an input of rank {self.min_ndim} or more, got shape {tuple(shape)}"
            )
        if self.max_ndim is not None and ndim > self.max_ndim:
            raise ValueError(
                f"{layer._said} expected an input of rank {self.max_ndim} or less, got shape {tuple(shape)}"
            )
        for axis, length in self.axes.items():
            if length is not None and (not -ndim <= axis < ndim or shape[axis] not in (length, None)):
                raise ValueError(
                    f"{layer._said} expected an input with {length} elements along axis {axis}, "
                    f"got shape {tuple(shape)}"
                )
