"""What layers of images `[N, H, W, C]` and of sequences `[N, T, C]` share: a sequence is an image of height 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functional as F
from ..symbolic import Shape
from ..tensor import Tensor
from .arguments import one_of, pair, whole_numbers
from .base import Layer
from .input_spec import InputSpec


def channels_last(data_format: str | None, layer: str) -> str:
    """Channels are the last axis throughout; anything else is a ValueError."""
    if data_format not in (None, "channels_last"):
        raise ValueError(
            f"data_format of {layer} must be 'channels_last' (images [N, H, W, C]), got {data_format!r}; "
            "transpose the data once with numpy.moveaxis(x, 1, -1)"
        )
    return "channels_last"


class Spatial(Layer):
    """A layer with `_rank` axes between batch and channels: 2 for images, 1 for sequences.

    A subclass computes on images; what it computes on sequences is the same on images `[N, 1, T, C]`.
    """

    _rank: int

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = channels_last(data_format, type(self).__name__)
        self.input_spec = InputSpec(ndim=self._rank + 2)

    def _lengths(self, value: Any, argument: str, least: int = 1) -> tuple[int, ...]:
        """The argument of this name: one whole number for all axes, or one for each."""
        return whole_numbers(value, f"{argument} of {type(self).__name__}", self._rank, least)

    def _margins(self, value: Any, argument: str) -> tuple[tuple[int, int], ...]:
        """(before, after) along each axis, of the argument of this name: one number for all of them, or one number or
        pair per axis; of sequences, one pair."""
        argument = f"{argument} of {type(self).__name__}"
        if isinstance(value, (int, np.integer)) or self._rank == 1:
            return (pair(value, argument, least=0),) * self._rank
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise ValueError(f"{argument} must be a whole number, or two numbers or pairs, got {value!r}")
        return tuple(pair(side, argument, least=0) for side in value)

    def _margins_config(self, margins: tuple[tuple[int, int], ...]) -> list:
        """Margins as an argument, in JSON values."""
        sides = [list(side) for side in margins]
        return sides[0] if self._rank == 1 else sides

    def _padding(self, value: Any, *names: str) -> Any:
        """The argument `padding`: one of the names, or margins as (top, bottom, left, right) or (before, after)."""
        if isinstance(value, str):
            return one_of(value, f"padding of {type(self).__name__}", ("valid", "same", *names))
        return tuple(n for side in self._margins(value, "padding") for n in side)

    def _padding_config(self, padding: Any) -> Any:
        return padding if isinstance(padding, str) else self._margins_config((padding[:2], padding[2:]))

    def _plane(self, lengths: tuple[int, ...], of_height: int = 1) -> tuple[int, int]:
        """What is given per axis, for height and width."""
        return (of_height, lengths[0]) if self._rank == 1 else (lengths[0], lengths[1])

    def _plane_kernel(self, kernel: Tensor) -> Tensor:
        """A kernel of one length, as one of height 1."""
        return F.reshape(kernel, (1, *kernel.shape)) if self._rank == 1 else kernel

    def _plane_padding(self, padding: Any) -> Any:
        """Padding as functional's convolutions and poolings take it."""
        return (0, 0, *padding) if self._rank == 1 and not isinstance(padding, str) else padding

    def _as_images(self, inputs: Tensor) -> Tensor:
        if self._rank == 2:
            return inputs
        n, t, c = inputs.shape
        return F.reshape(inputs, (n, 1, t, c))

    def _over_images(self, function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        """function, which maps images to images, applied to images or to sequences."""
        y = function(self._as_images(inputs))
        return y if self._rank == 2 else F.reshape(y, (y.shape[0], *y.shape[2:]))

    def _windows(
        self,
        input_shape: Shape,
        sizes: tuple[int, ...],
        strides: tuple[int, ...],
        padding: Any,
        dilation: tuple[int, ...] | None = None,
        what: str = "kernel",
    ) -> tuple[int | None, ...]:
        """How many windows fit along each axis; a ValueError if none does."""
        counts: list[int | None] = []
        for axis in range(self._rank):
            n, stride = input_shape[1 + axis], strides[axis]
            reach = (dilation[axis] if dilation else 1) * (sizes[axis] - 1) + 1
            if n is None:
                counts.append(None)
            elif padding in ("same", "causal"):
                counts.append(-(-n // stride))
            else:
                margin = 0 if isinstance(padding, str) else sum(padding[2 * axis : 2 * axis + 2])
                if n + margin < reach:
                    raise ValueError(
                        f"{self._said}: the {what} covers {reach} places, the {_NOUNS[self._rank]} has only {n} "
                        f"(padding={self._padding_config(padding)!r})"
                    )
                counts.append((n + margin - reach) // stride + 1)
        return tuple(counts)


_NOUNS = {1: "sequence", 2: "image"}
