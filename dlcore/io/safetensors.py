"""Models and weights in safetensors files.

A file holds the weights under the paths of their Variables ("dense/kernel"), the optimizer's state under "optimizer:…",
and in its metadata the format's version, the order of the weights, the SHA-256 of all tensors and, for a whole model,
architecture, compilation and where its streams of random numbers are, as JSON. Nothing in a file is ever executed. A
file is written beside its target and then moved there, so that a failure leaves what was there before.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..random import SeedGenerator
from ..tensor import Variable

if TYPE_CHECKING:
    from ..layers.base import Layer
    from ..models import Model

FORMAT_VERSION = 1
_SUFFIX = ".safetensors"
_OPTIMIZER = "optimizer:"
# What constructors raise for arguments that are not theirs; their ValueErrors say what is wrong, and go through.
_WRONG = (TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def save_model(model: Model, filepath: Any, overwrite: bool = True, include_optimizer: bool = True) -> None:
    """Write architecture, weights, compilation and optimizer state; see `Model.save`."""
    from .. import layers

    path = checked_target(filepath, overwrite)
    named = saveable(model)
    document: dict[str, Any] = {"model": layers.serialize(model), "built_for": built_for(model)}
    tensors = {name: variable.numpy() for name, variable in named}
    if include_optimizer and getattr(model, "compiled", False):
        document["compile"] = model.get_compile_config()
        if "<lambda>" in str(document["compile"]):
            raise ValueError(
                f"model {model.name!r} is compiled with a lambda, which has no name to be found by when it is loaded: "
                "use a def, or save with include_optimizer=False"
            )
        document["random"] = random_state(model)
        optimizer = model.optimizer
        if optimizer is not None and getattr(optimizer, "built", False):
            with model._at_home():
                tensors |= {_OPTIMIZER + name: np.asarray(value) for name, value in optimizer.get_state().items()}
    try:
        text = json.dumps(document)
    except TypeError as error:
        raise ValueError(f"model {model.name!r} cannot be saved: its configuration is not JSON ({error})") from error
    _write(path, tensors, [name for name, _ in named], {"architecture": text})


def load_model(filepath: Any, custom_objects: dict[str, Any] | None = None, compile: bool = True) -> Model:
    """Read what `save_model` wrote; see `dlcore.load_model`."""
    from .. import layers
    from ..models import Model
    from .serialization import custom_object_scope, named_custom_objects

    path = Path(filepath)
    tensors, order, metadata = _read(path)
    if "architecture" not in metadata:
        raise ValueError(f"{path} holds weights only, without a model: make the model and call its load_weights()")
    try:
        document = json.loads(metadata["architecture"])
        config, for_call = document["model"], document["built_for"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: its architecture cannot be read ({error!r})") from error
    with custom_object_scope(custom_objects):
        try:
            model = layers.deserialize(config)
        except _WRONG as error:
            raise ValueError(f"{path}: its architecture does not describe a model of this library ({error})") from error
        if not isinstance(model, Model):
            raise ValueError(f"{path} describes a {type(model).__name__}, which is not a model")
        try:
            build_like(model, for_call)
        except _WRONG as error:
            raise ValueError(f"{path} is damaged: its model cannot be called as it says ({error})") from error
        _assign(model, [(name, tensors[name]) for name in order], path)
        settings = document.get("compile")
        if compile and settings is not None:
            try:
                model.compile_from_config(_with_custom(settings, named_custom_objects()))
            except (ValueError, *_WRONG) as error:
                raise ValueError(
                    f"{path}: {error} What is your own must be passed in custom_objects; compile=False loads the model "
                    "without its compilation."
                ) from error
            state = {k.removeprefix(_OPTIMIZER): v for k, v in tensors.items() if k.startswith(_OPTIMIZER)}
            if state and model.optimizer is not None:
                if not model.optimizer.built:
                    model.optimizer.build(model.trainable_variables)
                try:
                    model.optimizer.set_state(state)
                except (ValueError, *_WRONG) as error:
                    raise ValueError(f"{path} is damaged: its optimizer's state does not fit ({error})") from error
            if "random" in document:
                try:
                    set_random_state(model, document["random"])
                except (ValueError, KeyError, TypeError, OverflowError) as error:
                    raise ValueError(f"{path} is damaged: its random state does not fit the model ({error})") from error
    return model


def random_state(model: Model) -> dict[str, Any]:
    """Where the orders of samples and each layer's masks are in their streams of random numbers: plain JSON."""
    streams = [list(stream.state) for stream in _streams(model)]
    return {"shuffles": model._shuffler().bit_generator.state, "streams": streams}


