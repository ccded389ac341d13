"""Images resized, and changed at random in training: flipped, rotated, shifted, zoomed. As in Keras.

The random layers act in training only, on each image of a batch by itself, and draw from a stream of their own
(`seed`), so that a run can be repeated, on any engine. They are made of the operations of `dlcore.functional` alone:
gradients pass through them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import functional as F
from .. import random
from ..checking import is_number
from ..random import SeedGenerator
from ..symbolic import Shape
from ..tensor import Tensor, as_tensor
from .arguments import one_of, positive_int
from .base import Layer
from .input_spec import InputSpec
from .spatial import channels_last


class Resizing(Layer):
    """Images `[N, H, W, C]` at another size, `[N, height, width, C]`, in training and at inference.

    Args:
        height, width: the new size.
        interpolation: "bilinear" (between pixel centres, edges held) or "nearest".
        crop_to_aspect_ratio: cut what does not fit the new shape off both sides, rather than distort.
        pad_to_aspect_ratio: add fill_value on both sides, as much on each, rather than distort.
        fill_value: of what is added.
    """

    _real_inputs = True

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.height = positive_int(height, "height of Resizing")
        self.width = positive_int(width, "width of Resizing")
        self.interpolation = one_of(interpolation, "interpolation of Resizing", ("bilinear", "nearest"))
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise ValueError("Resizing can crop_to_aspect_ratio or pad_to_aspect_ratio, not both")
        self.crop_to_aspect_ratio = bool(crop_to_aspect_ratio)
        self.pad_to_aspect_ratio = bool(pad_to_aspect_ratio)
        self.fill_value = float(fill_value)
        self.data_format = channels_last(data_format, "Resizing")
        self.input_spec = InputSpec(ndim=4)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        x = self._in_shape(inputs)
        n, h, w, c = x.shape
        if (h, w) == (self.height, self.width):
            return x
        if h != self.height:
            x = F.matmul(self._weights(h, self.height, x), F.reshape(x, (n, h, w * c)))
        if w != self.width:
            x = F.matmul(self._weights(w, self.width, x), F.reshape(x, (n * self.height, w, c)))
        return F.reshape(x, (n, self.height, self.width, c))

    def _in_shape(self, x: Tensor) -> Tensor:
        """x cropped or padded to the new size's ratio of height to width."""
        _, h, w, _ = x.shape
        if self.crop_to_aspect_ratio:
            high, wide = min(h, int(w * self.height / self.width)), min(w, int(h * self.width / self.height))
            top, left = (h - high) // 2, (w - wide) // 2
            return x if (high, wide) == (h, w) else x[:, top : top + high, left : left + wide, :]
        if self.pad_to_aspect_ratio:
            high, wide = max(h, int(w * self.height / self.width)), max(w, int(h * self.width / self.height))
            top, left = (high - h) // 2, (wide - w) // 2
            return x if top == left == 0 else F.pad(x, ((0, 0), (top, top), (left, left), (0, 0)), self.fill_value)
        return x

    def _weights(self, old: int, new: int, like: Tensor) -> Tensor:
        """`[new, old]`: how much each old row counts in each new one."""
        centre = (np.arange(new) + 0.5) * old / new - 0.5
        low = np.floor(centre + 0.5 if self.interpolation == "nearest" else centre)
        share = np.zeros(new) if self.interpolation == "nearest" else centre - low
        weights = np.zeros((new, old), like.dtype)
        rows = np.arange(new)
        np.add.at(weights, (rows, np.clip(low, 0, old - 1).astype(np.intp)), 1 - share)
        np.add.at(weights, (rows, np.clip(low + 1, 0, old - 1).astype(np.intp)), share)
        return as_tensor(weights)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.height, self.width, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "height": self.height,
            "width": self.width,
            "interpolation": self.interpolation,
            "crop_to_aspect_ratio": self.crop_to_aspect_ratio,
            "pad_to_aspect_ratio": self.pad_to_aspect_ratio,
            "fill_value": self.fill_value,
            "data_format": self.data_format,
        }


