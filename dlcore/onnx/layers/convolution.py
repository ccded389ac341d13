"""Convolutions."""

from __future__ import annotations

from typing import Any

from ... import activations, layers
from .writer import CHANNELS_FIRST, Value, Writer


def window(layer: Any, size: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {"kernel_shape": list(size), "strides": list(layer.strides)}
    rates = getattr(layer, "dilation_rate", (1, 1))
    if layer.padding == "same" and max(rates) > 1:  # the stride is 1; ONNX Runtime wants these pads spelled out
        total = [rate * (length - 1) for rate, length in zip(rates, size, strict=True)]
        return {**attributes, "pads": [*(t // 2 for t in total), *(t - t // 2 for t in total)]}
    if layer.padding == "same":
        return {**attributes, "auto_pad": "SAME_UPPER"}
    if layer.padding != "valid":
        top, bottom, left, right = layer.padding
        attributes["pads"] = [top, left, bottom, right]
    return attributes


def image(w: Writer, layer: Any, name: str, shape: Any, x: Value) -> Value:
    function = getattr(layer, "activation", activations.linear)
    return Value(w.activation(name, function, CHANNELS_FIRST, x.dtype, layer._said), shape, x.dtype, CHANNELS_FIRST)


def _bias(w: Writer, layer: Any) -> list[str]:
    return [] if layer.bias is None else [w.weight(layer, "bias", layer.bias.numpy())]


def _conv(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    kernel = w.weight(layer, "kernel", layer.kernel.numpy().transpose(3, 2, 0, 1))
    name = w.op(
        "Conv", w.image(x), kernel, *_bias(w, layer), dilations=list(layer.dilation_rate), group=layer.groups,
        **window(layer, layer.kernel_size),
    )  # fmt: skip
    return image(w, layer, name, shape, x)


def _by_channel(w: Writer, layer: Any, x: Value, kernel: Any, *bias: str) -> str:
    height, width, channels, each = kernel.shape
    turned = kernel.numpy().reshape(height, width, 1, channels * each).transpose(3, 2, 0, 1)
    return w.op(
        "Conv", w.image(x), w.weight(layer, kernel.name, turned), *bias, dilations=list(layer.dilation_rate),
        group=channels, **window(layer, layer.kernel_size),
    )  # fmt: skip


def _depthwise(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    return image(w, layer, _by_channel(w, layer, x, layer.kernel, *_bias(w, layer)), shape, x)


def _separable(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    name = _by_channel(w, layer, x, layer.depthwise_kernel)
    pointwise = w.weight(layer, "pointwise_kernel", layer.pointwise_kernel.numpy().transpose(3, 2, 0, 1))
    return image(w, layer, w.op("Conv", name, pointwise, *_bias(w, layer)), shape, x)


def _transposed(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    from ...functional.convolution import _transposed_axis

    kernel = w.weight(layer, "kernel", layer.kernel.numpy().transpose(3, 2, 0, 1))
    before, after, extra = [], [], []
    for axis in range(2):  # the same for every size of image
        k, s, d = layer.kernel_size[axis], layer.strides[axis], layer.dilation_rate[axis]
        given = None if layer.output_padding is None else layer.output_padding[axis]
        length, first, last = _transposed_axis(8, k, s, d, layer.padding, given)
        before.append(first)
        after.append(last)
        extra.append(length - (7 * s + d * (k - 1) + 1 - first - last))
    name = w.op(
        "ConvTranspose", w.image(x), kernel, *_bias(w, layer), strides=list(layer.strides),
        dilations=list(layer.dilation_rate), pads=[*before, *after], output_padding=extra,
    )  # fmt: skip
    return image(w, layer, name, shape, x)


LAYERS = {
    layers.Conv2D: _conv,
    layers.Conv2DTranspose: _transposed,
    layers.DepthwiseConv2D: _depthwise,
    layers.SeparableConv2D: _separable,
}
