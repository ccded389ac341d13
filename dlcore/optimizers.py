"""Optimizers with Keras's names, defaults and formulas, on flat buffers.

`build` moves the trainable variables into one parameter buffer per dtype, their gradients into another, and the
optimizer's own states into more of the same length, so that an update of the whole model is one backend call. Each
variable starts at a multiple of 64 bytes; the padding stays zero. Variables and gradients become views of the buffers:
`Variable.data` and `Variable.grad` are re-pointed, and backward writes straight into them.

Used by `model.fit`, or by hand::

    optimizer = optimizers.Adam(1e-3)
    loss.backward()
    optimizer.step(model.trainable_variables)   # applies the gradients, then clears them
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from . import schedules
from .backends import current, use_backend
from .naming import to_snake_case, unknown_name
from .schedules import LearningRateSchedule
from .tensor import Tensor, Variable, no_grad, weights_changed

_ALIGNMENT = 64  # bytes
_UNSUPPORTED = {
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
}  # Keras arguments without an implementation here, with the value that asks for nothing


class _Buffer:
    """The variables of one dtype and their weight decay, laid end to end."""

    def __init__(self, backend: Any, variables: list[Variable], decayed: int, slots: dict[str, float]) -> None:
        dtype = np.dtype(variables[0].dtype)
        unit = _ALIGNMENT // dtype.itemsize
        self.variables = variables
        self.dtype = dtype
        self.bounds: list[tuple[int, int]] = []  # start and end of each variable, padding not included
        end = 0
        for variable in variables:
            self.bounds.append((end, end + variable.size))
            end += -(-variable.size // unit) * unit
        self.size = end
        self.split = self.bounds[decayed][0] if decayed < len(variables) else end  # weight decay ends here
        self.p = backend.zeros((end,), dtype)
        self.g = backend.zeros((end,), dtype)
        self.states = {}
        for slot, initial in slots.items():
            state = backend.zeros((end,), dtype)
            if initial:
                backend.fill(state, initial)
            self.states[slot] = state
        self.data_views = [self.p[a:b].reshape(v.shape) for v, (a, b) in zip(variables, self.bounds, strict=True)]
        self.grad_views = [self.g[a:b].reshape(v.shape) for v, (a, b) in zip(variables, self.bounds, strict=True)]

    def adopt(self, backend: Any) -> None:
        """Bring in what the variables hold where it is not a view of the buffers yet."""
        for i, variable in enumerate(self.variables):
            if variable.data is not self.data_views[i]:
                a, b = self.bounds[i]
                backend.copy(variable.data.reshape(-1), self.p[a:b])
                variable.data = self.data_views[i]
            if variable.grad is not self.grad_views[i]:
                a, b = self.bounds[i]
                if variable.grad is None:
                    backend.fill(self.g[a:b], 0.0)
                else:
                    backend.copy(variable.grad.reshape(-1), self.g[a:b])
                variable.grad = self.grad_views[i]


class Optimizer:
    """Base of all optimizers.

    A subclass names its states in `slots` (name -> initial value) and defines `update`, which changes a flat range of
    the parameters in place.

    Args:
        learning_rate: a float, a `schedules.LearningRateSchedule`, or a function of no arguments.
        weight_decay: decoupled weight decay: before each update p ← p − lr·weight_decay·p.
        clipnorm: largest L2 norm of the gradient of each variable.
        clipvalue: largest absolute value of a gradient's elements.
        global_clipnorm: largest L2 norm of all gradients together.
        gradient_accumulation_steps: apply the mean of the gradients of this many steps, at every such step.
    """

    slots: dict[str, float] = {}  # noqa: RUF012 - overridden per class or instance, never changed in place

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        for key, value in kwargs.items():
            if key not in _UNSUPPORTED:
                raise ValueError(f"{type(self).__name__} got an unknown argument: {key}={value!r}")
            if value != _UNSUPPORTED[key] and key != "ema_momentum":
                raise ValueError(f"Argument `{key}` is not supported here. Received: {key}={value!r}")
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        if sum(value is not None for value in clips.values()) > 1:
            raise ValueError(
                "Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set. Received: "
                + ", ".join(f"{key}={value}" for key, value in clips.items())
            )
        if gradient_accumulation_steps is not None and gradient_accumulation_steps < 2:
            raise ValueError(
                "Argument `gradient_accumulation_steps` must be an integer >= 2. "
                f"Received: gradient_accumulation_steps={gradient_accumulation_steps}"
            )
        self.name = name or to_snake_case(type(self).__name__)
        self.weight_decay = weight_decay
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.built = False
        self._learning_rate: Any = None
        self._set_learning_rate(learning_rate)
        self._steps = 0
        self._backend: Any = None
        self._variables: list[Variable] = []
        self._buffers: list[_Buffer] = []
        self._scratch: dict[Any, Any] = {}
        self._no_decay_variables: set[int] = set()
        self._no_decay_names: re.Pattern[str] | None = None

    # ---- learning rate and counters --------------------------------------------------------------------------

    def _set_learning_rate(self, value: Any) -> None:
        if isinstance(value, dict):
            value = schedules.deserialize(value)
        if not callable(value):
            if isinstance(value, bool | str) or not isinstance(value, float | int | np.number):
                raise ValueError(
                    "Argument `learning_rate` must be a float, a LearningRateSchedule or a function of no arguments. "
                    f"Received: learning_rate={value!r}"
                )
            value = float(value)
        self._learning_rate = value

    @property
    def learning_rate(self) -> float:
        """The rate of the next update. Assign a float, a schedule or a function; a rate that a schedule governs
        cannot be set to a float (TypeError)."""
        rate = self._learning_rate
        if isinstance(rate, float):
            return rate
        return float(rate(self._steps) if isinstance(rate, LearningRateSchedule) else rate())

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if isinstance(self._learning_rate, LearningRateSchedule) and not callable(value):
            raise TypeError(
                "This optimizer was created with a LearningRateSchedule, so that its learning rate cannot be set. "
                "Create it with a float `learning_rate` to set it."
            )
        self._set_learning_rate(value)

    @property
    def iterations(self) -> int:
        """Updates made so far."""
        return self._steps // self.gradient_accumulation_steps if self.gradient_accumulation_steps else self._steps

    @iterations.setter
    def iterations(self, value: int) -> None:
        self._steps = int(value) * (self.gradient_accumulation_steps or 1)

    # ---- buffers ---------------------------------------------------------------------------------------------

    @property
    def variables(self) -> list[Variable]:
        """The variables it was built for."""
        return list(self._variables)

    def exclude_from_weight_decay(
        self, var_list: Iterable[Variable] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Leave variables, or those whose name matches one of `var_names`, out of weight decay. Before `build`."""
        if self.built:
            raise ValueError("`exclude_from_weight_decay()` must be called before the optimizer is built.")
        self._no_decay_variables = {id(variable) for variable in var_list or ()}
        names = list(var_names or ())
        self._no_decay_names = re.compile("|".join(names)) if names else None

    def _decays(self, variable: Variable) -> bool:
        if not self.weight_decay:
            return False
        if id(variable) in self._no_decay_variables:
            return False
        return self._no_decay_names is None or self._no_decay_names.search(variable.name) is None

    def build(self, variables: Iterable[Variable]) -> None:
        """Pack `variables` into flat buffers.

        Called again with another set, it packs anew; variables that stay keep their states, new ones start afresh.
        """
        variables = list(variables)
        if self.built and len(variables) == len(self._variables) and all(map(_same, variables, self._variables)):
            return
        if len({id(v) for v in variables}) != len(variables):
            raise ValueError("Argument `variables` names the same variable twice.")
        old = self._state_views()
        self._backend = backend = current()
        self._scratch = {}
        slots = dict(self.slots)
        if self.gradient_accumulation_steps:
            slots["gradient_accumulator"] = 0.0
        groups: dict[Any, list[Variable]] = {}
        for variable in variables:
            groups.setdefault(np.dtype(variable.dtype), []).append(variable)
        self._buffers = []
        for group in groups.values():
            decayed = [v for v in group if self._decays(v)]
            rest = [v for v in group if not self._decays(v)]
            buffer = _Buffer(backend, decayed + rest, len(decayed), slots)
            buffer.adopt(backend)
            self._buffers.append(buffer)
        self._variables = variables
        for key, view in self._state_views().items():
            if key in old:
                backend.copy(old[key], view)
        self.built = True

    def _state_views(self) -> dict[tuple[int, str], Any]:
        return {
            (id(variable), slot): state[a:b]
            for buffer in self._buffers
            for variable, (a, b) in zip(buffer.variables, buffer.bounds, strict=True)
            for slot, state in buffer.states.items()
        }

    def get_state(self) -> dict[str, np.ndarray]:
        """Everything that a later run needs to go on exactly as this one: name -> host array.

        `iterations`, and `<position of the variable>/<slot>` for every variable in the order of `build`.
        """
        state: dict[str, np.ndarray] = {"iterations": np.array(self._steps, np.int64)}
        views = self._state_views()
        for position, variable in enumerate(self._variables):
            for slot in self._slot_names():
                array = np.array(self._backend.to_numpy(views[id(variable), slot]))
                state[f"{position}/{slot}"] = array.reshape(variable.shape)
        for name, value in self._scalars().items():
            state[name] = np.array(value, np.float64)
        return state

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `get_state` gave; the optimizer must be built for variables of the same shapes.

        Raises:
            ValueError: not built, an entry is missing or has another shape. Nothing is changed then.
        """
        if not self.built:
            raise ValueError("Call `optimizer.build(variables)` before `set_state()`.")
        wanted = {
            f"{position}/{slot}": (id(variable), slot, tuple(variable.shape))
            for position, variable in enumerate(self._variables)
            for slot in self._slot_names()
        }
        for name in ("iterations", *self._scalars(), *wanted):
            if name not in state:
                raise ValueError(f"The optimizer state lacks {name!r}; it was saved by another optimizer or model.")
        for name, (_, _, shape) in wanted.items():
            if np.shape(state[name]) != shape:
                raise ValueError(f"Optimizer state {name!r} has shape {np.shape(state[name])}, expected {shape}.")
        views = self._state_views()
        for name, (variable, slot, _) in wanted.items():
            view = views[variable, slot]
            self._backend.copy(self._backend.asarray(np.asarray(state[name], view.dtype).reshape(-1)), view)
        self._steps = int(state["iterations"])
        self._set_scalars({name: float(state[name]) for name in self._scalars()})

    def _slot_names(self) -> list[str]:
        return [*self.slots, *(["gradient_accumulator"] if self.gradient_accumulation_steps else [])]

    def _scalars(self) -> dict[str, float]:
        """State beside the slots and the counter."""
        return {}

    def _set_scalars(self, values: dict[str, float]) -> None:
        pass

    # ---- applying gradients ----------------------------------------------------------------------------------

    def zero_grad(self) -> None:
        """Set the gradients of the variables it was built for to zero."""
        for buffer in self._buffers:
            self._backend.fill(buffer.g, 0.0)
            for variable, grad in zip(buffer.variables, buffer.grad_views, strict=True):
                variable.grad = grad

    def step(self, variables: Iterable[Variable] | None = None) -> None:
        """Apply the gradients that backward left in the variables, then clear them.

        Args:
            variables: what to update; needed at the first call unless `build` was called.
        """
        if variables is not None:
            self.build(variables)
        elif not self.built:
            raise ValueError("Call `step(variables)` or `build(variables)` first: no variables are known yet.")
        self.update_built()
        self.zero_grad()

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Variable]]) -> int:
        """Apply (gradient, variable) pairs; gives the number of updates made so far."""
        pairs = list(grads_and_vars)
        self.apply([g for g, _ in pairs], [v for _, v in pairs])
        return self._steps

    def apply(self, grads: Sequence[Any], trainable_variables: Iterable[Variable] | None = None) -> None:
        """Update the variables by these gradients (arrays or tensors, one per variable).

        Variables whose gradient is None are left alone, with a warning.

        Raises:
            ValueError: not built and no variables given, a wrong number of gradients, an unknown variable, or no
                gradient at all.
        """
        grads = list(grads)
        if not grads:
            return
        if trainable_variables is None:
            if not self.built:
                raise ValueError("Give `trainable_variables`, or call `optimizer.build(variables)` first.")
            variables = self._variables
        else:
            variables = list(trainable_variables)
            if not self.built:
                self.build(variables)
        if len(grads) != len(variables):
            raise ValueError(f"Got {len(grads)} gradients for {len(variables)} variables.")
        known = {id(variable) for variable in self._variables}
        for variable in variables:
            if id(variable) not in known:
                raise ValueError(
                    f"Unknown variable {variable.name!r}: this optimizer was built for other variables. "
                    "Call `build` with the new set, or make a new optimizer."
                )
        given = {id(v): g for v, g in zip(variables, grads, strict=True) if g is not None}
        if not given:
            raise ValueError("No gradients provided for any variable.")
        if len(given) < len(variables):
            missing = [getattr(v, "path", None) or v.name for v in variables if id(v) not in given]
            warnings.warn(f"No gradients exist for variables {missing}; they are not updated.", stacklevel=2)
        for variable, grad in zip(variables, grads, strict=True):
            if grad is not None and grad is not variable.grad:
                array = grad.data if isinstance(grad, Tensor) else grad
                variable.grad = self._backend.asarray(np.asarray(array)) if isinstance(array, list) else array
        self.update_built(None if len(given) == len(self._variables) else set(given))

    def gradients(self) -> list[Any]:
        """The gradient arrays of the variables it was built for, within the flat buffers."""
        return [view for buffer in self._buffers for view in buffer.grad_views]

    def drop_gradients(self) -> None:
        """Set every variable's `grad` to None."""
        for variable in self._variables:
            variable.grad = None

    def update_built(self, only: set[int] | None = None, packed: bool = False) -> None:
        """One update of the variables it was built for (or those whose ids are in `only`) from their `grad`, or, if
        `packed`, from what is in the gradient buffers."""
        backend = self._backend
        if backend is not current():
            with use_backend(backend):
                self._update_all(backend, only, packed)
        else:
            self._update_all(backend, only, packed)

    def _update_all(self, backend: Any, only: set[int] | None, packed: bool) -> None:
        weights_changed()
        if not packed:
            for buffer in self._buffers:
                buffer.adopt(backend)
        if not self.gradient_accumulation_steps or self._accumulate(backend):
            self._apply_update(backend, only)
        self._constrain(only)
        self._steps += 1

    def _apply_update(self, backend: Any, only: set[int] | None) -> None:
        if self.clipvalue or self.clipnorm or self.global_clipnorm:
            self._clip(backend)
        rate = self.learning_rate
        step = self.iterations + 1
        self.begin_update(step)
        for buffer in self._buffers:
            for start, end in self._ranges(buffer, only):
                whole = start == 0 and end == buffer.size
                p, g = (buffer.p, buffer.g) if whole else (buffer.p[start:end], buffer.g[start:end])
                states = buffer.states if whole else {k: s[start:end] for k, s in buffer.states.items()}
                decay = self.weight_decay if self.weight_decay and start < buffer.split else 0.0
                self.update(p, g, states, rate, decay, step)

    def _constrain(self, only: set[int] | None) -> None:
        """Project variables onto what their constraints allow; after every step, also one that only accumulates."""
        for variable in self._variables:
            if variable.constraint is not None and (only is None or id(variable) in only):
                with no_grad():
                    variable.assign(variable.constraint(variable))

    def _ranges(self, buffer: _Buffer, only: set[int] | None) -> list[tuple[int, int]]:
        if only is None:
            if 0 < buffer.split < buffer.size:
                return [(0, buffer.split), (buffer.split, buffer.size)]
            return [(0, buffer.size)]
        return [bounds for v, bounds in zip(buffer.variables, buffer.bounds, strict=True) if id(v) in only]

    def begin_update(self, step: int) -> None:
        """Called once before the ranges of one update; `step` counts from 1."""

    def update(self, p: Any, g: Any, states: dict[str, Any], lr: float, weight_decay: float, step: int) -> None:
        """Change a flat range of parameters in place.

        Args:
            p: parameters `[K]`, changed in place. g: gradients `[K]`. states: one array `[K]` per slot.
            lr: learning rate. weight_decay: 0 for ranges without. step: number of this update, from 1.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update().")

    # ---- arithmetic on flat buffers --------------------------------------------------------------------------

    def _op(self, a: Any, b: Any, y: Any, op: str) -> None:
        """y = a op b, where a and b are arrays or numbers."""
        backend, dtype = self._backend, y.dtype
        if not hasattr(a, "dtype"):
            a = backend.asarray(np.full((1,), a, dtype))
        if not hasattr(b, "dtype"):
            b = backend.asarray(np.full((1,), b, dtype))
        backend.binary(a, b, y, op)

    def _temporary(self, like: Any, number: int = 0) -> Any:
        """A scratch array like `like`, kept from step to step; `number` tells several apart."""
        key = (like.shape[0], like.dtype, number)
        if key not in self._scratch:
            self._scratch[key] = self._backend.empty(like.shape, like.dtype)
        return self._scratch[key]

    def _decay(self, p: Any, lr: float, weight_decay: float) -> None:
        if weight_decay:
            self._op(p, 1.0 - lr * weight_decay, p, "mul")

    def _blend(self, state: Any, value: Any, keep: float, scratch: Any) -> None:
        """state ← keep·state + (1 − keep)·value."""
        self._op(state, keep, state, "mul")
        self._op(value, 1.0 - keep, scratch, "mul")
        self._op(state, scratch, state, "add")

    def _accumulate(self, backend: Any) -> bool:
        """Add the gradients to the accumulators; at the last step of a cycle put the mean in `g` and say True."""
        steps = self.gradient_accumulation_steps or 1
        last = (self._steps + 1) % steps == 0
        for buffer in self._buffers:
            total = buffer.states["gradient_accumulator"]
            self._op(total, buffer.g, total, "add")
            if last:
                self._op(total, 1.0 / steps, buffer.g, "mul")
                backend.fill(total, 0.0)
        return last

    def _clip(self, backend: Any) -> None:
        if self.clipvalue:
            for buffer in self._buffers:
                self._op(buffer.g, self.clipvalue, buffer.g, "minimum")
                self._op(buffer.g, -self.clipvalue, buffer.g, "maximum")
            return
        squares = []  # sum of squares of each variable's gradient
        for buffer in self._buffers:
            square = self._temporary(buffer.g)
            backend.unary(buffer.g, square, "square")
            sums = backend.empty((len(buffer.bounds), 1), buffer.dtype)
            for i, (a, b) in enumerate(buffer.bounds):
                backend.reduce(square[a:b].reshape(1, b - a, 1), sums[i : i + 1], "sum")
            squares.append(np.asarray(backend.to_numpy(sums), np.float64).reshape(-1))
        if self.global_clipnorm:
            norm = math.sqrt(float(sum(s.sum() for s in squares)))
            if not norm <= self.global_clipnorm:  # a norm that is not finite makes every gradient NaN, as in Keras
                scale = self.global_clipnorm / norm if math.isfinite(norm) else math.nan
                for buffer in self._buffers:
                    self._op(buffer.g, scale, buffer.g, "mul")
            return
        assert self.clipnorm is not None
        for buffer, sums in zip(self._buffers, squares, strict=True):
            for (a, b), norm in zip(buffer.bounds, np.sqrt(sums), strict=True):
                if not norm <= self.clipnorm:
                    self._op(buffer.g[a:b], self.clipnorm / float(norm), buffer.g[a:b], "mul")

    # ---- configuration ---------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, from which `from_config` makes the optimizer again (without its state)."""
        rate = self._learning_rate
        if isinstance(rate, LearningRateSchedule):
            rate = schedules.serialize(rate)
        elif callable(rate):
            rate = float(rate())
        return {
            "name": self.name,
            "learning_rate": rate,
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "clipvalue": self.clipvalue,
            "global_clipnorm": self.global_clipnorm,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} learning_rate={self._learning_rate!r} iterations={self.iterations}>"


