"""The multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

from ..layers import Dense, Flatten, Input
from ..models import Sequential


def MLP(
    input_shape: tuple[int, ...] = (28, 28, 1),
    classes: int = 10,
    hidden: Sequence[int] = (512, 256),
    activation: str = "relu",
    classifier_activation: str | None = "softmax",
    name: str = "mlp",
) -> Sequential:
    """A multi-layer perceptron on flattened input: 784-512-256-10 by default.

    Args:
        input_shape: shape of one sample, without the batch.
        classes: number of classes.
        hidden: units of each hidden layer.
        activation: activation of the hidden layers.
        classifier_activation: activation of the last layer; None for logits.
        name: the model's name.
    """
    return Sequential(
        [
            Input(tuple(input_shape)),
            Flatten(),
            *(Dense(units, activation=activation) for units in hidden),
            Dense(classes, activation=classifier_activation),
        ],
        name=name,
    )
