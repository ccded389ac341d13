"""3 × 3 convolutions of stride 1 in float32 by Winograd's F(4×4, 3×3): transforms, and 36 products in one call."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backends.settings import convolution_way
from .gemm import gemm
from .launch import FUSED, Kernel
from .scratch import scratch

Array = Any
Pair = tuple[int, int]

DIRECT = convolution_way() == "direct"  # no convolution is one of these kernels'
CHANNELS = 16  # of either side; with fewer the error grows, and the products are too thin to pay for the transforms
PLANE_BYTES = 128 << 20  # of transformed tiles held at once, whatever the batch
SIDE, POINTS, OUTPUTS = 6, 36, 4
TEAM = 64  # threads of a block that transforms filters, which are few
BATCHES = 256  # products of 64 × 64 that fill a GPU: sums over tiles are cut into parts until there are as many

_inputs = Kernel(
    "winograd",
    "winograd_inputs",
    "const REAL* x, REAL* planes, long long n, long long first, long long tiles, int down, int across, int height, "
    "int width, int channels, int top, int left",
)
_gradients = Kernel(
    "winograd",
    "winograd_gradients",
    "const REAL* dz, REAL* planes, long long n, long long first, long long tiles, int down, int across, int height, "
    "int width, int channels",
)
_outputs = Kernel(
    "winograd",
    "winograd_outputs",
    "const REAL* planes, const REAL* bias, REAL* y, long long n, long long plane, long long first, int down, "
    "int across, int height, int width, int channels, int activation",
)
_filters = Kernel("winograd", "winograd_filters", "const REAL* w, REAL* u, long long n, bool turned")
_filter_gradients = Kernel(
    "winograd",
    "winograd_filter_gradients",
    "const REAL* sums, REAL* dw, long long n, int parts, bool accumulate",
)


def fits(w: Array, outputs: Array, stride: Pair, dilation: Pair, groups: int) -> bool:
    """Whether this is a convolution of these kernels, and its tiles are filled well enough to be worth it: by a third
    fewer products than the direct way has. outputs: y, or for the gradient of the input dx."""
    kh, kw, channels, filters = w.shape
    if (kh, kw) != (3, 3) or tuple(stride) != (1, 1) or tuple(dilation) != (1, 1) or groups != 1:
        return False
    if DIRECT or w.dtype != np.float32 or min(channels, filters) < CHANNELS or not outputs.size:
        return False
    height, width = outputs.shape[1:3]
    down, across = _tiles(height, width)
    return 3 * POINTS * down * across <= 2 * 9 * height * width


def conv2d(x: Array, w: Array, b: Array | None, y: Array, top: int, left: int, activation: str) -> None:
    """y = activation(x ∗ w + b), x with `top` and `left` zeros before it."""
    _correlate(x, _transformed(w, False), b, y, top, left, activation)


def conv2d_backward_input(dz: Array, w: Array, dx: Array, top: int, left: int) -> None:
    """dx of that."""
    _correlate(dz, _transformed(w, True).swapaxes(1, 2), None, dx, 2 - top, 2 - left, "linear")


def conv2d_backward_weight(x: Array, dz: Array, dw: Array, top: int, left: int, accumulate: bool) -> None:
    """dw of that."""
    channels, filters = dw.shape[2:]
    products = POINTS * -(-channels // 64) * -(-filters // 64)
    parts = max(1, BATCHES // products)
    room, tiles, down, across, slabs = _slabs(dz, channels + filters, parts)
    v, z = scratch(x, POINTS, room, channels), scratch(x, POINTS, room, filters)
    sums = scratch(x, POINTS * parts, channels, filters)
    of_inputs, of_gradients = (planes.reshape(POINTS * parts, room // parts, planes.shape[2]) for planes in (v, z))
    for first in slabs:
        where = first, tiles, down, across
        _inputs(v[0].size, x, v, v[0].size, *where, *x.shape[1:], top, left)
        _gradients(z[0].size, dz, z, z[0].size, *where, *dz.shape[1:])
        gemm(of_inputs.swapaxes(1, 2), of_gradients, sums, add=first > 0)
    n = channels * filters
    _filter_gradients.blocks(-(-n // TEAM), TEAM)(sums, dw, n, parts, accumulate)


def _correlate(x: Array, u: Array, b: Array | None, y: Array, top: int, left: int, activation: str) -> None:
    channels, filters = u.shape[1:]
    room, tiles, down, across, slabs = _slabs(y, channels + filters, 1)
    v, m = scratch(x, POINTS, room, channels), scratch(x, POINTS, room, filters)
    for first in slabs:
        count = min(room, tiles - first)
        _inputs(v[0].size, x, v, v[0].size, first, tiles, down, across, *x.shape[1:], top, left)
        gemm(v, u, m)
        _outputs(
            count * filters, m, b, y, count * filters, m[0].size, first, down, across, *y.shape[1:], FUSED[activation]
        )


def _transformed(w: Array, turned: bool) -> Array:
    """The filters at the points, `[36, C, K]`."""
    channels, filters = w.shape[2:]
    u, n = scratch(w, POINTS, channels, filters), channels * filters
    _filters.blocks(-(-n // TEAM), TEAM)(w, u, n, turned)
    return u


def _tiles(height: int, width: int) -> tuple[int, int]:
    return -(-height // OUTPUTS), -(-width // OUTPUTS)


def _slabs(outputs: Array, channels: int, parts: int) -> tuple[int, int, int, int, range]:
    """Room for so many tiles at once, in `parts` equal parts; how many tiles in all, down and across an image;
    the first tile of each slab."""
    n, height, width, _ = outputs.shape
    down, across = _tiles(height, width)
    tiles = n * down * across
    most = max(1, PLANE_BYTES // (outputs.itemsize * POINTS * channels))
    slabs = -(-tiles // most)
    room = -(-tiles // (slabs * parts)) * parts
    return room, tiles, down, across, range(0, tiles, room)