def set_random_state(model: Model, state: dict[str, Any]) -> None:
    """Let a model's training go on from where `random_state` was taken; the library's own generator stays as it is."""
    streams = _streams(model)
    values = [(int(seed), int(offset)) for seed, offset in state["streams"]]
    if len(values) != len(streams):
        raise ValueError(f"it has {len(values)} streams, the model {len(streams)}")
    generator = np.random.default_rng()
    generator.bit_generator.state = state["shuffles"]
    for stream, value in zip(streams, values, strict=True):
        stream.state = value
    vars(model)["_shuffles"] = generator


def _streams(model: Model) -> list[SeedGenerator]:
    values = [value for layer in model._flatten_layers() for value in vars(layer).values()]
    return [value for value in values if isinstance(value, SeedGenerator)]


def save_weights(model: Model, filepath: Any, overwrite: bool = True) -> None:
    """Write the weights alone; see `Model.save_weights`."""
    path = checked_target(filepath, overwrite)
    named = saveable(model)
    _write(path, {name: variable.numpy() for name, variable in named}, [name for name, _ in named], {})


def load_weights(
    model: Model, filepath: Any, skip_mismatch: bool = False, by_name: bool = False
) -> dict[str, list[str]]:
    """Read weights into a model; see `Model.load_weights`."""
    path = Path(filepath)
    tensors, order, _ = _read(path)
    named = named_weights(model)
    if not named:
        raise ValueError(f"model {model.name!r} has no weights yet: build it or call it before load_weights()")
    if by_name:
        pairs = [(name, variable, tensors.get(name)) for name, variable in named]
    else:
        if len(order) != len(named) and not skip_mismatch:
            raise ValueError(
                f"{path} holds {len(order)} weights, model {model.name!r} has {len(named)}; "
                "by_name=True loads the layers whose names agree"
            )
        values = [tensors[name] for name in order]
        pairs = [(name, variable, values[i] if i < len(values) else None) for i, (name, variable) in enumerate(named)]
    report: dict[str, list[str]] = {"loaded": [], "skipped": [], "unused": []}
    fitting: list[tuple[Variable, np.ndarray]] = []
    for name, variable, value in pairs:
        if value is not None and value.shape == tuple(variable.shape):
            report["loaded"].append(name)
            fitting.append((variable, value))
        elif value is not None and not skip_mismatch:
            raise ValueError(
                f"{path}: weight {name!r} has shape {value.shape}, model {model.name!r} needs {tuple(variable.shape)}"
            )
        else:
            report["skipped"].append(name)
    names = {name for name, _ in named}
    report["unused"] = [name for name in order if name not in names] if by_name else order[len(named) :]
    if by_name and not fitting:
        raise ValueError(f"{path} and model {model.name!r} have no weight's name in common; the file has {order[:5]} …")
    with model._at_home():
        for variable, value in fitting:
            variable.assign(value)
    if report["skipped"] and skip_mismatch:
        warnings.warn(f"weights left as they were: {', '.join(report['skipped'])}", stacklevel=3)
    return report


def named_weights(layer: Layer) -> list[tuple[str, Variable]]:
    """(path, Variable) for each of its `weights`, in their order; the path leads through the names of its layers."""
    found: dict[int, tuple[str, Variable]] = {}
    used: dict[str, int] = {}

    def visit(part: Layer, prefix: str, above: tuple[int, ...]) -> None:
        for variable in part._own_variables:
            if id(variable) not in found:
                name = f"{prefix}{variable.name}"
                used[name] = used.get(name, -1) + 1
                found[id(variable)] = (f"{name}_{used[name]}" if used[name] else name, variable)
        for inner in part._sublayers:
            if id(inner) not in above:
                visit(inner, f"{prefix}{inner.name}/", (*above, id(inner)))

    visit(layer, "", (id(layer),))
    return [found[id(variable)] for variable in layer.weights]


def _with_custom(settings: Any, custom_objects: dict[str, Any]) -> Any:
    """The configuration of a compilation with what it calls by a custom object's name put in."""
    if isinstance(settings, str):
        return custom_objects.get(settings, settings)
    if isinstance(settings, list):
        return [_with_custom(part, custom_objects) for part in settings]
    if not isinstance(settings, dict):
        return settings
    name = settings.get("class_name")
    if name == "function":
        return custom_objects.get(settings.get("config", ""), settings)
    if isinstance(name, str) and name in custom_objects:
        return custom_objects[name].from_config(settings.get("config") or {})
    return {key: _with_custom(part, custom_objects) for key, part in settings.items()}


def saveable(model: Model) -> list[tuple[str, Variable]]:
    if not model.built:
        raise ValueError(
            f"model {model.name!r} is not built, so that there are no weights to save; call it or build() it"
        )
    return named_weights(model)


def built_for(model: Model) -> Any:
    """What a model that is no graph must be called with to get its weights again."""
    from .serialization import encode

    return None if model._graph is not None else encode(model._call_shapes, f"model {model.name!r}")


