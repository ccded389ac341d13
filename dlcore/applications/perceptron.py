"""The perceptron and its learning rule: Rosenblatt, "The perceptron: a probabilistic model for information storage and
organization in the brain", Psychological Review 65, 1958."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..layers import Dense, Flatten, Input
from ..models import Sequential
from ..tensor import no_grad
from ..training import unpack_x_y_sample_weight


class Perceptron(Sequential):
    """Units with a step activation, ŷ = 1 where x·w + b > 0 and else 0, that learn by their mistakes:

        w ← w + η (y − ŷ) x,   b ← b + η (y − ŷ).

    The step has no gradient, so `fit` hands the optimizer this rule in a gradient's place; with SGD(η) it is the rule
    itself, summed over a batch (batch_size=1 is Rosenblatt's). Where a plane separates the classes it ends after
    finitely many mistakes (Novikoff 1962); where none does, as for XOR, it never ends.

    `compile(optimizers.SGD(1.0), loss="mae", metrics=["accuracy"])`: the loss then is the share of mistakes.

    Args:
        input_shape: shape of one sample, without the batch.
        units: number of outputs, each with a plane of its own.
        name: the model's name.
    """

    def __init__(self, input_shape: tuple[int, ...] = (2,), units: int = 1, name: str = "perceptron") -> None:
        dense = Dense(units, activation=F.step, kernel_initializer="zeros")
        super().__init__([Input(tuple(input_shape)), Flatten(), dense], name=name)

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        flatten, dense = self.layers
        assert isinstance(dense, Dense)
        with no_grad():
            guess = self(x, training=True)
            mistake = guess - F.reshape(F.cast(y, guess.dtype), guess.shape)
            if sample_weight is not None:
                mistake = mistake * F.reshape(F.cast(sample_weight, guess.dtype), (-1, 1))
            gradients = [F.matmul(flatten(x), mistake, transpose_a=True), F.sum(mistake, axis=0)]
            self.optimizer.apply(gradients, [dense.kernel, dense.bias])
            loss = self.compute_loss(x, y, guess, sample_weight)
        self._compiled("fit").loss_tracker.update_state(loss, x.shape[0])
        return self.compute_metrics(x, y, guess, sample_weight)
