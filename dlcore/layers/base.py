"""`Layer`: state, its creation from input shapes, and the call; semantics as in Keras 3."""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Any

import numpy as np

from .. import constraints, initializers, regularizers
from ..backends import current
from ..backends.interface import Array, Backend
from ..naming import to_snake_case
from ..symbolic import Node, SymbolicTensor, flatten, map_shapes, map_structure
from ..tensor import Tensor, Variable, as_tensor, attribute_changed, is_grad_enabled, no_grad
from .input_spec import InputSpec

_WEIGHT_ARGUMENTS: dict[str, Any] = {
    "initializer": initializers,
    "regularizer": regularizers,
    "constraint": constraints,
}
_name_counts: dict[str, int] = {}


def unique_name(prefix: str) -> str:
    """`dense`, then `dense_1`, `dense_2` …"""
    count = _name_counts.get(prefix, 0)
    _name_counts[prefix] = count + 1
    return f"{prefix}_{count}" if count else prefix


def clear_names(free_memory: bool = True) -> None:
    """Let the names of layers that get none start anew: `dense`, `dense_1` …

    Args:
        free_memory: as in Keras, without effect: there is no other global state.
    """
    _name_counts.clear()


class _Signature:
    """What `__call__` must know of a layer's `call`, worked out once per class."""

    def __init__(self, call: Callable) -> None:
        parameters = list(inspect.signature(call).parameters.values())[1:]
        names = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        self.names = names
        self.has_training = "training" in names
        self.has_mask = "mask" in names
        self.mask_names = [name for name in names if name.endswith("_mask") and name[:-5] in names]
        default = next((p.default for p in parameters if p.name == "training"), None)
        self.training_default = None if default is inspect.Parameter.empty else default


class _Scope(threading.local):
    """Where a thread stands in nested layer calls."""

    depth = 0
    building: tuple[Layer, ...] = ()  # whose weights are being made, the outermost first
    training: bool | None = None
    token: object = None  # one per outermost call; tells this pass's losses from older ones


_scope = _Scope()


def get_mask(x: Any) -> Array | None:
    """The mask (bool array `[N, T]` in the engine's memory) that a layer has attached to a tensor, or None."""
    return x.mask if isinstance(x, Tensor) else None


