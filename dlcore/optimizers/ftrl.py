"""Follow the regularised leader."""

from __future__ import annotations

from typing import Any

from .base import Optimizer


class Ftrl(Optimizer):
    """Follow the regularised leader (McMahan et al. 2013), composed of elementwise primitives."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate,
            weight_decay,
            clipnorm,
            clipvalue,
            global_clipnorm,
            gradient_accumulation_steps,
            name,
            **kwargs,
        )
        if learning_rate_power > 0.0:
            raise ValueError(f"Argument `learning_rate_power` must be at most 0. Received: {learning_rate_power}")
        for key, value in (
            ("initial_accumulator_value", initial_accumulator_value),
            ("l1_regularization_strength", l1_regularization_strength),
            ("l2_regularization_strength", l2_regularization_strength),
            ("l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength),
        ):
            if value < 0.0:
                raise ValueError(f"Argument `{key}` must be at least 0. Received: {key}={value}")
        self.learning_rate_power = learning_rate_power
        self.initial_accumulator_value = initial_accumulator_value
        self.l1_regularization_strength = l1_regularization_strength
        self.l2_regularization_strength = l2_regularization_strength
        self.l2_shrinkage_regularization_strength = l2_shrinkage_regularization_strength
        self.beta = beta
        self.slots = {"accumulator": initial_accumulator_value, "linear": 0.0}

    def update(self, p: Any, g: Any, states: dict[str, Any], lr: float, weight_decay: float, step: int) -> None:
        s, z = states["accumulator"], states["linear"]
        t, r = self._temporary(g), self._temporary(g, 1)
        power = -self.learning_rate_power
        l1 = self.l1_regularization_strength
        self._decay(p, lr, weight_decay)
        # z ← z + g + 2·shrinkage·p − (new^power − old^power)/lr · p
        self._op(s, power, r, "pow")
        self._backend.unary(g, t, "square")
        self._op(s, t, s, "add")
        self._op(s, power, t, "pow")
        self._op(t, r, r, "sub")
        self._op(r, 1.0 / lr, r, "mul")
        self._op(r, 2.0 * self.l2_shrinkage_regularization_strength, r, "sub")
        self._op(r, p, r, "mul")
        self._op(g, r, r, "sub")
        self._op(z, r, z, "add")
        # p ← (clip(z, −l1, l1) − z) / (new^power/lr + 2·l2)
        self._op(t, 1.0 / lr, t, "mul")
        self._op(t, 2.0 * (self.l2_regularization_strength + self.beta / (2.0 * lr)), t, "add")
        self._op(z, l1, r, "minimum")
        self._op(r, -l1, r, "maximum")
        self._op(r, z, r, "sub")
        self._op(r, t, p, "div")

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "learning_rate_power": self.learning_rate_power,
            "initial_accumulator_value": self.initial_accumulator_value,
            "l1_regularization_strength": self.l1_regularization_strength,
            "l2_regularization_strength": self.l2_regularization_strength,
            "l2_shrinkage_regularization_strength": self.l2_shrinkage_regularization_strength,
            "beta": self.beta,
        }
