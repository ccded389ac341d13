"""Where an operator's windows fall: kernel sizes, strides, dilations and padding along any number of axes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ... import functional as F
from .graph import CHANNELS_LAST, Node, Value, limit


class Windows(NamedTuple):
    """Of each spatial axis: window's length, stride, dilation, padding before and after, and the image's length."""

    size: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]
    lengths: list[int | None]

    @property
    def padding(self) -> tuple[tuple[int, int], ...]:
        return tuple(zip(self.before, self.after, strict=True))

    def reach(self, axis: int) -> int:
        return self.dilations[axis] * (self.size[axis] - 1) + 1

    def count(self, axis: int) -> int:
        """How many windows there are along an axis of known length."""
        length = self.lengths[axis]
        assert length is not None
        return (length + self.before[axis] + self.after[axis] - self.reach(axis)) // self.strides[axis] + 1

    def places(self, axis: int) -> np.ndarray:
        """[windows, size]: which elements of the image each window sees, its first being 0."""
        limit((self.count(axis), self.size[axis]), 2**24)
        starts = np.arange(self.count(axis)) * self.strides[axis] - self.before[axis]
        return starts[:, None] + np.arange(self.size[axis]) * self.dilations[axis]


def windows(n: Node, size: list[int], x: Value) -> Windows:
    """What the attributes of a convolution or pooling say of x [N, C, ...]."""
    rank = len(x.shape) - 2
    n.refuse(rank not in (1, 2, 3), f"{rank} spatial axes")
    strides, dilations = list(n.attribute("strides", [1] * rank)), list(n.attribute("dilations", [1] * rank))
    for name, numbers in (("kernel_shape", size), ("strides", strides), ("dilations", dilations)):
        if len(numbers) != rank or min(numbers) < 1:
            raise ValueError(f"{name} must be {rank} positive number(s), got {list(numbers)}")
    kind = n.attribute("auto_pad", "NOTSET")
    lengths = list(x.shape[2:])
    pads = list(n.attribute("pads", [0] * (2 * rank)))
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        n.refuse(None in lengths, f"auto_pad {kind} on images whose size varies")
        total = [
            max((-(-length // s) - 1) * s + d * (k - 1) + 1 - length, 0)
            for length, s, d, k in zip(lengths, strides, dilations, size, strict=True)
        ]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = [*small, *large] if kind == "SAME_UPPER" else [*large, *small]
    elif kind == "VALID":
        pads = [0] * (2 * rank)
    if len(pads) != 2 * rank:
        raise ValueError(f"pads must be {2 * rank} numbers, got {pads}")
    n.refuse(min(pads) < 0, "negative pads")
    padded = [(length or 1) + a + b for length, a, b in zip(lengths, pads[:rank], pads[rank:], strict=True)]
    limit([*x.shape[:2], *padded])
    return Windows(list(size), strides, dilations, pads[:rank], pads[rank:], lengths)


def flat_image(w: Windows) -> Windows:
    """Windows along one axis as those on an image one pixel wide."""
    return Windows(*([*part, fill] for part, fill in zip(w, (1, 1, 1, 0, 0, 1), strict=True)))


def as_image(x: Value) -> Any:
    """A sequence [N, C, L] or an image [N, C, H, W] as [N, H, W, C]."""
    return x.to(CHANNELS_LAST) if len(x.shape) == 4 else F.expand_dims(x.to((0, 2, 1)), 2)


def from_image(y: Any, rank: int) -> Value:
    """The opposite, of a result."""
    return Value(y, CHANNELS_LAST) if rank == 4 else Value(F.squeeze(y, 2), (0, 2, 1))
