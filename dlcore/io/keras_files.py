"""Files as Keras 3 has them, read and written: weights as `.weights.h5`, whole models as `.keras` archives.

An archive holds the architecture as JSON (`keras_config`), the weights, and a note of who wrote it. Weights are HDF5.
The variables of a layer lie, numbered, in a group whose path leads through the attributes that hold the layers
("layers/conv2d_1/vars/0", "layers/bidirectional/forward_layer/cell/vars/2"); a member of a list is called by its
class and a count, whatever its own name is, and its own name stands beside as an attribute. Layouts and the order of
a layer's variables are those here. Needs the extra `keras-files`: pip install 'dlcore[keras-files]'.

A file is read, never executed: links out of the file are not followed, and of an array whose shape does not fit no more
than its shape is looked at.
"""

from __future__ import annotations

import datetime
import io
import json
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..layers.base import Layer
from ..naming import to_snake_case
from ..tensor import Variable
from .safetensors import build_like, built_for, checked_target, moved_into_place, named_weights, saveable

if TYPE_CHECKING:
    from ..models import Model

_WITHIN = "model.weights.h5"  # of a .keras archive
# What h5py, zipfile and zlib raise for damage, of which they have no error of their own.
_UNREADABLE = (
    OSError, RuntimeError, TypeError, LookupError, AttributeError, OverflowError, EOFError, MemoryError, UnicodeError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_KERAS = "3.15.1"  # the version whose format is written
_LIMIT = 1 << 28  # bytes of a configuration, or of a heap of texts
_BLOCK = 1 << 22  # bytes looked through at a time


class _Place(NamedTuple):
    """Where a layer's own variables are: by Keras's path, and by the names of layers of models."""

    path: str
    names: str
    contents: list[Any]
    layer: Any = None


def load_keras_weights(
    model: Model, filepath: Any, by_name: bool = False, skip_mismatch: bool = False
) -> dict[str, list[str]]:
    """Read the weights of a Keras model of the same layers, or of some of them.

    Args:
        model: a built model.
        filepath: what `model.save_weights("….weights.h5")` or `model.save("….keras")` wrote, on this machine.
        by_name: match layers by their names. Otherwise they are matched as Keras does, by class and by their order
            among the layers of their class.
        skip_mismatch: leave weights alone whose shape differs (a replaced head) or that the file lacks, with a warning.
            By name, what the file lacks is left alone anyway.

    Returns:
        Names of weights: "loaded", "skipped" (in the model only, or of another shape); "unused": arrays of the file.

    Raises:
        ModuleNotFoundError: h5py is not installed.
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or not of this kind, or does not fit; the model is unchanged then.
    """
    path = Path(filepath)
    names = {id(variable): name for name, variable in named_weights(model)}
    if not names:
        raise ValueError(f"{model._said} has no weights yet: build it or call it first")
    h5py = _h5py()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    report: dict[str, list[str]] = {"loaded": [], "skipped": [], "unused": []}
    fitting: list[tuple[Variable, np.ndarray]] = []
    own: list[tuple[Layer, dict[str, np.ndarray]]] = []  # layers that see to their arrays themselves
    with ExitStack() as stack:
        try:
            if by_name:
                _check_texts(_stream(path, stack))
            stored = _stored(_opened(h5py, path, stack), h5py, by_name)
        except _UNREADABLE as error:
            raise ValueError(f"{path} is no readable Keras file: it is damaged or of another kind ({error})") from error
        if not stored:
            raise ValueError(
                f"{path} holds no weights as Keras 3 saves them; of a Keras 2 file, make one with Keras 3: load it "
                "there and call save_weights('….weights.h5')"
            )
        found = {place.names if by_name else place.path: place for place in stored}
        unused = {place.path: set(range(len(place.contents))) for place in stored}
        for place in _places(model):
            there = found.get(place.names if by_name else place.path)
            if there is not None and type(place.layer).load_own_variables is not Layer.load_own_variables:
                own.append(
                    (place.layer, {array.name.rpartition("/")[2]: _read(array, path) for array in there.contents})
                )
                report["loaded"] += [names[id(variable)] for variable in place.contents]
                unused[there.path].clear()
                continue
            for i, variable in enumerate(place.contents):
                array = there.contents[i] if there is not None and i < len(there.contents) else None
                fits = array is not None and array.shape == tuple(variable.shape)
                if fits:
                    fitting.append((variable, _read(array, path)))
                    report["loaded"].append(names[id(variable)])
                    unused[there.path].discard(i)
                elif skip_mismatch or (by_name and array is None):
                    report["skipped"].append(names[id(variable)])
                else:
                    what = "lacks it" if array is None else f"has it in shape {array.shape}"
                    raise ValueError(
                        f"{model._said} needs {names[id(variable)]!r} of shape {tuple(variable.shape)} as "
                        f"{place.names if by_name else place.path}, number {i}; {path} {what}"
                    )
        report["unused"] = [place.contents[i].name[1:] for place in stored for i in sorted(unused[place.path])]
    if not fitting and not own:
        raise ValueError(f"{path} holds nothing that fits {model._said}; it has {report['unused'][:5]} …")
    with model._at_home():
        for variable, value in fitting:
            variable.assign(value)
        for layer, store in own:
            layer.load_own_variables(store)
    if report["skipped"] and skip_mismatch:
        warnings.warn(f"weights left as they were: {', '.join(report['skipped'])}", stacklevel=2)
    return report


# ---- whole models ---------------------------------------------------------------------------------------------------


def save_model(model: Model, filepath: Any, overwrite: bool = True, include_optimizer: bool = True) -> None:
    """Write a `.keras` archive, which Keras loads too; see `Model.save`."""
    from ..models import Model
    from .keras_config import serialize_keras_object

    path = checked_target(filepath, overwrite, (".keras",))
    saveable(model)
    for layer in model._flatten_layers():
        if hasattr(layer, "save_assets"):
            raise ValueError(
                f"{layer._said} has save_assets(), which is not supported: put what it keeps into get_config()"
            )
    config = serialize_keras_object(model)
    config["built_for"] = built_for(model)  # beyond Keras, which reads the next line
    config["build_config"] = {"input_shape": _input_shape(model)}
    optimizer = None
    if include_optimizer and getattr(model, "compiled", False):
        own = type(model).get_compile_config is not Model.get_compile_config
        plan = model._compiled("save")
        config["compile_config"] = serialize_keras_object(model.get_compile_config() if own else plan.config)
        optimizer = model.optimizer
    try:
        text = json.dumps(config)
    except (TypeError, ValueError) as error:
        raise ValueError(f"model {model.name!r} cannot be saved: its configuration is not JSON ({error})") from error
    note = {"keras_version": _KERAS, "date_saved": f"{datetime.datetime.now():%Y-%m-%d@%H:%M:%S}", "writer": "dlcore"}
    weights = _h5(model, optimizer)
    with moved_into_place(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr("metadata.json", json.dumps(note))
        archive.writestr("config.json", text)
        archive.writestr(_WITHIN, weights)


def load_model(filepath: Any, custom_objects: dict[str, Any] | None = None, compile: bool = True) -> Model:
    """Read a `.keras` archive, of this library's or of Keras's; see `dlcore.load_model`."""
    from ..models import Model
    from .keras_config import deserialize_keras_object
    from .serialization import custom_object_scope

    path = Path(filepath)
    if path.suffix != ".keras":
        raise ValueError(f"{path} holds weights only, without a model: make the model and call its load_weights()")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > _LIMIT:
                raise ValueError("its configuration is too large")
            config = json.loads(archive.read("config.json"))
        if not isinstance(config, dict):
            raise ValueError("its configuration is no object")
    except (zipfile.BadZipFile, KeyError, OSError, ValueError, NotImplementedError, RecursionError) as error:
        raise ValueError(f"{path} is no readable .keras file: it is damaged or of another kind ({error})") from error
    with custom_object_scope(custom_objects):
        try:
            model = deserialize_keras_object({k: v for k, v in config.items() if k in _OBJECT})
            if isinstance(model, Model):
                _build(model, config)
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path}: its configuration does not describe a model ({error!r})") from error
        if not isinstance(model, Model):
            raise ValueError(f"{path} describes a {type(model).__name__}, which is not a model")
        if named_weights(model):
            load_keras_weights(model, path)
        settings = config.get("compile_config")
        if compile and settings:
            own = type(model).compile_from_config is not Model.compile_from_config
            model.compile_from_config(settings if own else deserialize_keras_object(settings))
            _load_optimizer(model, path)
    return model


_OBJECT = ("module", "class_name", "config", "registered_name")


def save_weights(model: Model, filepath: Any, overwrite: bool = True) -> None:
    """Write the weights alone, as Keras does; see `Model.save_weights`."""
    path = checked_target(filepath, overwrite, (".weights.h5",))
    saveable(model)
    weights = _h5(model, None)
    with moved_into_place(path) as temporary:
        Path(temporary).write_bytes(weights)


def load_weights(
    model: Model, filepath: Any, skip_mismatch: bool = False, by_name: bool = False
) -> dict[str, list[str]]:
    """`load_keras_weights`, under the name that `Model.load_weights` asks for."""
    return load_keras_weights(model, filepath, by_name, skip_mismatch)


def _h5(model: Model, optimizer: Any) -> bytes:
    """The weights as an HDF5 file, and the optimizer's state, each layer's group with its name."""
    buffer = io.BytesIO()
    with _h5py().File(buffer, "w") as file, model._at_home():
        for place in _places(model):
            group = file.create_group(f"{place.path}/vars" if place.path else "vars")
            group.attrs["name"] = place.names.rpartition("/")[2] or model.name
            store: dict[str, Any] = {}
            place.layer.save_own_variables(store)
            for key, array in store.items():
                group[key] = np.asarray(array)
        if optimizer is not None and optimizer.built:
            group = file.create_group("optimizer/vars")
            group.attrs["name"] = optimizer.name
            for number, array in enumerate(_optimizer_state(optimizer)):
                group[str(number)] = array
    return buffer.getvalue()


def _slots(optimizer: Any) -> list[tuple[int, str]]:
    """(place of the variable, slot) in Keras's order: averages and gathered gradients first, then most optimizers go
    from variable to variable, RMSprop and the largest second moments of Adam from slot to slot."""
    names = optimizer._slot_names()
    first = [slot for slot in ("average", "gradient_accumulator") if slot in names]
    slots = [slot for slot in names if slot not in first]
    apart = slots if type(optimizer).__name__ == "RMSprop" else [slot for slot in slots if slot == "velocity_hat"]
    places = range(len(optimizer.variables))
    together = [(place, slot) for place in places for slot in slots if slot not in apart]
    before, after = ([(place, slot) for slot in part for place in places] for part in (first, apart))
    return [*before, *together, *after]


def _optimizer_state(optimizer: Any) -> list[np.ndarray]:
    state = optimizer.get_state()
    arrays = [state[f"{place}/{slot}"] for place, slot in _slots(optimizer)]
    counters = [np.array(state["iterations"], np.int32)]
    if not _has_schedule(optimizer):
        counters.append(np.array(optimizer.learning_rate, np.float32))
    return [*counters, *arrays, *(np.array(state[name], np.float32) for name in optimizer._scalars())]


def _has_schedule(optimizer: Any) -> bool:
    return isinstance(optimizer.get_config()["learning_rate"], dict)


def _load_optimizer(model: Model, path: Path) -> None:
    """The optimizer's state, where the file has one that fits; else it starts anew, with a warning."""
    optimizer, h5py = model.optimizer, _h5py()
    with ExitStack() as stack:
        group = _opened(h5py, path, stack)
        for part in ("optimizer", "vars"):
            group = group.get(part) if isinstance(group.get(part, getlink=True), h5py.HardLink) else None
            if optimizer is None or not isinstance(group, h5py.Group):
                return
        arrays = _arrays(group, h5py)
        if not arrays:
            return
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        rate = [] if _has_schedule(optimizer) else [""]
        names = ["iterations", *rate, *(f"{place}/{slot}" for place, slot in _slots(optimizer)), *optimizer._scalars()]
        expected = {f"{i}/{slot}": tuple(optimizer.variables[i].shape) for i, slot in _slots(optimizer)}
        if len(arrays) != len(names) or any(
            array.shape != expected.get(name, ()) for name, array in zip(names, arrays, strict=True)
        ):
            warnings.warn(f"{path}: the optimizer's state does not fit; it starts anew", stacklevel=4)
            return
        optimizer.set_state({name: _read(array, path) for name, array in zip(names, arrays, strict=True) if name})


def _input_shape(model: Model) -> Any:
    """The shape of what a model without a graph was called with."""
    if model._graph is not None:
        shapes = [list(x.shape) for x in model._graph.inputs]
        return shapes[0] if len(shapes) == 1 else shapes
    calls = model._call_shapes or {"args": []}
    first = next(iter(calls["args"]), None)
    return first["shape"] if isinstance(first, dict) and "shape" in first else None


def _build(model: Model, config: dict[str, Any]) -> None:
    """Give a model that is no graph its weights, by the call that it was built for."""
    if config.get("built_for") is not None:
        build_like(model, config["built_for"])
    elif model._graph is None and not model.built:
        shape = (config.get("build_config") or {}).get("input_shape")
        if shape is None:
            raise ValueError("the file does not say what shape of input the model was built for")
        model.build(tuple(shape))


# ---- the file -------------------------------------------------------------------------------------------------------


def _h5py() -> Any:
    try:
        import h5py
    except ModuleNotFoundError:
        raise ModuleNotFoundError("Keras files need h5py: pip install 'dlcore[keras-files]'") from None
    return h5py


def _opened(h5py: Any, path: Path, stack: ExitStack) -> Any:
    """The open HDF5 file, in an archive or by itself."""
    source = _stream(path, stack) if zipfile.is_zipfile(path) else path
    return stack.enter_context(h5py.File(source, "r"))


def _stream(path: Path, stack: ExitStack) -> Any:
    if not zipfile.is_zipfile(path):
        return stack.enter_context(path.open("rb"))
    return stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open(_WITHIN))


