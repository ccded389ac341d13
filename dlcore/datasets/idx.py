"""IDX, the file format of MNIST and its kin: reading, finding and fetching.

A file is two zero bytes, a type code, the number of axes, each axis's length (big-endian uint32) and the elements,
row-major and big-endian; often gzipped.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from .download import cache_folder, fetch

if TYPE_CHECKING:
    from gzip import GzipFile

Split = tuple[np.ndarray, np.ndarray]

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@dataclass(frozen=True)
class Source:
    """Where a data set of four IDX files comes from.

    Attributes:
        name: the folder's name under DLCORE_DATA and in the cache.
        mirrors: addresses that hold `<file>.gz`.
        sha256: file -> SHA-256 of `<file>.gz`, in the order train images, train labels, test images, test labels.
        folders: where a system's package manager puts them.
    """

    name: str
    mirrors: tuple[str, ...]
    sha256: dict[str, str]
    folders: tuple[str, ...] = ()


def load(source: Source, path: str | os.PathLike[str] | None = None) -> tuple[Split, Split]:
    """The two splits of a data set, each images and labels, from the first place that has the files."""
    x_train, y_train, x_test, y_test = (read_idx(file) for file in _files(source, path))
    for part, x, y in (("train", x_train, y_train), ("t10k", x_test, y_test)):
        if x.ndim != 3 or y.ndim != 1 or len(x) != len(y):
            raise ValueError(
                f"{source.name}: the {part} files must hold images [N, height, width] and labels [N], "
                f"got {list(x.shape)} and {list(y.shape)}"
            )
    return (x_train, y_train), (x_test, y_test)


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file, gzipped or plain.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not an IDX file, or is truncated or overlong; the message says what came and was expected.
    """
    import gzip
    import zlib

    path = Path(path)
    with path.open("rb") as raw:
        gzipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            if gzipped:
                with gzip.GzipFile(fileobj=raw) as file:
                    return _parse(file, path)
            return _parse(raw, path)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path} is a damaged gzip file: {error}") from None


def _parse(file: BinaryIO | GzipFile, path: Path) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= 8:
        raise ValueError(f"{path} is not an IDX file: it begins with {magic.hex(' ') or 'nothing'}")
    dtype, rank = np.dtype(_TYPES[magic[2]]), magic[3]
    header = file.read(4 * rank)
    if len(header) < 4 * rank:
        raise ValueError(f"{path} is truncated: its header has {4 + len(header)} bytes, expected {4 + 4 * rank}")
    shape = tuple(int(n) for n in np.frombuffer(header, ">u4"))
    data = file.read()
    expected = dtype.itemsize
    for n in shape:
        expected *= n
    if len(data) != expected:
        fault = "truncated" if len(data) < expected else "longer than its header says"
        raise ValueError(f"{path} is {fault}: {len(data)} bytes of data, expected {expected} for shape {list(shape)}")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _files(source: Source, path: str | os.PathLike[str] | None) -> list[Path]:
    if path is not None:
        return _all_in(Path(path), source, "path")
    tried = []
    data = os.environ.get("DLCORE_DATA")
    if data:
        root = Path(data).expanduser()
        same_name = root.name.replace("_", "-") == source.name
        places = [root / source.name, root / source.name.replace("-", "_"), *([root] if same_name else [])]
        for place in places:
            if place.is_dir() and any(_found(place, file) for file in source.sha256):
                return _all_in(place, source, "DLCORE_DATA")
        tried += [str(place) for place in dict.fromkeys(places)]
    for folder in source.folders:
        files = [_found(Path(folder), file) for file in source.sha256]
        if all(files):
            return [file for file in files if file]
        tried.append(folder)
    cache = cache_folder() / source.name
    tried.append(str(cache))
    return [_found(cache, file) or _download(source, file, cache, tried) for file in source.sha256]


def _all_in(folder: Path, source: Source, argument: str) -> list[Path]:
    files = {file: _found(folder, file) for file in source.sha256}
    missing = [file for file, found in files.items() if found is None]
    if missing:
        raise FileNotFoundError(
            f"{argument}: {folder} lacks {', '.join(missing)} (each may be gzipped, with .gz at the end of its name)"
        )
    return [found for found in files.values() if found]


def _found(folder: Path, file: str) -> Path | None:
    return next((path for path in (folder / f"{file}.gz", folder / file) if path.is_file()), None)


def _download(source: Source, file: str, cache: Path, tried: list[str]) -> Path:
    from http.client import HTTPException

    target = cache / f"{file}.gz"
    cache.mkdir(parents=True, exist_ok=True)
    problems = []
    for mirror in source.mirrors:
        address = mirror + target.name
        try:
            fetch(address, target, "sha256", source.sha256[file])
        except (OSError, HTTPException, ValueError) as error:
            problems.append(f"\n  {address}: {error}")
        else:
            return target
    raise ConnectionError(
        f"{source.name}: {target.name} is not in {', '.join(tried)}, and could not be downloaded:{''.join(problems)}\n"
        f"Put {', '.join(source.sha256)} (gzipped or not) into a folder and pass it as `path`, "
        f"or put that folder as {source.name} into the one that DLCORE_DATA names."
    )
