"""`Optimizer`: learning rate, flat buffers, clipping, averages, and the step that applies gradients."""

from __future__ import annotations

import math
import re
import warnings
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .. import schedules
from ..backends import current, use_backend
from ..backends.registry import stand_in
from ..naming import to_snake_case
from ..schedules import LearningRateSchedule
from ..tensor import Tensor, Variable, attribute_changed, no_grad, weights_changed
from .buffer import Buffer


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
        use_ema: keep an average of each variable, average ← ema_momentum·average + (1 − ema_momentum)·p after every
            step, the first values at the first; the variables get it at the end of `fit`.
        ema_overwrite_frequency: give the variables their averages after every so many steps, too.
        loss_scale_factor: `scale_loss` multiplies the loss by it, and the gradients are divided by it.
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
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        **kwargs: Any,
    ) -> None:
        for key, value in kwargs.items():
            raise ValueError(f"{type(self).__name__} got an unknown argument: {key}={value!r}")
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
        if not 0 <= ema_momentum <= 1:
            raise ValueError(f"Argument `ema_momentum` must lie in 0 … 1. Received: ema_momentum={ema_momentum}")
        if ema_overwrite_frequency is not None and (
            not isinstance(ema_overwrite_frequency, int) or ema_overwrite_frequency < 1
        ):
            raise ValueError(
                "Argument `ema_overwrite_frequency` must be an integer >= 1 or None. "
                f"Received: ema_overwrite_frequency={ema_overwrite_frequency!r}"
            )
        if loss_scale_factor is not None and not loss_scale_factor > 0:
            raise ValueError(
                "Argument `loss_scale_factor` must be positive or None. "
                f"Received: loss_scale_factor={loss_scale_factor!r}"
            )
        self.name = name or to_snake_case(type(self).__name__)
        self.weight_decay = weight_decay
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.use_ema = use_ema
        self.ema_momentum = ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self._loss_scale_factor = loss_scale_factor
        self.built = False
        self._learning_rate: Any = None
        self._set_learning_rate(learning_rate)
        self._steps = 0
        self._backend: Any = None
        self._variables: list[Variable] = []
        self._trains: weakref.ref[Any] | None = None  # the model that it was first built for
        self._left: dict[int, tuple[weakref.ref[Variable], dict[str, Any]]] = {}  # states of what it trained before
        self._buffers: list[Buffer] = []
        self._scratch: dict[Any, Any] = {}
        self._no_decay_variables: dict[int, Variable] = {}  # by id
        self._no_decay_names: re.Pattern[str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy or pickle holds the variables and the states; the buffers are packed anew from these."""
        dropped = ("_buffers", "_scratch", "_trains", "_left")
        state = {name: value for name, value in self.__dict__.items() if name not in dropped}
        state["_no_decay_variables"] = list(self._no_decay_variables.values())
        state["_values"] = self.get_state() if self.built else None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _buffers=[], _scratch={}, _trains=None, _left={}, built=False)
        self._no_decay_variables = {id(variable): variable for variable in state["_no_decay_variables"]}
        values = self.__dict__.pop("_values")
        if values is not None:
            with stand_in(self._backend):
                self.build(self._variables)
                self.set_state(values)

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

    @property
    def loss_scale_factor(self) -> float | None:
        return self._loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, value: float | None) -> None:
        self._loss_scale_factor = value
        attribute_changed()

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
        self._no_decay_variables = {id(variable): variable for variable in var_list or ()}
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

        Called again with another set, it packs anew; variables that stay, or come back, keep their states, new ones
        start afresh.
        """
        variables = list(variables)
        if self.built and len(variables) == len(self._variables) and all(map(_same, variables, self._variables)):
            return
        if len({id(v) for v in variables}) != len(variables):
            raise ValueError("Argument `variables` names the same variable twice.")
        self._backend = backend = current()
        old = self._states_before(set(map(id, variables)))
        self._scratch = {}
        slots = dict.fromkeys(self._slot_names(), 0.0) | self.slots
        groups: dict[Any, list[Variable]] = {}
        for variable in variables:
            groups.setdefault(np.dtype(variable.dtype), []).append(variable)
        self._buffers = []
        for group in groups.values():
            decayed = [v for v in group if self._decays(v)]
            rest = [v for v in group if not self._decays(v)]
            buffer = Buffer(backend, decayed + rest, len(decayed), slots)
            buffer.adopt(backend)
            self._buffers.append(buffer)
        self._variables = variables
        states = self._states()
        for variable in variables:
            known = old.get(id(variable), {})
            for slot, view in states[id(variable)].items():
                if slot in known:
                    backend.copy(known[slot], view)
                elif slot == "average":  # else the zeros of a variable that comes late would end in its values
                    backend.copy(variable.data.reshape(-1), view)
        self.built = True

    def adopt(self) -> None:
        """Bring the variables back into the flat buffers, should they lie elsewhere."""
        for buffer in self._buffers:
            buffer.adopt_data(self._backend)

    def build_for(self, model: Any, variables: Iterable[Variable]) -> None:
        """`build` for what a model trains now.

        Raises:
            ValueError: it trains another model, to which `variables` do not belong either.
        """
        variables = list(variables)
        if self.built:
            known = {id(variable) for variable in self._variables}
            if self._trains is None:  # built by hand, or copied
                own = not known.isdisjoint(map(id, model.weights))
            else:
                own = self._trains() is model
            if not own:
                for variable in variables:
                    if id(variable) not in known:
                        raise self._unknown(variable)
        self.build(variables)
        if self._trains is None:
            self._trains = weakref.ref(model)

    def _unknown(self, variable: Variable) -> ValueError:
        return ValueError(
            f"Unknown variable {variable.path!r}: {type(self).__name__} optimizer {self.name!r} belongs to other "
            "variables, for which it was built. Give each model an optimizer of its own (a new instance, or a name as "
            "in `compile('adam')`); for a changed set of variables in a loop of your own, call `build` with it."
        )

    def _states(self) -> dict[int, dict[str, Any]]:
        """Id of a variable -> slot -> its range of the flat state."""
        return {
            id(variable): {slot: state[a:b] for slot, state in buffer.states.items()}
            for buffer in self._buffers
            for variable, (a, b) in zip(buffer.variables, buffer.bounds, strict=True)
        }

    def _states_before(self, wanted: set[int]) -> dict[int, dict[str, Any]]:
        """The states of the variables so far; of those that are not `wanted` now, copies are kept for a return."""
        known = self._left
        self._left = {key: kept for key, kept in known.items() if kept[0]() is not None and key not in wanted}
        back = {key: states for key, (variable, states) in known.items() if variable() is not None and key in wanted}
        built = self._states()
        for variable in self._variables:
            if built and id(variable) not in wanted:
                copies = {slot: _copy(view, self._backend) for slot, view in built[id(variable)].items()}
                self._left[id(variable)] = weakref.ref(variable), copies
        return back | built

    def get_state(self) -> dict[str, np.ndarray]:
        """Everything that a later run needs to go on exactly as this one: name -> host array.

        `iterations`, and `<position of the variable>/<slot>` for every variable in the order of `build`.
        """
        state: dict[str, np.ndarray] = {"iterations": np.array(self._steps, np.int64)}
        states = self._states()
        for position, variable in enumerate(self._variables):
            for slot in self._slot_names():
                array = np.array(self._backend.to_numpy(states[id(variable)][slot]))
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
        states = self._states()
        for name, (variable, slot, _) in wanted.items():
            view = states[variable][slot]
            self._backend.copy(self._backend.asarray(np.asarray(state[name], view.dtype).reshape(-1)), view)
        self._steps = int(state["iterations"])
        self._set_scalars({name: float(state[name]) for name in self._scalars()})

    def _slot_names(self) -> list[str]:
        accumulator = ["gradient_accumulator"] if self.gradient_accumulation_steps else []
        return [*self.slots, *accumulator, *(["average"] if self.use_ema else [])]

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
                raise self._unknown(variable)
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
        for variable in self._variables:
            if id(variable) not in given:
                variable.grad = None  # else the one before would count once more
        self.update_built(None if len(given) == len(self._variables) else set(given))

    def gradients(self) -> list[Any]:
        """The gradient arrays of the variables it was built for, within the flat buffers."""
        return [view for buffer in self._buffers for view in buffer.grad_views]

    def drop_gradients(self) -> None:
        """Set every variable's `grad` to None."""
        for variable in self._variables:
            if variable.grad is not None:
                variable.grad = None

    def update_built(self, only: set[int] | None = None, packed: bool = False) -> None:
        """One update of the variables it was built for (or those whose ids are in `only`) from their `grad`, or, if
        `packed`, from what is in the gradient buffers."""
        backend = self._backend
        if backend is not current():
            with use_backend(backend):
                self.update_built(only, packed)
            return
        weights_changed()
        if not packed:
            for buffer in self._buffers:
                buffer.adopt(backend)
        if self.loss_scale_factor is not None:
            for buffer in self._buffers:
                self._op(buffer.g, 1.0 / self.loss_scale_factor, buffer.g, "mul")
        if not self.gradient_accumulation_steps or self._accumulate(backend, only):
            self._apply_update(backend, only)
        if self.use_ema:
            self._average()
        self._constrain(only)
        self._steps += 1

    def _apply_update(self, backend: Any, only: set[int] | None) -> None:
        if self.clipvalue or self.clipnorm or self.global_clipnorm:
            self._clip(backend)
        rate, step = self.learning_rate, self.iterations + 1
        self.begin_update(step)
        for buffer in self._buffers:
            parts = buffer.parts if only is None else self._parts_of(buffer, only)
            for p, g, states, decays in parts:
                self.update(p, g, states, rate, (decays and self.weight_decay) or 0.0, step)

    def _constrain(self, only: set[int] | None) -> None:
        """Project variables onto what their constraints allow; after every step, also one that only accumulates."""
        for variable in self._variables:
            if variable.constraint is not None and (only is None or id(variable) in only):
                with no_grad():
                    variable.assign(variable.constraint(variable))

    def _parts_of(self, buffer: Buffer, only: set[int]) -> list[tuple[Any, Any, dict[str, Any], bool]]:
        return [buffer.part(*ends) for v, ends in zip(buffer.variables, buffer.bounds, strict=True) if id(v) in only]

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

    def _accumulate(self, backend: Any, only: set[int] | None) -> bool:
        """Add the gradients to the accumulators; at the last step of a cycle put the mean in `g` and say True. Of what
        is not updated then it stays for the next cycle."""
        steps = self.gradient_accumulation_steps or 1
        last = (self._steps + 1) % steps == 0
        for buffer in self._buffers:
            total = buffer.states["gradient_accumulator"]
            self._op(total, buffer.g, total, "add")
            if last:
                self._op(total, 1.0 / steps, buffer.g, "mul")
                for _, _, states, _ in buffer.parts if only is None else self._parts_of(buffer, only):
                    backend.fill(states["gradient_accumulator"], 0.0)
        return last

    def _average(self) -> None:
        """Take the parameters into their averages, and the other way round where that is due."""
        keep = self.ema_momentum if self.iterations else 0.0
        for buffer in self._buffers:
            self._blend(buffer.states["average"], buffer.p, keep, self._temporary(buffer.p))
        if self.ema_overwrite_frequency and (self.iterations + 1) % self.ema_overwrite_frequency == 0:
            self._take_averages()

    def _take_averages(self) -> None:
        weights_changed()
        for buffer in self._buffers:
            self._backend.copy(buffer.states["average"], buffer.p)
            for variable, view in zip(buffer.variables, buffer.data_views, strict=True):
                variable.data = view

    def finalize_variable_values(self, var_list: Any = None) -> None:
        """With `use_ema`, give the variables it was built for their averages; `fit` ends with this."""
        if self.use_ema and self._steps:
            with use_backend(self._backend):
                self._take_averages()

    def scale_loss(self, loss: Any) -> Any:
        """The loss to call `backward` of: times loss_scale_factor."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

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
            "use_ema": self.use_ema,
            "ema_momentum": self.ema_momentum,
            "ema_overwrite_frequency": self.ema_overwrite_frequency,
            "loss_scale_factor": self.loss_scale_factor,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} learning_rate={self._learning_rate!r} iterations={self.iterations}>"


def _same(a: object, b: object) -> bool:
    return a is b


def _copy(array: Any, backend: Any) -> Any:
    copy = backend.empty(array.shape, array.dtype)
    backend.copy(array, copy)
    return copy