class Layer:
    """A function with weights.

    A subclass defines `call`, and `build(input_shape)` if it has weights that depend on its input's shape; both may
    use `add_weight`. Layers and Variables assigned to attributes, also within lists, tuples and dicts, are tracked.

    Args:
        activity_regularizer: regularizer of the outputs, divided by the batch size.
        trainable: whether its weights are trained.
        dtype: "float32" or "float64": of its weights and of the floating inputs it works with.
        name: unique within a model; numbered after the class if None.
    """

    _arguments: tuple[tuple, dict[str, Any]]  # of the constructor
    _state: list  # tracked Variables, Layers and containers of them, in order of creation
    _frozen: set[int]  # ids of the Variables that were created as not trainable
    _made: set[int]  # ids of those that add_weight made
    _losses: list[Tensor]  # added in the pass that _token stands for
    _token: object
    _nodes: list[Node]
    _engine: Backend | None  # where its own weights are
    _changes: int  # how often an attribute was set; recorded steps hold only while it stays
    _output_shape: Any
    _weight_arguments: tuple[str, ...]  # "kernel" for the arguments kernel_initializer, kernel_regularizer …
    _supports_masking: bool
    built: bool
    input_spec: Any
    _bookkeeping: frozenset[str] = frozenset()  # attributes that no step depends on
    _uncopied: frozenset[str] = frozenset({"_losses", "_nodes", "_token"})  # those that a copy or pickle lacks
    _mixes_samples = False  # in training a sample's output depends on the others of its batch
    _takes_lists = False  # of numbers, as its first argument
    _real_inputs = False  # integer and bool inputs are cast to the layer's dtype too

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        layer = super().__new__(cls)
        layer.__dict__.update(
            _arguments=(args, kwargs),
            _state=[],
            _frozen=set(),
            _made=set(),
            _losses=[],
            _token=None,
            _nodes=[],
            _trainable=True,
            _engine=None,
            _changes=0,
            _output_shape=None,
            _weight_arguments=(),
            _supports_masking=cls.compute_mask is not Layer.compute_mask,
            built=False,
            input_spec=None,
        )
        return layer

    def __init__(
        self,
        *,
        activity_regularizer: Any = None,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        input_shape = kwargs.pop("input_shape", None)
        if "input_dim" in kwargs:
            input_shape = (kwargs.pop("input_dim"),)
        kwargs.pop("autocast", None)
        if kwargs:
            raise ValueError(f"{type(self).__name__} got unknown keyword argument(s) {', '.join(map(repr, kwargs))}")
        if not isinstance(trainable, bool):
            raise ValueError(f"trainable must be True or False, got {trainable!r}")
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(f"name must be a non-empty string without '/', got {name!r}")
        self._input_shape_argument = None if input_shape is None else tuple(input_shape)
        self._name = unique_name(to_snake_case(type(self).__name__)) if name is None else name
        self._trainable = trainable
        self._dtype = _real_dtype(dtype)
        self.activity_regularizer = regularizers.get(activity_regularizer)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name not in self._uncopied}
        for name in ("_frozen", "_made"):  # the ids of a copy's variables are others
            state[name] = [variable for variable in self._own_variables if id(variable) in state[name]]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name in ("_frozen", "_made"):
            self.__dict__[name] = set(map(id, state[name]))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in cls.__dict__:
            cls.build = _noting_build(cls.__dict__["build"])  # type: ignore[method-assign]
        if "call" in cls.__dict__:
            cls._call_signature = _Signature(cls.call)

    # ---- what a subclass defines --------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Create the weights for inputs of this shape (batch first; None where a length varies)."""
        self.built = True

    def call(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define call()")

    _call_signature = _Signature(call)

    def compute_output_shape(self, *args: Any, **kwargs: Any) -> Any:
        """Shape of the output for a shape of the input. Unless a subclass says, `call` is tried on zeros."""
        shape = next(iter((*args, *kwargs.values())))
        inputs = map_shapes(lambda s: SymbolicTensor(s, self._dtype), shape)
        return map_structure(lambda t: t.shape, self._infer_by_running((inputs,), {}))

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The mask of the outputs; passes the one of the inputs on unless a subclass says otherwise."""
        return previous_mask

    def get_config(self) -> dict[str, Any]:
        """Arguments from which `from_config` makes the layer again, without its weights."""
        config: dict[str, Any] = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype}
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        for which in self._weight_arguments:
            for kind, module in _WEIGHT_ARGUMENTS.items():
                config[f"{which}_{kind}"] = module.serialize(getattr(self, f"{which}_{kind}"))
        if type(self).get_config is Layer.get_config:  # a custom class that did not write one
            config.update(self._init_config())
            parameters = inspect.signature(type(self).__init__).parameters
            if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
                config = {key: value for key, value in config.items() if key in parameters}
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A new layer from what `get_config` gave."""
        return cls(**config)

    def _init_config(self) -> dict[str, Any]:
        cls = type(self)
        if cls.__init__ is Layer.__init__:
            return {}
        parameters = inspect.signature(cls.__init__).parameters
        args, kwargs = self._arguments
        given = dict(inspect.signature(cls.__init__).bind(self, *args, **kwargs).arguments)
        given.pop(next(iter(parameters)))
        for parameter in parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                given.update(given.pop(parameter.name, {}))
            elif parameter.kind is inspect.Parameter.VAR_POSITIONAL and given.get(parameter.name):
                raise NotImplementedError(f"{cls.__name__} takes *{parameter.name}: it needs a get_config() of its own")
        return given

    # ---- identity -----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def _said(self) -> str:
        """How messages call this layer."""
        return f"layer {self._name!r} ({type(self).__name__})"

    @property
    def dtype(self) -> str:
        return self._dtype.name

    @property
    def compute_dtype(self) -> str:
        return self._dtype.name

    @property
    def variable_dtype(self) -> str:
        return self._dtype.name

    @property
    def supports_masking(self) -> bool:
        return self._supports_masking

    @supports_masking.setter
    def supports_masking(self, value: bool) -> None:
        self._supports_masking = value

    @property
    def input(self) -> Any:
        """The symbolic input of its first call in a graph."""
        node = self._first_node("input")
        return node.args[0] if node.args else node.outputs

    @property
    def output(self) -> Any:
        """The symbolic output of its first call in a graph."""
        return self._first_node("output").outputs

    def _first_node(self, attribute: str) -> Node:
        if not self._nodes:
            raise AttributeError(f"{self._said} has no {attribute}: it was not called on symbolic tensors yet")
        return self._nodes[0]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self._name}, built={self.built}>"

    # ---- state --------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        state = self.__dict__
        if name not in self._bookkeeping:
            self._note_change()
        if name in state and state[name] is not value:
            self._forget(name, state[name])
        if _may_hold_state(value) and not isinstance(getattr(type(self), name, None), property):
            if not any(value is known for known in self._state):
                self._state.append(value)
            for v in flatten(value):
                if isinstance(v, Variable) and not v.trainable and id(v) not in self._made:
                    self._frozen.add(id(v))
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        self._note_change()
        self._forget(name, self.__dict__.get(name))
        object.__delattr__(self, name)

    def _note_change(self) -> None:
        self.__dict__["_changes"] += 1
        attribute_changed()

    def _forget(self, name: str, old: Any) -> None:
        """Stop tracking what attribute `name` held, unless another attribute holds it too."""
        if _may_hold_state(old) and not any(value is old for key, value in self.__dict__.items() if key != name):
            self._state[:] = [known for known in self._state if known is not old]

    def _own(self) -> Iterator[Any]:
        """Tracked Variables and Layers of this layer, in order of creation, each once."""
        seen: set[int] = set()

        def walk(value: Any) -> Iterator[Any]:
            if isinstance(value, (Variable, Layer)):
                if id(value) not in seen:
                    seen.add(id(value))
                    yield value
            elif isinstance(value, (list, tuple)):
                for part in value:
                    yield from walk(part)
            elif isinstance(value, dict):
                for part in value.values():
                    yield from walk(part)

        for value in self._state:
            yield from walk(value)

    @property
    def _own_variables(self) -> list[Variable]:
        own = [v for v in self._own() if isinstance(v, Variable)]
        return [v for v in own if id(v) not in self._frozen] + [v for v in own if id(v) in self._frozen]

    @property
    def _sublayers(self) -> list[Layer]:
        return [v for v in self._own() if isinstance(v, Layer)]

    def _flatten_layers(self) -> list[Layer]:
        """This layer and every layer within it, each once, depth first."""
        found: dict[int, Layer] = {}
        stack = [self]
        while stack:
            layer = stack.pop()
            if id(layer) not in found:
                found[id(layer)] = layer
                stack.extend(reversed(layer._sublayers))
        return list(found.values())

    @property
    def weights(self) -> list[Variable]:
        """All its Variables: its own trainable ones, its own others, then those of its layers."""
        found: dict[int, Variable] = {}
        for layer in self._flatten_layers():
            for variable in layer._own_variables:
                found.setdefault(id(variable), variable)
        return list(found.values())

    @property
    def variables(self) -> list[Variable]:
        return self.weights

    @property
    def trainable_weights(self) -> list[Variable]:
        return [v for v in self.weights if v.trainable] if self._trainable else []

    @property
    def non_trainable_weights(self) -> list[Variable]:
        return [v for v in self.weights if not v.trainable] if self._trainable else self.weights

    @property
    def trainable_variables(self) -> list[Variable]:
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Variable]:
        return self.non_trainable_weights

    @property
    def trainable(self) -> bool:
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        value = bool(value)
        self._trainable = value
        for variable in self._own_variables:
            if id(variable) not in self._frozen:
                variable.trainable = value
        for layer in self._sublayers:
            layer.trainable = value

    def add_weight(
        self,
        shape: Any = None,
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> Variable:
        """Create a weight, track it and return it.

        Args:
            shape: its lengths; () for a scalar.
            initializer: an initializer, its name or a function of (shape, dtype); "glorot_uniform" if None.
            trainable: whether an optimizer changes it.
            regularizer: its penalty, part of `losses`.
            constraint: what the optimizer makes of its value after each update.
            name: the attribute's name is the custom.
        """
        for ignored in ("autocast", "aggregation", "overwrite_with_gradient"):
            kwargs.pop(ignored, None)
        if kwargs:
            raise TypeError(f"add_weight of {self._said} got unknown argument(s) {', '.join(map(repr, kwargs))}")
        shape = () if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
        if any(n is None for n in shape):
            raise ValueError(f"{self._said} cannot make weight {name!r} of shape {shape}: every length must be known")
        dtype = self._dtype if dtype is None else np.dtype(dtype)
        if initializer is None:
            initializer = "glorot_uniform" if dtype.kind == "f" else "zeros"
        initial = initializers.get(initializer)(tuple(int(n) for n in shape), dtype=dtype)
        if isinstance(initial, Tensor):
            initial = initial.numpy()
        initial = np.asarray(initial, dtype)
        if initial.shape != shape:
            raise ValueError(f"initializer of weight {name!r} of {self._said} gave {initial.shape}, expected {shape}")
        # a frozen layer may be built after it was frozen: its weights thaw with it, unlike those that never train
        name = name or unique_name("variable")
        variable = Variable(initial, trainable=trainable and self._trainable, name=name, dtype=dtype)
        with self._making_weights():
            variable.path = "/".join([*(layer._name for layer in _scope.building), variable.name])
        variable.regularizer = regularizers.get(regularizer)
        variable.constraint = constraints.get(constraint)
        self._note_change()
        self._state.append(variable)
        self._made.add(id(variable))
        if not trainable:
            self._frozen.add(id(variable))
        self.__dict__["_engine"] = current()
        return variable

    add_variable = add_weight

    @contextmanager
    def _making_weights(self) -> Iterator[None]:
        """Weights that are made meanwhile, by this layer or within it, have its name in their path."""
        outer = _scope.building
        if self not in outer:
            _scope.building = (*outer, self)
        try:
            yield
        finally:
            _scope.building = outer

    def _take_weight_arguments(
        self, which: str, initializer: Any, regularizer: Any = None, constraint: Any = None
    ) -> None:
        """Keep the three arguments that describe a weight, as attributes and for the config."""
        given = {"initializer": initializer, "regularizer": regularizer, "constraint": constraint}
        for kind, module in _WEIGHT_ARGUMENTS.items():
            setattr(self, f"{which}_{kind}", module.get(given[kind]))
        self._weight_arguments = (*self._weight_arguments, which)

    def _add_described(self, which: str, shape: Any, name: str | None = None, initializer: Any = None) -> Variable:
        """The weight that the arguments of this name describe; called so itself unless `name` says otherwise."""
        return self.add_weight(
            shape,
            initializer or getattr(self, f"{which}_initializer"),
            regularizer=getattr(self, f"{which}_regularizer"),
            constraint=getattr(self, f"{which}_constraint"),
            name=name or which,
        )

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the values of `weights`."""
        return [np.array(v.numpy()) for v in self.weights]

    def set_weights(self, weights: Iterable[Any]) -> None:
        """Give `weights` new values, in their order.

        Raises:
            ValueError: their number or a shape differs; nothing is changed then.
        """
        values = [np.asarray(value) for value in weights]
        variables = self.weights
        if len(values) != len(variables):
            raise ValueError(f"{self._said} has {len(variables)} weights, set_weights got {len(values)}")
        for variable, value in zip(variables, values, strict=True):
            if tuple(variable.shape) != value.shape:
                raise ValueError(
                    f"weight {variable.path!r} of {self._said} has shape {tuple(variable.shape)}, got {value.shape}"
                )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def save_own_variables(self, store: dict[str, Any]) -> None:
        """Put the arrays of its own Variables into `store`, as a `.keras` file keeps them: "0", "1" …"""
        for number, variable in enumerate(self._own_variables):
            store[str(number)] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Take over what `save_own_variables` put into `store`."""
        for number, variable in enumerate(self._own_variables):
            variable.assign(store[str(number)])

    def count_params(self) -> int:
        """How many numbers its weights hold.

        Raises:
            ValueError: it is not built yet.
        """
        if not self.built and not self.weights:
            raise ValueError(f"{self._said} has no weights yet: it is not built; call it or build() it first")
        return sum(int(np.prod(v.shape, dtype=np.int64)) for v in self.weights)

    # ---- losses of its own --------------------------------------------------------------------------------------

    def add_loss(self, loss: Any) -> None:
        """Add a scalar to the losses of this pass; a model's training adds them to its loss."""
        self._losses.append(as_tensor(loss))

    @property
    def losses(self) -> list[Tensor]:
        """Losses that it and its layers added in its last call, then the penalties of regularised weights."""
        found = [loss for layer in self._flatten_layers() if layer._token is self._token for loss in layer._losses]
        found += [v.regularizer(v) for v in self.trainable_weights if v.regularizer is not None]
        return found

    # ---- the call -----------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if "_name" not in self.__dict__:
            raise RuntimeError(f"{type(self).__name__}.__init__() must call super().__init__() first")
        first = args[0] if args else None
        simple = isinstance(first, Tensor) and len(args) == 1 and not kwargs
        if not simple:
            leaves = flatten((args, kwargs))
            if any(isinstance(leaf, SymbolicTensor) for leaf in leaves):
                return self._call_symbolic(args, kwargs)
            if not self._takes_lists and _lists_numbers(first):
                raise ValueError(
                    f"{self._said} expected tensors or arrays, got a {type(first).__name__} of numbers; "
                    "make an array of it with numpy.asarray"
                )
            args = map_structure(self._convert, args)
            kwargs = {
                key: value
                if key == "training"
                else map_structure(_as_mask, _listed_mask(value))
                if "mask" in key
                else map_structure(self._convert_keyword, value)
                for key, value in kwargs.items()
            }
            first = args[0] if args else next((v for k, v in kwargs.items() if k != "training"), None)
        elif first.data.dtype != self._dtype:
            first = self._convert(first)
            args = (first,)
        spec = self.input_spec
        if spec is not None:
            if simple and type(spec) is InputSpec:
                spec.check(first.data.shape, self)
            else:
                self._check_inputs(first)
        if not self.built:
            self._build_for(args, kwargs)
            if self.input_spec is not None:
                self._check_inputs(first)

        signature = self._call_signature
        outer = _scope.training
        training = kwargs.pop("training", None) if kwargs else None
        if training is None:
            training = outer if outer is not None else signature.training_default
        if signature.has_training and training is not None:
            kwargs["training"] = training
        mask = get_mask(first) if isinstance(first, Tensor) else map_structure(get_mask, first)
        if signature.has_mask:
            if kwargs.get("mask") is None and _any(mask):
                kwargs["mask"] = mask
            elif "mask" in kwargs:
                mask = kwargs["mask"]
        for name in signature.mask_names:
            if kwargs.get(name) is None:
                tensors = self._bound(args, kwargs).get(name[:-5])
                kwargs[name] = map_structure(get_mask, tensors)

        if _scope.depth == 0:
            _scope.token = object()
        if self._token is not _scope.token:
            state = self.__dict__
            state["_token"] = _scope.token
            if self._losses:
                state["_losses"] = []
        _scope.depth += 1
        _scope.training = training
        try:
            with nullcontext() if self._output_shape is not None else self._making_weights():  # the first call
                outputs = self.call(*args, **kwargs)
        finally:
            _scope.depth -= 1
            _scope.training = outer

        if self.activity_regularizer is not None:
            for output in flatten(outputs):
                self.add_loss(self.activity_regularizer(output) / max(output.shape[0] if output.ndim else 1, 1))
        if self._supports_masking:
            if _any(mask) or type(self).compute_mask is not Layer.compute_mask:
                self._attach_mask(first, outputs, mask)
        elif _any(mask):
            warnings.warn(
                f"{self._said} got an input with a mask but does not support masking: layers after it will not see it",
                stacklevel=2,
            )
        if self._output_shape is None:
            self.__dict__["built"] = True
            self.__dict__["_output_shape"] = map_structure(
                lambda x: (None, *x.shape[1:]) if isinstance(x, Tensor) else None, outputs
            )
        return outputs

    def _convert(self, x: Any) -> Any:
        """A positional argument as a tensor, floating ones in the layer's dtype."""
        if x is None:
            return None
        if not isinstance(x, Tensor):
            if not isinstance(x, np.ndarray) and not hasattr(x, "__array__") and not isinstance(x, (int, float)):
                raise ValueError(
                    f"{self._said} expected tensors or arrays as positional arguments, got {type(x).__name__} ({x!r}); "
                    "pass anything else by keyword"
                )
            if isinstance(x, np.ndarray) and x.dtype != self._dtype and (x.dtype.kind == "f" or self._real_inputs):
                if x.dtype.kind not in "fiub":
                    raise TypeError(f"{self._said} expected real numbers, got an array of dtype {x.dtype}")
                x = x.astype(self._dtype)
            x = as_tensor(x)
        if x.dtype != self._dtype and (self._real_inputs or x.dtype.kind == "f"):
            from .. import functional as F

            mask = get_mask(x)
            x = F.cast(x, self._dtype)
            if mask is not None:
                x.mask = mask
        return x

    def _convert_keyword(self, x: Any) -> Any:
        return self._convert(x) if isinstance(x, (np.ndarray, Tensor)) else x

    def _bound(self, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
        names = self._call_signature.names
        return {names[i] if i < len(names) else f"argument {i}": arg for i, arg in enumerate(args)} | kwargs

    def _check_inputs(self, first: Any) -> None:
        specs = self.input_spec if isinstance(self.input_spec, (list, tuple)) else [self.input_spec]
        inputs = flatten(first)
        if len(inputs) != len(specs):
            raise ValueError(f"{self._said} expected {len(specs)} input(s), got {len(inputs)}")
        if specs is not self.input_spec and (first is None or isinstance(first, (list, tuple, dict))):
            raise ValueError(f"{self._said} expected one tensor or array, got {_kind(first)}")
        for x, spec in zip(inputs, specs, strict=True):
            if spec is not None and x is not None:
                spec.check(x.shape, self)

    def _attach_mask(self, inputs: Any, outputs: Any, previous: Any) -> None:
        leaves = flatten(outputs)
        if all(get_mask(x) is not None for x in leaves):
            return
        masks = self.compute_mask(inputs, previous)
        if masks is None:
            return
        for x, mask in zip(leaves, flatten(masks), strict=False):
            if isinstance(x, Tensor) and mask is not None:
                x.mask = _as_mask(mask)

    # ---- building -----------------------------------------------------------------------------------------------

    def _build_for(self, args: tuple, kwargs: dict[str, Any]) -> None:
        """Call `build` with the shapes of a call's arguments."""
        if type(self).build is Layer.build:
            return  # a subclass without build() makes its weights elsewhere, or has none
        self._check_arguments(args, kwargs)
        names = list(inspect.signature(type(self).build).parameters)[1:]
        bound = {name: value for name, value in self._bound(args, kwargs).items() if name != "training"}
        if not bound:
            raise ValueError(f"{self._said} was called without arguments")
        if len(names) > 1 and all(name.endswith("_shape") for name in names):
            shapes = {name: _shape_of(bound.get(name[:-6])) for name in names}
            self.build(**shapes)
        else:
            self.build(_shape_of(next(iter(bound.values()))))
        self.__dict__["built"] = True

    def _check_arguments(self, args: tuple, kwargs: dict[str, Any]) -> None:
        """Raise TypeError where arguments of `call` are missing, or are too many."""
        parameters = inspect.signature(self.call).parameters.values()
        places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        missing = [
            p.name
            for p in places[len(args) :]
            if p.default is p.empty and p.name not in kwargs and p.name != "training" and not p.name.endswith("mask")
        ]
        if missing and (args or kwargs):
            raise TypeError(f"{self._said} was called without its argument {', '.join(map(repr, missing))}")
        if len(args) > len(places) and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
            raise TypeError(f"{self._said} takes {len(places)} argument(s), got {len(args)}")

    def _call_symbolic(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        bound = self._bound(args, kwargs)
        first = next(iter(bound.values()))
        for leaf in flatten((args, kwargs)):
            if isinstance(leaf, SymbolicTensor):
                continue
            if isinstance(leaf, Tensor) and leaf.requires_grad and is_grad_enabled():
                raise ValueError(
                    f"{self._said} got a tensor that needs a gradient among symbolic ones; make it a weight of a layer"
                )
        if self.input_spec is not None:
            self._check_inputs(first)
        if not self.built:
            self._build_for(args, kwargs)
            if self.input_spec is not None:
                self._check_inputs(first)
        outputs = self.compute_output_spec(*args, **kwargs)
        self.__dict__["built"] = True
        Node(self, args, kwargs, outputs)
        if self._supports_masking:
            self._note_masks(first, outputs)
        self.__dict__["_output_shape"] = map_structure(lambda t: t.shape, outputs)
        return outputs

    def _note_masks(self, inputs: Any, outputs: Any) -> None:
        """Note which symbolic outputs will carry a mask: those for which `compute_mask` gives one for zeros."""
        zeros = map_structure(lambda leaf: _zeros(leaf, 2, 32), inputs)
        masks = map_structure(get_mask, zeros)
        if not _any(masks) and type(self).compute_mask is Layer.compute_mask:
            return
        with no_grad():
            masks = self.compute_mask(zeros, masks)
        for x, mask in zip(flatten(outputs), flatten(masks), strict=False):
            x.masked = mask is not None

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """The symbolic outputs of a call on symbolic inputs."""
        if type(self).compute_output_shape is Layer.compute_output_shape:
            return self._infer_by_running(args, kwargs)
        names = [
            p.name
            for p in inspect.signature(self.compute_output_shape).parameters.values()
            if p.default is inspect.Parameter.empty and p.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        bound = self._bound(args, kwargs)
        if len(names) > 1 and all(name.endswith("_shape") for name in names):
            shapes = self.compute_output_shape(**{name: _shape_of(bound.get(name[:-6])) for name in names})
        else:
            shapes = self.compute_output_shape(_shape_of(next(iter(bound.values()))))
        return map_shapes(lambda shape: SymbolicTensor(shape, self._output_dtype(args)), shapes)

    def _output_dtype(self, args: tuple) -> np.dtype:
        return self._dtype

    def _infer_by_running(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Run the call on zeros, twice: the lengths that follow the unknown ones of the inputs are unknown too."""

        def run(batch: int, other: int) -> Any:
            def zeros(leaf: Any) -> Any:
                return _zeros(leaf, batch, other)

            depth, training = _scope.depth, _scope.training
            _scope.depth, _scope.training = 1, False
            try:
                with no_grad():
                    return self(*map_structure(zeros, args), **map_structure(zeros, kwargs))
            finally:
                _scope.depth, _scope.training = depth, training

        small, large = run(2, 32), run(3, 48)

        def symbolic(leaves: Iterator) -> Callable[[Any], Any]:
            def one(x: Any) -> Any:
                y = next(leaves)
                if not isinstance(x, Tensor):
                    raise TypeError(f"call() of {self._said} must return tensors, got {type(x).__name__}")
                shape = tuple(n if n == m else None for n, m in zip(x.shape, y.shape, strict=True))
                return SymbolicTensor(shape, x.dtype)

            return one

        return map_structure(symbolic(iter(flatten(large))), small)


def _noting_build(build: Callable) -> Callable:
    """`build` as a subclass wrote it, and then `built` is set; the paths of the weights name the layer."""

    @wraps(build)
    def noting(self: Layer, *args: Any, **kwargs: Any) -> None:
        with self._making_weights():
            build(self, *args, **kwargs)
        self.__dict__["built"] = True

    return noting


def _zeros(leaf: Any, batch: int, other: int) -> Any:
    """Zeros, masked where they will be, in place of a symbolic tensor, whose unknown lengths are batch and other."""
    if not isinstance(leaf, SymbolicTensor):
        return leaf
    shape = [(batch if axis == 0 else other) if n is None else n for axis, n in enumerate(leaf.shape)]
    x = as_tensor(np.zeros(shape, leaf.dtype))
    if leaf.masked:
        x.mask = as_tensor(np.ones(shape[:2], bool)).data
    return x


def _shape_of(structure: Any) -> Any:
    return map_structure(lambda x: tuple(x.shape) if hasattr(x, "shape") else None, structure)


def _lists_numbers(x: Any) -> bool:
    leaves = flatten(x) if isinstance(x, (list, tuple)) else []
    return bool(leaves) and all(isinstance(leaf, (int, float, np.generic)) for leaf in leaves)


def _kind(x: Any) -> str:
    return "None" if x is None else f"a {type(x).__name__}"


def _listed_mask(mask: Any) -> Any:
    """A mask given as a list of truth values, as an array."""
    return np.asarray(mask, bool) if _lists_numbers(mask) else mask


def _as_mask(mask: Any) -> Any:
    return as_tensor(mask).data if isinstance(mask, (Tensor, np.ndarray)) else mask


def _any(mask: Any) -> bool:
    return mask is not None and any(m is not None for m in flatten(mask))


def _may_hold_state(value: Any) -> bool:
    """Whether an attribute's value may bring weights; a list or a dict may get some later."""
    if isinstance(value, tuple):
        return any(_may_hold_state(part) for part in value)
    return isinstance(value, (Variable, Layer, list, dict))


def _real_dtype(dtype: Any) -> np.dtype:
    try:
        dtype = np.dtype("float32" if dtype is None else dtype)
    except TypeError:
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}") from None
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype.name!r}")
    return dtype