class _RandomImages(Layer):
    """What changes images `[N, H, W, C]` at random in training; `_changed` does it."""

    _real_inputs = True

    def __init__(self, seed: int | None = None, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self._seeds = SeedGenerator(seed)
        self.data_format = channels_last(data_format, type(self).__name__)
        self.input_spec = InputSpec(ndim=4)
        self.built = True

    def call(self, inputs: Tensor, training: bool | None = False) -> Tensor:
        return self._changed(inputs) if training and inputs.size else inputs

    def _changed(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _draw(self, x: Tensor, low: float, high: float) -> Tensor:
        """One number per image, uniform in [low, high)."""
        return random.uniform((x.shape[0], 1, 1), low, high, x.dtype, self._seeds)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed, "data_format": self.data_format}


class RandomFlip(_RandomImages):
    """In training mirrors each image with probability ½ left to right, top to bottom, or each of both.

    Args:
        mode: "horizontal", "vertical" or "horizontal_and_vertical".
        seed: of its stream of random numbers; from the global seed if None.
    """

    def __init__(self, mode: str = "horizontal_and_vertical", seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.mode = one_of(mode, "mode of RandomFlip", ("horizontal", "vertical", "horizontal_and_vertical"))

    def _changed(self, x: Tensor) -> Tensor:
        for word, axis in (("horizontal", 2), ("vertical", 1)):
            if word in self.mode:
                coin = F.greater(F.expand_dims(self._draw(x, 0.0, 1.0), -1), 0.5)
                x = F.where(coin, F.flip(x, axis), x)
        return x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}


class _RandomAffine(_RandomImages):
    """Each pixel of the result is read at a place of the image that is an affine function of its own: `_places`."""

    def __init__(
        self,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        kind = type(self).__name__
        self.fill_mode = one_of(fill_mode, f"fill_mode of {kind}", ("reflect", "wrap", "constant", "nearest"))
        self.interpolation = one_of(interpolation, f"interpolation of {kind}", ("bilinear", "nearest"))
        self.fill_value = float(fill_value)

    def _places(self, x: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Where to read, from where to write: rows `[1, H, 1]` and columns `[1, 1, W]`, counted from the middle. The
        results may have any shapes that go with `[N, H, W]`."""
        raise NotImplementedError

    def _changed(self, x: Tensor) -> Tensor:
        h, w = x.shape[1:3]
        middles = (h - 1) / 2, (w - 1) / 2
        rows = as_tensor((np.arange(h) - middles[0]).astype(x.dtype).reshape(1, h, 1))
        columns = as_tensor((np.arange(w) - middles[1]).astype(x.dtype).reshape(1, 1, w))
        places = [at + middle for at, middle in zip(self._places(x, rows, columns), middles, strict=True)]
        if self.interpolation == "nearest":
            return self._pixels(x, *(_floor(at + 0.5) for at in places))
        low = [_floor(at) for at in places]
        below, right = (at - first for at, first in zip(places, low, strict=True))
        corners = [
            self._pixels(x, low[0] + i, low[1] + j) * F.expand_dims(down * across, -1)
            for i, down in enumerate((1 - below, below))
            for j, across in enumerate((1 - right, right))
        ]
        return corners[0] + corners[1] + corners[2] + corners[3]

    def _pixels(self, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """The pixels `[N, H, W, C]` at whole rows and columns, which may lie outside the image."""
        n, h, w, c = x.shape
        dtype = x.dtype if n * h * w < 1 << 24 else np.dtype(np.float64)  # whole numbers must be exact
        first = as_tensor((np.arange(n) * (h * w)).astype(dtype).reshape(n, 1, 1))
        row, column = F.cast(self._folded(rows, h), dtype), F.cast(self._folded(columns, w), dtype)
        places = F.cast(F.broadcast_to(first + row * w + column, (n, h, w)), "int32")
        y = F.embedding(places, F.reshape(x, (n * h * w, c)))
        if self.fill_mode != "constant":
            return y
        inside = F.expand_dims(_inside(rows, h) * _inside(columns, w), -1)
        return F.where(inside, y, self.fill_value)

    def _folded(self, at: Tensor, length: int) -> Tensor:
        """Whole numbers brought into 0 … length − 1 as fill_mode says."""
        if self.fill_mode == "reflect":  # d c b a | a b c d | d c b a
            at = at - 2 * length * _floor(at / (2 * length))
            return F.minimum(at, 2 * length - 1 - at)
        if self.fill_mode == "wrap":
            return at - length * _floor(at / length)
        return F.clip(at, 0, length - 1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "fill_mode": self.fill_mode,
            "interpolation": self.interpolation,
            "fill_value": self.fill_value,
        }


class RandomRotation(_RandomAffine):
    """In training turns each image about its middle by an angle of its own.

    Args:
        factor: (low, high), shares of a full turn, counter-clockwise where positive; or one number f for (−f, f).
        fill_mode: what is outside: "reflect" (d c b a | a b c d | d c b a), "wrap", "nearest" or "constant".
        interpolation: "bilinear" or "nearest".
        seed: of its stream of random numbers; from the global seed if None.
        fill_value: what is outside with fill_mode "constant".
    """

    def __init__(self, factor: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.factor = _bounds(factor, "factor of RandomRotation")

    def _places(self, x: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        angle = self._draw(x, 2 * math.pi * self.factor[0], 2 * math.pi * self.factor[1])
        sine, cosine = F.sin(angle), F.cos(angle)
        return sine * columns + cosine * rows, cosine * columns - sine * rows

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": list(self.factor)}


class RandomTranslation(_RandomAffine):
    """In training shifts each image by lengths of its own.

    Args:
        height_factor: (low, high), shares of the height, downwards where positive; or one number f for (−f, f).
        width_factor: the same of the width, to the right where positive.
        fill_mode, interpolation, seed, fill_value: as in `RandomRotation`.
    """

    def __init__(self, height_factor: Any, width_factor: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self._heights = _bounds(height_factor, "height_factor of RandomTranslation", -1.0, 1.0)
        self._widths = _bounds(width_factor, "width_factor of RandomTranslation", -1.0, 1.0)

    def _places(self, x: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        h, w = x.shape[1:3]
        down, right = self._draw(x, *self._heights), self._draw(x, *self._widths)
        return rows - down * h, columns - right * w

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height_factor": self.height_factor, "width_factor": self.width_factor}


class RandomZoom(_RandomAffine):
    """In training enlarges or shrinks each image about its middle by a share of its own.

    Args:
        height_factor: (low, high) from −1: 0.2 shows 20 % more of the height, everything smaller, −0.2 shows 20 % less;
            or one number f for (−f, f).
        width_factor: the same of the width; None for the number drawn for the height, which keeps proportions.
        fill_mode, interpolation, seed, fill_value: as in `RandomRotation`.
    """

    def __init__(self, height_factor: Any, width_factor: Any = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self._heights = _bounds(height_factor, "height_factor of RandomZoom", -1.0)
        self._widths = None if width_factor is None else _bounds(width_factor, "width_factor of RandomZoom", -1.0)

    def _places(self, x: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        high = 1 + self._draw(x, *self._heights)
        wide = high if self._widths is None else 1 + self._draw(x, *self._widths)
        return rows * high, columns * wide

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height_factor": self.height_factor, "width_factor": self.width_factor}


def _bounds(factor: Any, argument: str, least: float = -math.inf, most: float = math.inf) -> tuple[float, float]:
    """(low, high) from two numbers or from one, which must not be negative."""
    pair = factor if isinstance(factor, (list, tuple)) else (-factor, factor) if is_number(factor) else ()
    if len(pair) != 2 or not all(map(is_number, pair)) or not least <= pair[0] <= pair[1] <= most:
        limits = "" if least == -math.inf else f", from {least:g}" + ("" if most == math.inf else f" to {most:g}")
        raise ValueError(f"{argument} must be a number ≥ 0 or two numbers (low, high){limits}, got {factor!r}")
    return float(pair[0]), float(pair[1])


def _floor(x: Tensor) -> Tensor:
    whole = F.cast(F.cast(x, "int32"), x.dtype)  # towards 0
    return whole - F.cast(F.less(x, whole), x.dtype)


def _inside(at: Tensor, length: int) -> Tensor:
    return F.cast(F.greater_equal(at, 0.0), at.dtype) * F.cast(F.less_equal(at, length - 1.0), at.dtype)
