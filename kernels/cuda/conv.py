"""Two-dimensional convolution: 3 × 3 by Winograd, else im2col a slab at a time and cuBLAS; 1 × 1 without im2col;
depthwise directly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import winograd
from .gemm import gemm
from .launch import FUSED, Kernel, in_fours
from .linear import add_slabs, column_sums, cut, epilogue
from .scratch import scratch

Array = Any
Pair = tuple[int, int]
Padding = tuple[int, int, int, int]

COLUMN_BYTES = 64 << 20  # of the column matrix held at once, whatever the batch
WINDOWS = 8  # that a thread of im2col writes into: WINDOWS of conv.cu

_IM2COL = (
    "const REAL* x, REAL* columns, int rows, int line, int lines, int out_width, int height, int width, "
    "int all_channels, int channels, int kh, int kw, int stride_h, int stride_w, int top, int left, int dilation_h, "
    "int dilation_w"
)
_COL2IM = (
    "const REAL* columns, REAL* dx, long long n, int first, int last, int line, int lines, int out_width, int height, "
    "int width, int all_channels, int channels, int kh, int kw, int stride_h, int stride_w, int top, int left, "
    "int dilation_h, int dilation_w, bool add"
)
_im2col, _im2col_fours = (Kernel("conv", name, _IM2COL) for name in ("im2col", "im2col_fours"))
_col2im, _col2im_fours = (Kernel("conv", name, _COL2IM) for name in ("col2im", "col2im_fours"))
_depthwise = Kernel(
    "conv",
    "depthwise",
    "const REAL* x, const REAL* w, const REAL* bias, REAL* y, long long n, int height, int width, int channels, "
    "int out_height, int out_width, int filters, int kh, int kw, int stride_h, int stride_w, int top, int left, "
    "int dilation_h, int dilation_w, int activation",
)
_depthwise_backward_input = Kernel(
    "conv",
    "depthwise_backward_input",
    "const REAL* dz, const REAL* w, REAL* dx, long long n, int height, int width, int channels, int out_height, "
    "int out_width, int filters, int kh, int kw, int stride_h, int stride_w, int top, int left, int dilation_h, "
    "int dilation_w",
)
_depthwise_backward_weight = Kernel(
    "conv",
    "depthwise_backward_weight",
    "const REAL* x, const REAL* dz, REAL* parts, long long rows, int stripe, long long slab, int height, int width, "
    "int channels, int out_height, int out_width, int filters, int kw, int stride_h, int stride_w, int top, int left, "
    "int dilation_h, int dilation_w",
)


def conv2d(
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    activation: str,
) -> None:
    """See `Backend.conv2d`."""
    window = (*stride, padding[0], padding[2], *dilation)
    if _is_depthwise(w, groups):
        kh, kw, _, k = w.shape
        sizes = (*x.shape[1:], *y.shape[1:3], k // groups, kh, kw)
        _depthwise(y.size, x, w, b, y, y.size, *sizes, *window, FUSED[activation])
        return
    if winograd.fits(w, y, stride, dilation, groups):
        winograd.conv2d(x, w, b, y, padding[0], padding[2], activation)
        return
    filters = _stack(_matrix(w), groups)
    if _is_pointwise(w, stride, padding):
        gemm(_stack(_flat(x), groups), filters, _stack(_flat(y), groups))
        epilogue(y, b, activation)
        return
    columns = _columns(y, w, groups)
    for image, line, part in _slabs(y, columns):
        windows = _fill(columns, x, image, line, part, w, window)
        gemm(_stack(windows, groups), filters, _stack(_flat(part), groups))
        epilogue(part, b, activation)


def conv2d_backward_input(
    dz: Array, w: Array, dx: Array, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> None:
    """See `Backend.conv2d_backward_input`."""
    window = (*stride, padding[0], padding[2], *dilation)
    kh, kw, channels, k = w.shape
    if _is_depthwise(w, groups):
        sizes = (*dx.shape[1:], *dz.shape[1:3], k // groups, kh, kw)
        _depthwise_backward_input(dx.size, dz, w, dx, dx.size, *sizes, *window)
        return
    if winograd.fits(w, dx, stride, dilation, groups):
        winograd.conv2d_backward_input(dz, w, dx, padding[0], padding[2])
        return
    filters = _stack(_matrix(w), groups).swapaxes(-1, -2)
    if _is_pointwise(w, stride, padding):
        gemm(_stack(_flat(dz), groups), filters, _stack(_flat(dx), groups))
        return
    columns = _columns(dz, w, groups)
    height, width, all_channels = dx.shape[1:]
    for image, line, part in _slabs(dz, columns):
        images, lines, out_width, _ = part.shape
        windows = columns[: images * lines * out_width]
        gemm(_stack(_flat(part), groups), filters, _stack(windows, groups))
        # The first slab of an image fills all of it, the others add to the lines that they reach.
        first, last = 0, height
        if line > 0:
            first = max(0, line * stride[0] - padding[0])
            last = min(height, (line + lines - 1) * stride[0] - padding[0] + (kh - 1) * dilation[0] + 1)
        target = dx[image : image + images]
        of, kernel = (4, _col2im_fours) if in_fours(channels, windows, target) else (1, _col2im)
        n = images * max(0, last - first) * width * all_channels // of
        sizes = (first, last, line, lines, out_width, height, width, all_channels // of, channels // of, kh, kw)
        kernel(n, windows, target, n, *sizes, *window, line > 0)


def conv2d_backward_weight(
    x: Array,
    dz: Array,
    dw: Array,
    db: Array | None,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    accumulate: bool = False,
) -> None:
    """See `Backend.conv2d_backward_weight`."""
    window = (*stride, padding[0], padding[2], *dilation)
    if db is not None:
        column_sums(_flat(dz), db, accumulate)
    if _is_depthwise(dw, groups):
        kh, kw, _, k = dw.shape
        rows = dz.shape[0] * dz.shape[1] * dz.shape[2]
        stripes, stripe, slabs, slab = cut(rows, k, kh * kw)
        parts = scratch(dz, slabs, kh * kw * k)
        sizes = (*x.shape[1:], *dz.shape[1:3], k // groups, kw)
        _depthwise_backward_weight.blocks((stripes, slabs, kh * kw))(x, dz, parts, rows, stripe, slab, *sizes, *window)
        add_slabs(parts, dw, accumulate)
        return
    if winograd.fits(dw, dz, stride, dilation, groups):
        winograd.conv2d_backward_weight(x, dz, dw, padding[0], padding[2], accumulate)
        return
    gradient = _stack(_matrix(dw), groups)
    if _is_pointwise(dw, stride, padding):
        gemm(_stack(_flat(x), groups).swapaxes(-1, -2), _stack(_flat(dz), groups), gradient, accumulate)
        return
    columns = _columns(dz, dw, groups)
    for image, line, part in _slabs(dz, columns):
        windows = _fill(columns, x, image, line, part, dw, window)
        add = accumulate or image > 0 or line > 0
        gemm(_stack(windows, groups).swapaxes(-1, -2), _stack(_flat(part), groups), gradient, add)


def _is_depthwise(w: Array, groups: int) -> bool:
    return w.shape[2] == 1 and groups > 1


def _is_pointwise(w: Array, stride: Pair, padding: Padding) -> bool:
    """Whether the columns would be the image itself."""
    return w.shape[0] == w.shape[1] == 1 and tuple(stride) == (1, 1) and not any(padding)


def _flat(images: Array) -> Array:
    """`[N, H, W, C]` as `[N·H·W, C]`."""
    n, height, width, channels = images.shape
    return images.reshape(n * height * width, channels)


def _matrix(w: Array) -> Array:
    """`[kh, kw, C / groups, K]` as `[kh·kw·C / groups, K]`."""
    kh, kw, channels, k = w.shape
    return w.reshape(kh * kw * channels, k)


def _stack(matrix: Array, groups: int) -> Array:
    """`[R, C]` as the groups' parts of each row, a view `[groups, R, C / groups]`; itself if there is one group."""
    if groups == 1:
        return matrix
    rows, columns = matrix.shape
    return matrix.reshape(rows, groups, columns // groups).transpose(1, 0, 2)


def _columns(y: Array, w: Array, groups: int) -> Array:
    """Room for the column matrix of as many output places as COLUMN_BYTES allows: whole images, or lines of one."""
    n, height, width, _ = y.shape
    size = w.shape[0] * w.shape[1] * w.shape[2] * groups
    lines = max(1, COLUMN_BYTES // max(y.itemsize * size * width, 1))
    lines = lines // height * height if lines >= height else lines
    return scratch(y, min(lines, n * height) * width, size)


def _slabs(y: Array, columns: Array) -> Iterator[tuple[int, int, Array]]:
    """Cuts of y whose columns fit, contiguous views, each with the number of its first image and of its first line.
    An empty batch is one empty cut."""
    n, height, width, _ = y.shape
    lines = columns.shape[0] // width
    images = max(1, lines // height)
    for image in range(0, max(n, 1), images):
        for line in range(0, height, max(1, min(lines, height))):
            yield image, line, y[image : image + images, line : line + lines]


def _fill(columns: Array, x: Array, image: int, line: int, part: Array, w: Array, window: tuple[int, ...]) -> Array:
    """The columns of a part of the output, from the images x: the rows of `columns` that hold them."""
    images, lines, out_width, _ = part.shape
    kh, kw, channels, _ = w.shape
    rows = images * lines * out_width
    source = x[image : image + images]
    of, kernel = (4, _im2col_fours) if in_fours(channels, source, columns) else (1, _im2col)
    height, width, all_channels = x.shape[1:]
    sizes = (rows, line, lines, out_width, height, width, all_channels // of, channels // of, kh, kw)
    kernel(-(-rows // WINDOWS) * columns.shape[1] // of, source, columns, *sizes, *window)
    return columns[:rows]
