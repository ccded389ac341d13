"""VGG-11, -13, -16 and -19: Simonyan & Zisserman, "Very deep convolutional networks for large-scale image
recognition", ICLR 2015, table 1, columns A, B, D and E. Layers are named as in Keras's applications."""

from __future__ import annotations

from collections.abc import Sequence

from ..layers import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D
from ..layers.base import Layer
from ..models import Sequential
from .common import Images, check_images, feature_pooling

_FILTERS = (64, 128, 256, 512, 512)


def _vgg(
    convolutions: Sequence[int],
    input_shape: Images,
    classes: int,
    include_top: bool,
    classifier_activation: str | None,
    name: str,
    pooling: str | None,
    hidden: Sequence[int],
    dropout: float,
    weights: None,
) -> Sequential:
    """Five blocks of so many 3 × 3 convolutions, each ended by a 2 × 2 maximum pooling; then the head.

    Images below 32 × 32 would vanish in five halvings, so there a halving rounds up.
    """
    shape = check_images(input_shape, 17, weights)
    halving = "same" if min(n or 32 for n in shape[:2]) < 32 else "valid"
    layers: list[Layer] = []
    for block, (count, filters) in enumerate(zip(convolutions, _FILTERS, strict=True), 1):
        layers += [
            Conv2D(
                filters,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                name=f"block{block}_conv{i}",
            )
            for i in range(1, count + 1)
        ]
        layers.append(MaxPooling2D(2, padding=halving, name=f"block{block}_pool"))
    layers += feature_pooling(pooling, include_top)
    if include_top:
        layers.append(Flatten(name="flatten"))
        for i, units in enumerate(hidden, 1):
            layers.append(Dense(units, activation="relu", kernel_initializer="he_normal", name=f"fc{i}"))
            layers += [Dropout(dropout, name=f"dropout{i}")] if dropout else []
        layers.append(Dense(classes, activation=classifier_activation, name="predictions"))
    return Sequential([Input(shape), *layers], name=name)


def VGG16(
    input_shape: Images = (224, 224, 3),
    classes: int = 1000,
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
    name: str = "vgg16",
    *,
    pooling: str | None = None,
    hidden: Sequence[int] = (4096, 4096),
    dropout: float = 0.5,
    weights: None = None,
) -> Sequential:
    """VGG-16: 138,357,544 parameters at 224 × 224 × 3 and 1,000 classes.

    Args:
        input_shape: (height, width, channels), at least 17 × 17; sizes may be None (any) without the head.
        classes: number of classes.
        include_top: whether the dense layers at the end are there; without them the features `[N, H/32, W/32, 512]`
            come out.
        classifier_activation: activation of the last layer; None for logits.
        name: the model's name.
        pooling: without the head: None, or "avg" or "max" for one number per channel, `[N, 512]`.
        hidden: units of the head's hidden layers; for images of about 32 × 32 (512, 512) or (512,) is enough.
        dropout: share dropped after each hidden layer, in training.
        weights: None; trained weights are read with `load_weights`.

    Raises:
        ValueError: the images are too small, or pooling or weights is none of these.
    """
    return _vgg(
        (2, 2, 3, 3, 3), input_shape, classes, include_top, classifier_activation, name, pooling, hidden, dropout,
        weights,
    )  # fmt: skip


def VGG11(
    input_shape: Images = (224, 224, 3),
    classes: int = 1000,
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
    name: str = "vgg11",
    *,
    pooling: str | None = None,
    hidden: Sequence[int] = (4096, 4096),
    dropout: float = 0.5,
    weights: None = None,
) -> Sequential:
    """VGG-11: 132,863,336 parameters at 224 × 224 × 3 and 1,000 classes. Arguments and errors as `VGG16`."""
    return _vgg(
        (1, 1, 2, 2, 2), input_shape, classes, include_top, classifier_activation, name, pooling, hidden, dropout,
        weights,
    )  # fmt: skip


def VGG13(
    input_shape: Images = (224, 224, 3),
    classes: int = 1000,
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
    name: str = "vgg13",
    *,
    pooling: str | None = None,
    hidden: Sequence[int] = (4096, 4096),
    dropout: float = 0.5,
    weights: None = None,
) -> Sequential:
    """VGG-13: 133,047,848 parameters at 224 × 224 × 3 and 1,000 classes. Arguments and errors as `VGG16`."""
    return _vgg(
        (2, 2, 2, 2, 2), input_shape, classes, include_top, classifier_activation, name, pooling, hidden, dropout,
        weights,
    )  # fmt: skip


def VGG19(
    input_shape: Images = (224, 224, 3),
    classes: int = 1000,
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
    name: str = "vgg19",
    *,
    pooling: str | None = None,
    hidden: Sequence[int] = (4096, 4096),
    dropout: float = 0.5,
    weights: None = None,
) -> Sequential:
    """VGG-19: 143,667,240 parameters at 224 × 224 × 3 and 1,000 classes. Arguments and errors as `VGG16`."""
    return _vgg(
        (2, 2, 4, 4, 4), input_shape, classes, include_top, classifier_activation, name, pooling, hidden, dropout,
        weights,
    )  # fmt: skip