def build_like(model: Model, for_call: Any) -> None:
    from ..tensor import as_tensor, no_grad
    from .serialization import decode

    if model._graph is not None or for_call is None or model.built:
        return

    def zeros(spec: Any) -> Any:
        if isinstance(spec, dict):
            if set(spec) == {"shape", "dtype"}:
                return as_tensor(np.zeros([1 if n is None else n for n in spec["shape"]], spec["dtype"]))
            return {key: zeros(part) for key, part in spec.items()}
        return type(spec)(zeros(part) for part in spec) if isinstance(spec, (list, tuple)) else spec

    with no_grad():
        model(*zeros(decode(for_call["args"])), **zeros(decode(for_call["kwargs"])), training=False)


def _assign(model: Model, values: list[tuple[str, np.ndarray]], path: Path) -> None:
    weights = named_weights(model)
    if len(weights) != len(values):
        raise ValueError(f"{path} holds {len(values)} weights, its architecture has {len(weights)}")
    for (name, variable), (saved, value) in zip(weights, values, strict=True):
        if tuple(variable.shape) != value.shape:
            raise ValueError(
                f"{path}: weight {saved!r} has shape {value.shape}, the architecture needs {tuple(variable.shape)} "
                f"for {name!r}"
            )
    for (_, variable), (_, value) in zip(weights, values, strict=True):
        variable.assign(value)


# ---- the file -------------------------------------------------------------------------------------------------------


def checked_target(
    filepath: Any, overwrite: bool, suffixes: tuple[str, ...] = (_SUFFIX, ".keras", ".weights.h5")
) -> Path:
    """Where to write. Raises ValueError for another suffix, and OSErrors where there can be no file."""
    path = Path(filepath)
    if not path.name.endswith(suffixes):
        raise ValueError(f"filepath must end in {' or '.join(map(repr, suffixes))}, got {str(filepath)!r}")
    if path.is_dir():
        raise IsADirectoryError(f"filepath {str(path)!r} is a directory")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"filepath {str(path)!r} lies in a directory that does not exist")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; overwrite=True replaces it")
    return path


def _digest(tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(json.dumps([name, array.dtype.name, list(tensors[name].shape)]).encode())
        digest.update(array.tobytes() if array.size == 0 or array.ndim == 0 else array.data.cast("B"))
    return digest.hexdigest()


def _write(path: Path, tensors: dict[str, np.ndarray], order: list[str], metadata: dict[str, str]) -> None:
    from safetensors.numpy import save_file

    arrays = {name: np.array(value, order="C") for name, value in tensors.items()}
    metadata = {
        "format": "dlcore",
        "format_version": str(FORMAT_VERSION),
        "weights": json.dumps(order),
        "sha256": _digest(arrays),
        **metadata,
    }
    with moved_into_place(path) as temporary:
        save_file(arrays, temporary, metadata)


@contextmanager
def moved_into_place(path: Path) -> Iterator[str]:
    """A file beside path to be written to, which takes its place at the end, or goes where something fails."""
    mode = path.stat().st_mode & 0o777 if path.exists() else None
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        if mode is None:  # mkstemp makes files that only their owner can read
            mask = os.umask(0)
            os.umask(mask)
            mode = 0o666 & ~mask
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read(path: Path) -> tuple[dict[str, np.ndarray], list[str], dict[str, str]]:
    """Tensors, names of the weights in order, and metadata of a file, all checked."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    if path.is_dir():
        raise IsADirectoryError(f"filepath {str(path)!r} is a directory, expected a {_SUFFIX} file")
    try:
        with safe_open(str(path), "np") as file:
            metadata = file.metadata() or {}
            _check_version(path, metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dict)
    except (SafetensorError, OSError, TypeError, KeyError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is no readable {_SUFFIX} file: it is truncated, damaged or of another kind ({error})"
        ) from error
    try:
        order = json.loads(metadata["weights"])
        checksum = metadata["sha256"]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged: its metadata lack the weights' order or the checksum") from error
    if not isinstance(order, list) or any(name not in tensors for name in order):
        raise ValueError(f"{path} is damaged: a weight that its metadata name is missing")
    if _digest(tensors) != checksum:
        raise ValueError(f"{path} is damaged: the SHA-256 of its tensors is not the one it was saved with")
    return tensors, order, metadata


def _check_version(path: Path, metadata: dict[str, str]) -> None:
    if metadata.get("format") != "dlcore":
        raise ValueError(f"{path} was not saved by dlcore: its metadata do not name the format")
    version = metadata.get("format_version", "")
    if not version.isdecimal():
        raise ValueError(f"{path} is damaged: format_version is {version!r}")
    if int(version) > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {version}, this dlcore reads up to {FORMAT_VERSION}: update dlcore to load it"
        )
