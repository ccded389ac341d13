"""Weights from files that Keras 3 writes: `.weights.h5`, and the one within a `.keras` archive.

Both are HDF5. The variables of a layer lie, numbered, in a group whose path leads through the attributes that hold the
layers ("layers/conv2d_1/vars/0", "layers/bidirectional/forward_layer/cell/vars/2"); a member of a list is called by its
class and a count, whatever its own name is, and its own name stands beside as an attribute. Layouts and the order of a
layer's variables are those here. Needs the extra `keras-files`: pip install 'dlcore[keras-files]'.

A file is read, never executed: a `.keras` archive's configuration is left alone, links out of the file are not
followed, and of an array whose shape does not fit no more than its shape is looked at.
"""

from __future__ import annotations

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
from .safetensors import named_weights

if TYPE_CHECKING:
    from ..models import Model

_WITHIN = "model.weights.h5"  # of a .keras archive
# What h5py, zipfile and zlib raise for damage, of which they have no error of their own.
_UNREADABLE = (
    OSError, RuntimeError, TypeError, LookupError, AttributeError, OverflowError, EOFError, MemoryError, UnicodeError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class _Place(NamedTuple):
    """Where a layer's own variables are: by Keras's path, and by the names of layers of models."""

    path: str
    names: str
    contents: list[Any]


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
    with ExitStack() as stack:
        try:
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
            for i, variable in enumerate(place.contents):
                array = there.contents[i] if there is not None and i < len(there.contents) else None
                fits = array is not None and array.shape == tuple(variable.shape)
                if fits:
                    try:
                        fitting.append((variable, np.asarray(array[()])))
                    except _UNREADABLE as error:
                        raise ValueError(f"{path} is damaged: {array.name} cannot be read ({error})") from error
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
    if not fitting:
        raise ValueError(f"{path} holds nothing that fits {model._said}; it has {report['unused'][:5]} …")
    with model._at_home():
        for variable, value in fitting:
            variable.assign(value)
    if report["skipped"] and skip_mismatch:
        warnings.warn(f"weights left as they were: {', '.join(report['skipped'])}", stacklevel=2)
    return report


# ---- the file -------------------------------------------------------------------------------------------------------


def _h5py() -> Any:
    try:
        import h5py
    except ModuleNotFoundError:
        raise ModuleNotFoundError("reading Keras files needs h5py: pip install 'dlcore[keras-files]'") from None
    return h5py


def _opened(h5py: Any, path: Path, stack: ExitStack) -> Any:
    """The open HDF5 file, in an archive or by itself."""
    if not zipfile.is_zipfile(path):
        return stack.enter_context(h5py.File(path, "r"))
    archive = stack.enter_context(zipfile.ZipFile(path))
    return stack.enter_context(h5py.File(stack.enter_context(archive.open(_WITHIN)), "r"))


def _stored(file: Any, h5py: Any, by_name: bool) -> list[_Place]:
    """What layers have stored, the optimizer and states of random numbers left out.

    Names are read only where they are asked for: HDF5 itself may never come back from a text in a damaged file.

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
        arrays = []
        for key in sorted(group, key=lambda key: (len(key), key)):
            array = group[key] if isinstance(group.get(key, getlink=True), h5py.HardLink) else None
            own = isinstance(array, h5py.Dataset) and not array.external and not array.is_virtual
            if not own or array.dtype.kind not in "fiub":
                raise ValueError(f"{file.filename}: {group.name} holds what is no array of numbers of its own")
            arrays.append(array)
        if arrays:
            places.append(_Place(path, _names(path, groups) if by_name else "", arrays))
    return places


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
            yield _Place(path, names, layer._own_variables)
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
