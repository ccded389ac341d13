"""Convolutions of images `[N, H, W, C]`."""

from __future__ import annotations

from typing import Any

from .. import activations, initializers, regularizers
from .. import functional as F
from ..symbolic import Shape
from ..tensor import Tensor, Variable
from .base import InputSpec, Layer, no_constraint, one_of, pair, positive_int
from .core import known


def channels_last(data_format: str | None, layer: str) -> str:
    """Images are `[N, H, W, C]` throughout; anything else is a ValueError."""
    if data_format not in (None, "channels_last"):
        raise ValueError(
            f"data_format of {layer} must be 'channels_last' (images [N, H, W, C]), got {data_format!r}; "
            "transpose the data once with numpy.moveaxis(x, 1, -1)"
        )
    return "channels_last"


def padding_argument(padding: Any, argument: str) -> Any:
    """ "valid", "same", or (top, bottom, left, right) from one number, (vertical, horizontal), or a pair of pairs."""
    if isinstance(padding, str):
        return one_of(padding, argument, ("valid", "same"))
    sides = padding if isinstance(padding, (list, tuple)) and len(padding) == 2 else (padding, padding)
    vertical, horizontal = (pair(side, argument, least=0) for side in sides)
    return (*vertical, *horizontal)


def padding_config(padding: Any) -> Any:
    """What `padding_argument` gave as an argument for it, in JSON values."""
    return padding if isinstance(padding, str) else [list(padding[:2]), list(padding[2:])]