def _check_texts(stream: Any) -> None:
    """Walk the heaps in which an HDF5 file keeps its texts (File Format Specification 3.0, III.E) as HDF5 does, which
    may never come to an end in a damaged one.

    Raises:
        OSError: an entry leads no further, or beyond its heap.
    """
    begun, kept = 0, b""  # where `kept`, the end of the last block, lies in the file
    while block := stream.read(_BLOCK):
        block = kept + block
        for found in re.finditer(rb"GCOL\x01", block):
            stream.seek(begun + found.start() + 8)
            size = int.from_bytes(stream.read(8), "little")
            heap = stream.read(min(size, _LIMIT) - 16) if size > 16 else b""
            place = 0
            while place + 16 <= len(heap):
                index, length = struct.unpack_from("<H6xQ", heap, place)
                step = length if index == 0 else 16 + -(-length // 8) * 8
                if not 16 <= step <= len(heap) - place:
                    raise OSError("the heap of its texts is broken")
                place += step
        begun += len(block)
        kept = block[-15:]  # less than a heap's head
        begun -= len(kept)
        stream.seek(begun + len(kept))


def _stored(file: Any, h5py: Any, by_name: bool) -> list[_Place]:
    """What layers have stored, the optimizer and states of random numbers left out.

    Names are read only where they are asked for.

    Raises:
        ValueError: an array lies outside the file, or holds no numbers.
    """
    groups: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:  # called once for each object; follows no soft or external link
        if name.rpartition("/")[2] == "vars" and isinstance(item, h5py.Group):
            groups[name.rpartition("/")[0]] = item

    file.visititems(visit)
    places = []
    for path, group in groups.items():
        if path.startswith("optimizer") or path.endswith("seed_generator"):
            continue
        if arrays := _arrays(group, h5py):
            places.append(_Place(path, _names(path, groups) if by_name else "", arrays))
    return places


def _arrays(group: Any, h5py: Any) -> list[Any]:
    """The arrays in a group, numbered ones in order. Raises ValueError for one outside the file, or not of numbers."""
    arrays = []
    for key in sorted(group, key=lambda key: (len(key), key)):
        array = group[key] if isinstance(group.get(key, getlink=True), h5py.HardLink) else None
        own = isinstance(array, h5py.Dataset) and not array.external and not array.is_virtual
        if not own or array.dtype.kind not in "fiub":
            raise ValueError(f"{group.file.filename}: {group.name} holds what is no array of numbers of its own")
        arrays.append(array)
    return arrays


def _read(array: Any, path: Path) -> np.ndarray:
    try:
        return np.asarray(array[()])
    except _UNREADABLE as error:
        raise ValueError(f"{path} is damaged: {array.name} cannot be read ({error})") from error


def _names(path: str, groups: dict[str, Any]) -> str:
    """ "layers/sequential/layers/gru/cell" -> "body/memory/cell": members of models' lists of layers by their names."""
    parts = path.split("/")
    named = []
    for i, part in enumerate(parts):
        if part == "layers" and i + 1 < len(parts):
            continue
        if i and parts[i - 1] == "layers":
            group = groups.get("/".join(parts[: i + 1]))
            name = None if group is None else group.attrs.get("name")
            part = name if isinstance(name, str) else part
        named.append(part)
    return "/".join(named)


# ---- the model ------------------------------------------------------------------------------------------------------


def _places(model: Model) -> Iterator[_Place]:
    """Where Keras would store each layer's own variables."""
    seen: set[int] = set()

    def visit(layer: Layer, path: str, names: str) -> Iterator[_Place]:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        if layer._own_variables:
            yield _Place(path, names, layer._own_variables, layer)
        if getattr(layer, "_graph", None) is not None:
            yield from members(layer.layers, _join(path, "layers"), names, True)  # type: ignore[attr-defined]
        for attribute, value in sorted(vars(layer).items()):
            if isinstance(value, Layer):
                yield from visit(value, _join(path, attribute), _join(names, attribute))
            elif not attribute.startswith("_") and isinstance(value, (list, tuple, dict)):
                parts = list(value.values()) if isinstance(value, dict) else list(value)
                yield from members(parts, _join(path, attribute), _join(names, attribute), False)

    def members(parts: list[Any], path: str, names: str, by_name: bool) -> Iterator[_Place]:
        counts: dict[str, int] = {}
        for part in parts:
            if isinstance(part, Layer):
                kind = _kind(part)
                count = counts[kind] = counts.get(kind, -1) + 1
                key = f"{kind}_{count}" if count else kind
                yield from visit(part, _join(path, key), _join(names, part.name if by_name else key))

    yield from visit(model, "", "")


def _kind(layer: Layer) -> str:
    from ..models import Model

    return "functional" if type(layer) is Model else to_snake_case(type(layer).__name__)


def _join(path: str, part: str) -> str:
    return f"{path}/{part}" if path else part
