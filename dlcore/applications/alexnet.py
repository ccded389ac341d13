"""AlexNet in one tower: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, as
torchvision has it; that is Krizhevsky, Sutskever & Hinton 2012 without the two columns and the response normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..layers import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D
from ..layers.base import Layer
from ..models import Sequential
from .common import Images, check_images, feature_pooling


def AlexNet(
    input_shape: Images = (227, 227, 3),
    classes: int = 1000,
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
    name: str = "alexnet",
    *,
    pooling: str | None = None,
    hidden: Sequence[int] = (4096, 4096),
    dropout: float = 0.5,
    small_images: bool = False,
    weights: None = None,
) -> Sequential:
    """AlexNet: 61,100,840 parameters at 224 × 224 × 3 or 227 × 227 × 3 and 1,000 classes.

    Args:
        input_shape: (height, width, channels), at least 63 × 63, or 15 × 15 with small_images; sizes may be None (any)
            without the head.
        classes: number of classes.
        include_top: whether the dense layers at the end are there; without them the features `[N, h, w, 256]` come out,
            6 × 6 of them for 224 × 224.
        classifier_activation: activation of the last layer; None for logits.
        name: the model's name.
        pooling: without the head: None, or "avg" or "max" for one number per channel, `[N, 256]`.
        hidden: units of the head's hidden layers.
        dropout: share dropped before each hidden layer, in training.
        small_images: for 28 × 28 or 32 × 32: the first convolution is 5 × 5 at stride 1 instead of 11 × 11 at stride 4.
        weights: None; trained weights are read with `load_weights`.

    Raises:
        ValueError: the images are too small, or pooling or weights is none of these.
    """
    shape = check_images(input_shape, 15 if small_images else 63, weights)

    def conv(number: int, filters: int, size: int, stride: int = 1) -> Conv2D:
        padding = 2 if size > 3 else 1
        return Conv2D(
            filters, size, stride, padding, activation="relu", kernel_initializer="he_normal", name=f"conv{number}"
        )

    layers: list[Layer] = [
        conv(1, 64, 5) if small_images else conv(1, 64, 11, 4),
        MaxPooling2D(3, 2, name="pool1"),
        conv(2, 192, 5),
        MaxPooling2D(3, 2, name="pool2"),
        conv(3, 384, 3),
        conv(4, 256, 3),
        conv(5, 256, 3),
        MaxPooling2D(3, 2, name="pool5"),
        *feature_pooling(pooling, include_top),
    ]
    if include_top:
        layers.append(Flatten(name="flatten"))
        for i, units in enumerate(hidden, 6):
            layers += [Dropout(dropout, name=f"dropout{i}")] if dropout else []
            layers.append(Dense(units, activation="relu", kernel_initializer="he_normal", name=f"fc{i}"))
        layers.append(Dense(classes, activation=classifier_activation, name="predictions"))
    return Sequential([Input(shape), *layers], name=name)