def windows_along(
    lengths: Shape,
    sizes: tuple[int, int],
    strides: tuple[int, int],
    padding: Any,
    layer: Layer,
    dilation: tuple[int, int] = (1, 1),
    what: str = "kernel",
) -> tuple[int | None, ...]:
    """How many windows fit along height and width; a ValueError if none does."""
    counts: list[int | None] = []
    for axis, (n, size, stride, rate) in enumerate(zip(lengths, sizes, strides, dilation, strict=True)):
        reach = rate * (size - 1) + 1
        if n is None:
            counts.append(None)
        elif padding == "same":
            counts.append(-(-n // stride))
        else:
            margin = 0 if isinstance(padding, str) else padding[2 * axis] + padding[2 * axis + 1]
            if n + margin < reach:
                raise ValueError(
                    f"{layer._said}: the {what} covers {reach} places, the image has only {n} "
                    f"(padding={padding_config(padding)!r})"
                )
            counts.append((n + margin - reach) // stride + 1)
    return tuple(counts)


class _BaseConv(Layer):
    _real_inputs = True

    def __init__(
        self,
        kernel_size: Any,
        strides: Any,
        padding: Any,
        data_format: str | None,
        dilation_rate: Any,
        activation: Any,
        use_bias: bool,
        bias_initializer: Any,
        bias_regularizer: Any,
        activity_regularizer: Any,
        bias_constraint: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        kind = type(self).__name__
        self.kernel_size = pair(kernel_size, f"kernel_size of {kind}")
        self.strides = pair(strides, f"strides of {kind}")
        self.padding = padding_argument(padding, f"padding of {kind}")
        self.data_format = channels_last(data_format, kind)
        self.dilation_rate = pair(dilation_rate, f"dilation_rate of {kind}")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"strides and dilation_rate of {kind} cannot both exceed 1, got {self.strides} and {self.dilation_rate}"
            )
        self.activation = activations.get(activation)
        self._fused, self._after = activations.split(self.activation)
        self.use_bias = use_bias
        self.bias_initializer = initializers.get(bias_initializer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        no_constraint(bias_constraint, f"bias_constraint of {kind}")
        self.bias: Variable | None = None
        self.input_spec = InputSpec(ndim=4)

    def _channels(self, input_shape: Shape) -> int:
        if len(input_shape) != 4:
            self.input_spec.check(input_shape, self)
        channels = known(input_shape[-1], -1, input_shape, self)
        self.input_spec = InputSpec(ndim=4, axes={-1: channels})
        return channels

    def _add_bias(self, filters: int) -> None:
        if self.use_bias:
            self.bias = self.add_weight(
                (filters,), self.bias_initializer, regularizer=self.bias_regularizer, name="bias"
            )

    def _spatial(self, input_shape: Shape) -> tuple[int | None, ...]:
        return windows_along(input_shape[1:3], self.kernel_size, self.strides, self.padding, self, self.dilation_rate)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": padding_config(self.padding),
            "data_format": self.data_format,
            "dilation_rate": list(self.dilation_rate),
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
        }


class Conv2D(_BaseConv):
    """Convolution (cross-correlation) with `filters` filters, bias and activation.

    x `[N, H, W, C]`, kernel `[kh, kw, C / groups, filters]`, y `[N, H', W', filters]`. padding is "valid", "same"
    (⌈H / stride⌉ rows, an odd row of zeros goes to the end) or, beyond Keras, so many rows and columns of zeros: a
    number, (vertical, horizontal) or ((top, bottom), (left, right)).
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, activity_regularizer, bias_constraint, **kwargs,
        )  # fmt: skip
        self.filters = positive_int(filters, "filters of Conv2D")
        self.groups = positive_int(groups, "groups of Conv2D")
        if self.filters % self.groups:
            raise ValueError(f"filters of Conv2D must be a multiple of groups, got {filters} and {groups}")
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        no_constraint(kernel_constraint, "kernel_constraint of Conv2D")

    def build(self, input_shape: Shape) -> None:
        channels = self._channels(input_shape)
        if channels % self.groups:
            raise ValueError(
                f"{self._said} has groups={self.groups}, which does not divide the {channels} channels of its input"
            )
        self.kernel = self.add_weight(
            (*self.kernel_size, channels // self.groups, self.filters),
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            name="kernel",
        )
        self._add_bias(self.filters)

    def call(self, inputs: Tensor) -> Tensor:
        y = F.conv2d(
            inputs, self.kernel, self.bias, self.strides, self.padding, self.dilation_rate, self.groups, self._fused
        )
        return y if self._after is None else self._after(y)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *self._spatial(input_shape), self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "groups": self.groups,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
        }


class DepthwiseConv2D(_BaseConv):
    """Convolution of each channel by `depth_multiplier` filters of its own.

    kernel `[kh, kw, C, depth_multiplier]`, y `[N, H', W', C · depth_multiplier]`.
    """

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: Any = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, activity_regularizer, bias_constraint, **kwargs,
        )  # fmt: skip
        self.depth_multiplier = positive_int(depth_multiplier, "depth_multiplier of DepthwiseConv2D")
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        no_constraint(depthwise_constraint, "depthwise_constraint of DepthwiseConv2D")

    def build(self, input_shape: Shape) -> None:
        channels = self._channels(input_shape)
        self.kernel = self.add_weight(
            (*self.kernel_size, channels, self.depth_multiplier),
            self.depthwise_initializer,
            regularizer=self.depthwise_regularizer,
            name="kernel",
        )
        self._add_bias(channels * self.depth_multiplier)

    def call(self, inputs: Tensor) -> Tensor:
        channels = inputs.shape[-1]
        kernel = F.reshape(self.kernel, (*self.kernel_size, 1, channels * self.depth_multiplier))
        y = F.conv2d(inputs, kernel, self.bias, self.strides, self.padding, self.dilation_rate, channels, self._fused)
        return y if self._after is None else self._after(y)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        channels = None if input_shape[-1] is None else input_shape[-1] * self.depth_multiplier
        return (input_shape[0], *self._spatial(input_shape), channels)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "depth_multiplier": self.depth_multiplier,
            "depthwise_initializer": initializers.serialize(self.depthwise_initializer),
            "depthwise_regularizer": regularizers.serialize(self.depthwise_regularizer),
        }


class SeparableConv2D(_BaseConv):
    """A depthwise convolution, then a 1×1 one that mixes its channels, bias and activation.

    depthwise kernel `[kh, kw, C, depth_multiplier]`, pointwise kernel `[1, 1, C · depth_multiplier, filters]`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, activity_regularizer, bias_constraint, **kwargs,
        )  # fmt: skip
        self.filters = positive_int(filters, "filters of SeparableConv2D")
        self.depth_multiplier = positive_int(depth_multiplier, "depth_multiplier of SeparableConv2D")
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.pointwise_initializer = initializers.get(pointwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.pointwise_regularizer = regularizers.get(pointwise_regularizer)
        no_constraint(depthwise_constraint, "depthwise_constraint of SeparableConv2D")
        no_constraint(pointwise_constraint, "pointwise_constraint of SeparableConv2D")

    def build(self, input_shape: Shape) -> None:
        channels = self._channels(input_shape)
        self.depthwise_kernel = self.add_weight(
            (*self.kernel_size, channels, self.depth_multiplier),
            self.depthwise_initializer,
            regularizer=self.depthwise_regularizer,
            name="depthwise_kernel",
        )
        self.pointwise_kernel = self.add_weight(
            (1, 1, channels * self.depth_multiplier, self.filters),
            self.pointwise_initializer,
            regularizer=self.pointwise_regularizer,
            name="pointwise_kernel",
        )
        self._add_bias(self.filters)

    def call(self, inputs: Tensor) -> Tensor:
        channels = inputs.shape[-1]
        kernel = F.reshape(self.depthwise_kernel, (*self.kernel_size, 1, channels * self.depth_multiplier))
        y = F.conv2d(inputs, kernel, None, self.strides, self.padding, self.dilation_rate, channels)
        y = F.conv2d(y, self.pointwise_kernel, self.bias, activation=self._fused)
        return y if self._after is None else self._after(y)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *self._spatial(input_shape), self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "depth_multiplier": self.depth_multiplier,
            "depthwise_initializer": initializers.serialize(self.depthwise_initializer),
            "pointwise_initializer": initializers.serialize(self.pointwise_initializer),
            "depthwise_regularizer": regularizers.serialize(self.depthwise_regularizer),
            "pointwise_regularizer": regularizers.serialize(self.pointwise_regularizer),
        }


class Conv2DTranspose(_BaseConv):
    """The gradient of a convolution with respect to its image, used as a layer that enlarges images.

    kernel `[kh, kw, filters, C]`, y `[N, H·s, W·s, filters]` for padding "same" and stride s.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, activity_regularizer, bias_constraint, **kwargs,
        )  # fmt: skip
        self.padding = one_of(padding, "padding of Conv2DTranspose", ("valid", "same"))
        self.filters = positive_int(filters, "filters of Conv2DTranspose")
        self.output_padding = (
            None if output_padding is None else pair(output_padding, "output_padding of Conv2DTranspose", least=0)
        )
        if self.output_padding is not None and any(
            extra >= stride for extra, stride in zip(self.output_padding, self.strides, strict=True)
        ):
            raise ValueError(
                f"output_padding of Conv2DTranspose must be less than strides, got {self.output_padding} "
                f"and {self.strides}"
            )
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        no_constraint(kernel_constraint, "kernel_constraint of Conv2DTranspose")

    def build(self, input_shape: Shape) -> None:
        channels = self._channels(input_shape)
        self.kernel = self.add_weight(
            (*self.kernel_size, self.filters, channels),
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            name="kernel",
        )
        self._add_bias(self.filters)

    def call(self, inputs: Tensor) -> Tensor:
        y = F.conv2d_transpose(
            inputs,
            self.kernel,
            self.bias,
            strides=self.strides,
            padding=self.padding,
            output_padding=self.output_padding,
            dilation=self.dilation_rate,
            activation=self._fused,
        )
        return y if self._after is None else self._after(y)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        lengths: list[int | None] = []
        for axis in range(2):
            n, stride = input_shape[1 + axis], self.strides[axis]
            reach = self.dilation_rate[axis] * (self.kernel_size[axis] - 1) + 1
            if n is None:
                lengths.append(None)
            elif self.output_padding is not None:
                cut = 2 * (reach // 2) if self.padding == "same" else 0
                lengths.append((n - 1) * stride + reach - cut + self.output_padding[axis])
            else:
                lengths.append(n * stride + (0 if self.padding == "same" else max(reach - stride, 0)))
        return (input_shape[0], *lengths, self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "output_padding": None if self.output_padding is None else list(self.output_padding),
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
        }


Convolution2D = Conv2D
Convolution2DTranspose = Conv2DTranspose
SeparableConvolution2D = SeparableConv2D