def _same(a: object, b: object) -> bool:
    return a is b


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


_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    cls.__name__.lower(): cls for cls in (SGD, Adagrad, RMSprop, Adam, AdamW, Adamax, Nadam, Adadelta, Ftrl)
}
_ABSENT = {"lion": "AdamW", "adafactor": "AdamW", "muon": "AdamW", "lamb": "AdamW"}


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """`{"class_name", "config"}` of an optimizer."""
    return {"class_name": type(optimizer).__name__, "config": optimizer.get_config()}


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Optimizer:
    """The optimizer that `serialize` described. Raises ValueError for an unknown name."""
    name = config["class_name"]
    for known, cls in (custom_objects or {}).items():
        if known == name:
            return cls.from_config(dict(config.get("config", {})))
    cls = _OPTIMIZERS.get(str(name).lower())
    if cls is None:
        if str(name).lower() in _ABSENT:
            raise ValueError(f"Optimizer {name!r} is not supported; use {_ABSENT[str(name).lower()]!r} instead.")
        raise unknown_name("optimizer", name, _OPTIMIZERS)
    return cls.from_config(dict(config.get("config", {})))  # type: ignore[attr-defined]


def get(identifier: Any) -> Optimizer | None:
    """An optimizer from its name (any case), its configuration or an instance; None stays None.

    Raises:
        ValueError: no optimizer of that name.
    """
    if identifier is None or isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, str):
        return deserialize({"class_name": identifier})
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, type) and issubclass(identifier, Optimizer):
        return identifier()  # type: ignore[call-arg]
    raise ValueError(f"Argument `optimizer` must be a name, a configuration or an Optimizer. Received: {identifier!r}")


def __getattr__(name: str) -> Any:
    from .absent import absent

    raise absent("optimizers", name, list(globals()))
