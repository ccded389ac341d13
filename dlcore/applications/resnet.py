"""ResNet-18, -34, -50 and -101: He, Zhang, Ren & Sun, "Deep residual learning for image recognition", CVPR 2016, with
the activation after the addition, and the stride of a bottleneck in its 3 × 3 convolution, both as in torchvision.

A layer has torchvision's name with "_" for ".": layer1_0_conv1, layer2_0_downsample_0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..layers import Add, BatchNormalization, Conv2D, Dense, GlobalAveragePooling2D, Input, MaxPooling2D, ReLU
from ..models import Model
from .common import Images, check_images, feature_pooling


def _convolution(x: Any, filters: int, size: int, stride: int, name: str, normalization: str, relu: str = "") -> Any:
    """A convolution without bias, its batch normalisation, and a ReLU if that is given a name."""
    x = Conv2D(
        filters, size, stride, size // 2, use_bias=False, kernel_initializer="he_normal", name=name
    )(x)  # fmt: skip
    x = BatchNormalization(momentum=0.9, epsilon=1e-5, name=normalization)(x)
    return ReLU(name=relu)(x) if relu else x


def _block(x: Any, filters: int, stride: int, bottleneck: bool, name: str) -> Any:
    """relu(x + f(x)), f of two 3 × 3 convolutions, or of 1 × 1, 3 × 3 and 1 × 1; where f changes the shape, x takes a
    1 × 1 convolution too."""
    width = 4 * filters if bottleneck else filters
    steps = [(filters, 1, 1), (filters, 3, stride), (width, 1, 1)] if bottleneck else [
        (filters, 3, stride), (filters, 3, 1)
    ]  # fmt: skip
    y = x
    for i, (channels, size, step) in enumerate(steps, 1):
        relu = f"{name}_relu{i}" if i < len(steps) else ""
        y = _convolution(y, channels, size, step, f"{name}_conv{i}", f"{name}_bn{i}", relu)
    if stride != 1 or x.shape[-1] != width:
        x = _convolution(x, width, 1, stride, f"{name}_downsample_0", f"{name}_downsample_1")
    return ReLU(name=f"{name}_relu")(Add(name=f"{name}_add")([x, y]))


def _resnet(
    blocks: Sequence[int],
    bottleneck: bool,
    input_shape: Images,
    classes: int,
    include_top: bool,
    classifier_activation: str | None,
    name: str,
    pooling: str | None,
    small_images: bool,
    weights: None,
) -> Model:
    shape = check_images(input_shape, 8 if small_images else 32, weights)
    ends = feature_pooling(pooling, include_top)
    x = inputs = Input(shape)
    x = _convolution(x, 64, 3 if small_images else 7, 1 if small_images else 2, "conv1", "bn1", "relu")
    if not small_images:
        x = MaxPooling2D(3, 2, 1, name="maxpool")(x)
    for group, count in enumerate(blocks, 1):
        for i in range(count):
            stride = 2 if group > 1 and i == 0 else 1
            x = _block(x, 32 << group, stride, bottleneck, f"layer{group}_{i}")
    if include_top:
        x = Dense(classes, activation=classifier_activation, name="fc")(GlobalAveragePooling2D(name="avgpool")(x))
    for layer in ends:
        x = layer(x)
    return Model(inputs, x, name=name)


def ResNet18(
    input_shape: Images = (224, 224, 3),
    classes: int = 1000,
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
    name: str = "resnet18",
    *,
    pooling: str | None = None,
    small_images: bool = False,
    weights: None = None,
) -> Model:
    """ResNet-18: 11,689,512 trainable parameters at 3 channels and 1,000 classes, and 9,600 running statistics.

    Args:
        input_shape: (height, width, channels), at least 32 × 32, or 8 × 8 with small_images; sizes may be None (any).
        classes: number of classes.
        include_top: whether the pooling and the dense layer at the end are there; without them the features
            `[N, H/32, W/32, 512]` (of 2,048 channels from ResNet-50 on) come out.
        classifier_activation: activation of the last layer; None for logits.
        name: the model's name.
        pooling: without the head: None, or "avg" or "max" for one number per channel.
        small_images: for 28 × 28 or 32 × 32: it begins with a 3 × 3 convolution of stride 1 instead of a 7 × 7 one of
            stride 2 and a pooling, and so shrinks images 8-fold instead of 32-fold.
        weights: None; trained weights are read with `load_weights`.

    Raises:
        ValueError: the images are too small, or pooling or weights is none of these.
    """
    return _resnet(
        (2, 2, 2, 2), False, input_shape, classes, include_top, classifier_activation, name, pooling, small_images,
        weights,
    )  # fmt: skip


def ResNet34(
    input_shape: Images = (224, 224, 3),
    classes: int = 1000,
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
    name: str = "resnet34",
    *,
    pooling: str | None = None,
    small_images: bool = False,
    weights: None = None,
) -> Model:
    """ResNet-34: 21,797,672 trainable parameters at 3 channels and 1,000 classes. Arguments as `ResNet18`."""
    return _resnet(
        (3, 4, 6, 3), False, input_shape, classes, include_top, classifier_activation, name, pooling, small_images,
        weights,
    )  # fmt: skip


def ResNet50(
    input_shape: Images = (224, 224, 3),
    classes: int = 1000,
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
    name: str = "resnet50",
    *,
    pooling: str | None = None,
    small_images: bool = False,
    weights: None = None,
) -> Model:
    """ResNet-50: 25,557,032 trainable parameters at 3 channels and 1,000 classes. Arguments as `ResNet18`."""
    return _resnet(
        (3, 4, 6, 3), True, input_shape, classes, include_top, classifier_activation, name, pooling, small_images,
        weights,
    )  # fmt: skip


def ResNet101(
    input_shape: Images = (224, 224, 3),
    classes: int = 1000,
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
    name: str = "resnet101",
    *,
    pooling: str | None = None,
    small_images: bool = False,
    weights: None = None,
) -> Model:
    """ResNet-101: 44,549,160 trainable parameters at 3 channels and 1,000 classes. Arguments as `ResNet18`."""
    return _resnet(
        (3, 4, 23, 3), True, input_shape, classes, include_top, classifier_activation, name, pooling, small_images,
        weights,
    )  # fmt: skip
