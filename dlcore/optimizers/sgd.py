"""Gradient descent, with momentum or without."""

from __future__ import annotations

from typing import Any

from ..naming import unknown_name
from .base import Optimizer


class SGD(Optimizer):
    """Gradient descent, plain or with momentum.

    Args:
        momentum: β in 0 … 1; 0 is plain p ← p − lr·g.
        nesterov: short for form="nesterov".
        form: which momentum. "classical" (Polyak 1964): m ← β·m − lr·g, p ← p + m. "nesterov" (Sutskever et al.
            2013): the same m, then p ← p + β·m − lr·g. "averaged", the form of many courses:
            m ← β·m + (1 − β)·g, p ← p − lr·m. The classical form moves 1/(1 − β) times as far as the averaged one.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        form: str | None = None,
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
        if isinstance(momentum, bool) or not isinstance(momentum, float | int) or not 0 <= momentum <= 1:
            raise ValueError(f"Argument `momentum` must be a number in 0 … 1. Received: momentum={momentum!r}")
        if form is None:
            form = "nesterov" if nesterov else "classical"
        if form not in ("classical", "nesterov", "averaged"):
            raise unknown_name("form of momentum", form, ("classical", "nesterov", "averaged"))
        if nesterov and form != "nesterov":
            raise ValueError(f"Arguments `nesterov=True` and `form={form!r}` contradict each other.")
        self.momentum = float(momentum)
        self.form = form
        self.nesterov = form == "nesterov"
        self.slots = {"momentum": 0.0} if self.momentum else {}

    def update(self, p: Any, g: Any, states: dict[str, Any], lr: float, weight_decay: float, step: int) -> None:
        self._decay(p, lr, weight_decay)
        if self.momentum:
            self._backend.momentum(p, g, states["momentum"], lr, self.momentum, self.form)
        else:
            self._backend.sgd(p, g, lr)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov, "form": self.form}
