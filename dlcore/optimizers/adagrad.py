"""Adagrad and what grew out of it: each parameter's step is divided by the root of its squared gradients so far."""

from __future__ import annotations

from typing import Any

from .base import Optimizer


class Adagrad(Optimizer):
    """s ← s + g², p ← p − lr·g/√(s + ε), s starting at `initial_accumulator_value` (Duchi et al. 2011)."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
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
        self.initial_accumulator_value = initial_accumulator_value
        self.epsilon = epsilon
        self.slots = {"accumulator": initial_accumulator_value}

    def update(self, p: Any, g: Any, states: dict[str, Any], lr: float, weight_decay: float, step: int) -> None:
        self._decay(p, lr, weight_decay)
        self._backend.adagrad(p, g, states["accumulator"], lr, self.epsilon)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "initial_accumulator_value": self.initial_accumulator_value,
            "epsilon": self.epsilon,
        }


class RMSprop(Optimizer):
    """s ← ρ·s + (1 − ρ)·g², p ← p − lr·g/√(s + ε) (Tieleman & Hinton 2012); optionally centered, with momentum."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
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
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon
        self.centered = centered
        self.slots = {"velocity": 0.0}
        if momentum > 0:
            self.slots["momentum"] = 0.0
        if centered:
            self.slots["average_gradient"] = 0.0

    def update(self, p: Any, g: Any, states: dict[str, Any], lr: float, weight_decay: float, step: int) -> None:
        self._decay(p, lr, weight_decay)
        self._backend.rmsprop(
            p,
            g,
            states["velocity"],
            states.get("momentum"),
            states.get("average_gradient"),
            lr,
            self.rho,
            self.momentum,
            self.epsilon,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "centered": self.centered,
        }


class Adadelta(Optimizer):
    """Adadelta (Zeiler 2012), composed of elementwise primitives."""

    slots = {"accumulated_grad": 0.0, "accumulated_delta_var": 0.0}  # noqa: RUF012

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
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
        self.rho = rho
        self.epsilon = epsilon

    def update(self, p: Any, g: Any, states: dict[str, Any], lr: float, weight_decay: float, step: int) -> None:
        s, d = states["accumulated_grad"], states["accumulated_delta_var"]
        t, delta = self._temporary(g), self._temporary(g, 1)
        self._decay(p, lr, weight_decay)
        self._backend.unary(g, t, "square")
        self._blend(s, t, self.rho, t)
        self._op(d, self.epsilon, delta, "add")
        self._op(s, self.epsilon, t, "add")
        self._op(delta, t, delta, "div")
        self._backend.unary(delta, delta, "sqrt")
        self._op(delta, g, delta, "mul")
        self._backend.unary(delta, t, "square")
        self._blend(d, t, self.rho, t)
        self._op(delta, lr, delta, "mul")
        self._op(p, delta, p, "sub")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rho": self.rho, "epsilon": self.epsilon}
