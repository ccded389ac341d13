"""LeNet-5."""

from __future__ import annotations

from ..layers import AveragePooling2D, Conv2D, Dense, Flatten, Input
from ..models import Sequential
from .common import check_images


def LeNet5(
    input_shape: tuple[int, int, int] = (32, 32, 1),
    classes: int = 10,
    classifier_activation: str | None = "softmax",
    name: str = "lenet5",
    *,
    include_top: bool = True,
    weights: None = None,
) -> Sequential:
    """LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998), with plain average pooling and every feature map of the second
    convolution seeing all of the first: 61,706 parameters at 32 × 32 × 1 and 10 classes.

    Args:
        input_shape: (height, width, channels). Below 32 × 32 the first convolution pads its input (`same`), as is
            usual for 28 × 28; at least 12 × 12.
        classes: number of classes.
        classifier_activation: activation of the last layer; None for logits.
        name: the model's name.
        include_top: whether the dense layers at the end are there; without them the features `[N, h, w, 16]` come out.
        weights: None; trained weights are read with `load_weights`.

    Raises:
        ValueError: the images are too small, or weights is not None.
    """
    shape = check_images(input_shape, 12, weights)
    features = [
        Input(shape),
        Conv2D(6, 5, padding="valid" if min(n or 32 for n in shape[:2]) >= 32 else "same", activation="tanh"),
        AveragePooling2D(2),
        Conv2D(16, 5, activation="tanh"),
        AveragePooling2D(2),
    ]
    head = [
        Flatten(),
        Dense(120, activation="tanh"),
        Dense(84, activation="tanh"),
        Dense(classes, activation=classifier_activation),
    ]
    return Sequential(features + head if include_top else features, name=name)
