"""Convolutions of images `[N, H, W, C]` and of sequences `[N, T, C]`.

padding is "valid", "same" (⌈length / stride⌉ windows, an odd row of zeros goes to the end) or, beyond Keras, so many
zeros: a number; for images also (vertical, horizontal) or ((top, bottom), (left, right)); for sequences also
(before, after).
"""

from __future__ import annotations

from typing import Any

from .. import activations
from .. import functional as F
from ..symbolic import Shape
from ..tensor import Tensor, Variable
from .arguments import one_of, positive_int
from .core import known
from .input_spec import InputSpec
from .spatial import Spatial


class _BaseConv(Spatial):
    _real_inputs = True
    _paddings: tuple[str, ...] = ()  # beyond "valid" and "same"

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
        super().__init__(data_format, activity_regularizer=activity_regularizer, **kwargs)
        self.kernel_size = self._lengths(kernel_size, "kernel_size")
        self.strides = self._lengths(strides, "strides")
        self.padding = self._padding(padding, *self._paddings)
        self.dilation_rate = self._lengths(dilation_rate, "dilation_rate")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"strides and dilation_rate of {type(self).__name__} cannot both exceed 1, "
                f"got {self.strides} and {self.dilation_rate}"
            )
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self._take_weight_arguments("bias", bias_initializer, bias_regularizer, bias_constraint)
        self.bias: Variable | None = None

    def _channels(self, input_shape: Shape) -> int:
        if len(input_shape) != self._rank + 2:
            self.input_spec.check(input_shape, self)
        channels = known(input_shape[-1], -1, input_shape, self)
        self.input_spec = InputSpec(ndim=self._rank + 2, axes={-1: channels})
        return channels

    def _add_bias(self, filters: int) -> None:
        if self.use_bias:
            self.bias = self._add_described("bias", (filters,))

    def _convolved(self, images: Tensor, activation: str) -> Tensor:
        """The convolution of images, with bias and an activation that can be fused."""
        raise NotImplementedError

    def _conv2d(self, x: Tensor, kernel: Tensor, bias: Any, groups: int, activation: str = "linear") -> Tensor:
        padding = (self.dilation_rate[0] * (self.kernel_size[0] - 1), 0) if self.padding == "causal" else self.padding
        return F.conv2d(
            x, kernel, bias, self._plane(self.strides), self._plane_padding(padding),
            self._plane(self.dilation_rate), groups, activation,
        )  # fmt: skip

    def _depthwise(self, x: Tensor, kernel: Tensor, bias: Any = None, activation: str = "linear") -> Tensor:
        """Each channel by filters of its own, the last axis of a kernel `[..., C, depth_multiplier]`."""
        channels, multiplier = kernel.shape[-2:]
        kernel = F.reshape(kernel, (*self._plane(self.kernel_size), 1, channels * multiplier))
        return self._conv2d(x, kernel, bias, channels, activation)

    def call(self, inputs: Tensor) -> Tensor:
        fused, after = activations.split(self.activation)
        y = self._over_images(lambda images: self._convolved(images, fused), inputs)
        return y if after is None else after(y)

    def _spatial(self, input_shape: Shape) -> tuple[int | None, ...]:
        return self._windows(input_shape, self.kernel_size, self.strides, self.padding, self.dilation_rate)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": self._padding_config(self.padding),
            "data_format": self.data_format,
            "dilation_rate": list(self.dilation_rate),
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
        }


