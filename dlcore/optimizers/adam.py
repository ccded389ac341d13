"""Adam and its kin: running means of the gradients, divided by those of their squares or sizes."""

from __future__ import annotations

from typing import Any

from .base import Optimizer


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), both moments bias-corrected; AMSGrad (Reddi et al. 2018) with `amsgrad`.

    As in Keras ε is added to √v before its correction ("epsilon hat" of the paper's section 2).
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
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
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.amsgrad = amsgrad
        self.slots = {"momentum": 0.0, "velocity": 0.0}
        if amsgrad:
            self.slots["velocity_hat"] = 0.0

    def update(self, p: Any, g: Any, states: dict[str, Any], lr: float, weight_decay: float, step: int) -> None:
        self._backend.adam(
            p,
            g,
            states["momentum"],
            states["velocity"],
            states.get("velocity_hat"),
            lr,
            self.beta_1,
            self.beta_2,
            self.epsilon,
            weight_decay,
            step,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
        }


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if weight_decay is None:
            raise ValueError("Argument `weight_decay` must be a float. Received: weight_decay=None")
        super().__init__(
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            amsgrad,
            weight_decay,
            clipnorm,
            clipvalue,
            global_clipnorm,
            gradient_accumulation_steps,
            name,
            **kwargs,
        )


class Adamax(Optimizer):
    """Adam with the infinity norm (Kingma & Ba 2015, section 7), composed of elementwise primitives."""

    slots = {"momentum": 0.0, "norm": 0.0}  # noqa: RUF012

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
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
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def update(self, p: Any, g: Any, states: dict[str, Any], lr: float, weight_decay: float, step: int) -> None:
        m, u, t = states["momentum"], states["norm"], self._temporary(g)
        self._decay(p, lr, weight_decay)
        self._blend(m, g, self.beta_1, t)
        self._op(u, self.beta_2, u, "mul")
        self._backend.unary(g, t, "abs")
        self._op(u, t, u, "maximum")
        self._op(u, self.epsilon, t, "add")
        self._op(m, t, t, "div")
        self._op(t, lr / (1.0 - self.beta_1**step), t, "mul")
        self._op(p, t, p, "sub")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}


class Nadam(Adamax):
    """Adam with Nesterov momentum (Dozat 2015) and its momentum schedule, composed of elementwise primitives."""

    slots = {"momentum": 0.0, "velocity": 0.0}  # noqa: RUF012
    _product = 1.0  # of the scheduled momenta so far

    def begin_update(self, step: int) -> None:
        self._product *= self.beta_1 * (1.0 - 0.5 * 0.96**step)

    def update(self, p: Any, g: Any, states: dict[str, Any], lr: float, weight_decay: float, step: int) -> None:
        m, v, t, s = states["momentum"], states["velocity"], self._temporary(g), self._temporary(g, 1)
        u = self.beta_1 * (1.0 - 0.5 * 0.96**step)
        u_next = self.beta_1 * (1.0 - 0.5 * 0.96 ** (step + 1))
        self._decay(p, lr, weight_decay)
        self._blend(m, g, self.beta_1, t)
        self._backend.unary(g, t, "square")
        self._blend(v, t, self.beta_2, t)
        self._op(m, u_next / (1.0 - self._product * u_next), t, "mul")
        self._op(g, (1.0 - u) / (1.0 - self._product), s, "mul")
        self._op(t, s, t, "add")
        self._op(v, 1.0 / (1.0 - self.beta_2**step), s, "mul")
        self._backend.unary(s, s, "sqrt")
        self._op(s, self.epsilon, s, "add")
        self._op(t, s, t, "div")
        self._op(t, lr, t, "mul")
        self._op(p, t, p, "sub")

    def _scalars(self) -> dict[str, float]:
        return {"momentum_product": self._product}

    def _set_scalars(self, values: dict[str, float]) -> None:
        self._product = values["momentum_product"]