class _Conv(_BaseConv):
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
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
        kind = type(self).__name__
        self.filters = positive_int(filters, f"filters of {kind}")
        self.groups = positive_int(groups, f"groups of {kind}")
        if self.filters % self.groups:
            raise ValueError(f"filters of {kind} must be a multiple of groups, got {filters} and {groups}")
        self._take_weight_arguments("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)

    def build(self, input_shape: Shape) -> None:
        channels = self._channels(input_shape)
        if channels % self.groups:
            raise ValueError(
                f"{self._said} has groups={self.groups}, which does not divide the {channels} channels of its input"
            )
        self.kernel = self._add_described("kernel", (*self.kernel_size, channels // self.groups, self.filters))
        self._add_bias(self.filters)

    def _convolved(self, images: Tensor, activation: str) -> Tensor:
        return self._conv2d(images, self._plane_kernel(self.kernel), self.bias, self.groups, activation)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *self._spatial(input_shape), self.filters)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "groups": self.groups}


class Conv1D(_Conv):
    """Convolution (cross-correlation) along sequences with `filters` filters, bias and activation.

    x `[N, T, C]`, kernel `[k, C / groups, filters]`, y `[N, T', filters]`. padding "causal" puts all zeros before the
    sequence, so that no output depends on a later input.
    """

    _rank = 1
    _paddings = ("causal",)


class Conv2D(_Conv):
    """Convolution (cross-correlation) with `filters` filters, bias and activation.

    x `[N, H, W, C]`, kernel `[kh, kw, C / groups, filters]`, y `[N, H', W', filters]`.
    """

    _rank = 2


class _DepthwiseConv(_BaseConv):
    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
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
        self.depth_multiplier = positive_int(depth_multiplier, f"depth_multiplier of {type(self).__name__}")
        self._take_weight_arguments("depthwise", depthwise_initializer, depthwise_regularizer, depthwise_constraint)

    def build(self, input_shape: Shape) -> None:
        channels = self._channels(input_shape)
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.kernel = self._add_described("depthwise", shape, name="kernel")
        self._add_bias(channels * self.depth_multiplier)

    def _convolved(self, images: Tensor, activation: str) -> Tensor:
        return self._depthwise(images, self.kernel, self.bias, activation)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        channels = None if input_shape[-1] is None else input_shape[-1] * self.depth_multiplier
        return (input_shape[0], *self._spatial(input_shape), channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "depth_multiplier": self.depth_multiplier}


class DepthwiseConv1D(_DepthwiseConv):
    """Convolution of each channel of sequences by `depth_multiplier` filters of its own.

    kernel `[k, C, depth_multiplier]`, y `[N, T', C · depth_multiplier]`.
    """

    _rank = 1


class DepthwiseConv2D(_DepthwiseConv):
    """Convolution of each channel by `depth_multiplier` filters of its own.

    kernel `[kh, kw, C, depth_multiplier]`, y `[N, H', W', C · depth_multiplier]`.
    """

    _rank = 2


class _SeparableConv(_BaseConv):
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
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
        kind = type(self).__name__
        self.filters = positive_int(filters, f"filters of {kind}")
        self.depth_multiplier = positive_int(depth_multiplier, f"depth_multiplier of {kind}")
        self._take_weight_arguments("depthwise", depthwise_initializer, depthwise_regularizer, depthwise_constraint)
        self._take_weight_arguments("pointwise", pointwise_initializer, pointwise_regularizer, pointwise_constraint)

    def build(self, input_shape: Shape) -> None:
        channels = self._channels(input_shape)
        deep = channels * self.depth_multiplier
        self.depthwise_kernel = self._add_described(
            "depthwise", (*self.kernel_size, channels, self.depth_multiplier), name="depthwise_kernel"
        )
        self.pointwise_kernel = self._add_described(
            "pointwise", (*(1,) * self._rank, deep, self.filters), name="pointwise_kernel"
        )
        self._add_bias(self.filters)

    def _convolved(self, images: Tensor, activation: str) -> Tensor:
        y = self._depthwise(images, self.depthwise_kernel)
        return F.conv2d(y, self._plane_kernel(self.pointwise_kernel), self.bias, activation=activation)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *self._spatial(input_shape), self.filters)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "depth_multiplier": self.depth_multiplier}


class SeparableConv1D(_SeparableConv):
    """A depthwise convolution along sequences, then one of length 1 that mixes its channels, bias and activation.

    depthwise kernel `[k, C, depth_multiplier]`, pointwise kernel `[1, C · depth_multiplier, filters]`.
    """

    _rank = 1


class SeparableConv2D(_SeparableConv):
    """A depthwise convolution, then a 1×1 one that mixes its channels, bias and activation.

    depthwise kernel `[kh, kw, C, depth_multiplier]`, pointwise kernel `[1, 1, C · depth_multiplier, filters]`.
    """

    _rank = 2


class _ConvTranspose(_BaseConv):
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = 1,
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
        kind = type(self).__name__
        self.padding = one_of(padding, f"padding of {kind}", ("valid", "same"))
        self.filters = positive_int(filters, f"filters of {kind}")
        self.output_padding = (
            None if output_padding is None else self._lengths(output_padding, "output_padding", least=0)
        )
        if self.output_padding is not None and any(
            extra >= stride for extra, stride in zip(self.output_padding, self.strides, strict=True)
        ):
            raise ValueError(
                f"output_padding of {kind} must be less than strides, got {self.output_padding} and {self.strides}"
            )
        self._take_weight_arguments("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)

    def build(self, input_shape: Shape) -> None:
        channels = self._channels(input_shape)
        self.kernel = self._add_described("kernel", (*self.kernel_size, self.filters, channels))
        self._add_bias(self.filters)

    def _convolved(self, images: Tensor, activation: str) -> Tensor:
        return F.conv2d_transpose(
            images,
            self._plane_kernel(self.kernel),
            self.bias,
            strides=self._plane(self.strides),
            padding=self.padding,
            output_padding=None if self.output_padding is None else self._plane(self.output_padding, 0),
            dilation=self._plane(self.dilation_rate),
            activation=activation,
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        lengths: list[int | None] = []
        for axis in range(self._rank):
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
        }


class Conv1DTranspose(_ConvTranspose):
    """The gradient of a convolution with respect to its sequence, used as a layer that lengthens sequences.

    kernel `[k, filters, C]`, y `[N, T·s, filters]` for padding "same" and stride s.
    """

    _rank = 1


class Conv2DTranspose(_ConvTranspose):
    """The gradient of a convolution with respect to its image, used as a layer that enlarges images.

    kernel `[kh, kw, filters, C]`, y `[N, H·s, W·s, filters]` for padding "same" and stride s.
    """

    _rank = 2


Convolution1D, Convolution2D = Conv1D, Conv2D
Convolution1DTranspose, Convolution2DTranspose = Conv1DTranspose, Conv2DTranspose
SeparableConvolution1D, SeparableConvolution2D = SeparableConv1D, SeparableConv2D
