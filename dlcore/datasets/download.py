"""Files from the web: each lies in a cache once it was downloaded whole, and has the checksum that it must have."""

from __future__ import annotations

import os
from pathlib import Path

TIMEOUT = 30  # seconds without an answer
_ALGORITHMS = {32: "md5", 64: "sha256"}  # by the length of a checksum in hexadecimal digits


def fetch(address: str, target: Path, algorithm: str | None = None, checksum: str | None = None) -> None:
    """Download to a file beside the target, which takes its place when it is whole and has the right checksum.

    Raises:
        OSError: it cannot be had.
        ValueError: it has another checksum.
    """
    import hashlib
    import sys
    import tempfile
    import urllib.request

    from tqdm import tqdm

    with (
        urllib.request.urlopen(address, timeout=TIMEOUT) as answer,
        tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as part,
    ):
        try:
            digest = hashlib.new(algorithm or "sha256")
            total = int(answer.headers.get("Content-Length") or 0) or None
            with tqdm(total=total, desc=target.name, unit="B", unit_scale=True, disable=not sys.stderr.isatty()) as bar:
                while block := answer.read(1 << 16):
                    part.write(block)
                    digest.update(block)
                    bar.update(len(block))
            if checksum is not None and digest.hexdigest() != checksum:
                name = {"md5": "MD5", "sha256": "SHA-256"}[digest.name]
                raise ValueError(f"its {name} is {digest.hexdigest()}, expected {checksum}")
            part.close()
            os.chmod(part.name, 0o644)
            os.replace(part.name, target)
        except BaseException:
            os.unlink(part.name)
            raise


def get_file(
    fname: str | None = None,
    origin: str | None = None,
    untar: bool = False,
    md5_hash: str | None = None,
    file_hash: str | None = None,
    cache_subdir: str = "datasets",
    hash_algorithm: str = "auto",
    extract: bool = False,
    archive_format: str | None = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
    force_download: bool = False,
) -> str:
    """The path of a file that is downloaded unless it is in the cache already, as in Keras.

    Args:
        fname: its name there; the last part of origin if None.
        origin: where from: an address of the web, or "file:///…".
        untar, extract: unpack a tar or zip archive beside it, into a folder of its name without suffix, whose path is
            given then.
        md5_hash, file_hash: checksum in hexadecimal, an MD5 or a SHA-256.
        cache_subdir, cache_dir: where: `<cache_dir>/<cache_subdir>`, in `~/.cache/dlcore` by default.
        hash_algorithm: "md5", "sha256", or "auto", which goes by the checksum's length.
        archive_format: "zip", "tar" or "auto": what extract expects.
        force_download: download what is there, too.

    Raises:
        OSError: it cannot be downloaded.
        ValueError: no origin, another checksum, or no archive of that kind.
    """
    from urllib.parse import urlsplit

    if not origin:
        raise ValueError(f"origin must be the address of a file, got {origin!r}")
    name = fname or Path(urlsplit(origin).path).name
    if not name or Path(name).name != name:
        raise ValueError(f"fname must be the name of a file, without a folder, got {name!r}")
    checksum = file_hash or md5_hash
    algorithm = None
    if checksum is not None:
        checksum = checksum.lower()
        algorithm = _ALGORITHMS.get(len(checksum)) if hash_algorithm == "auto" else hash_algorithm
        if algorithm not in _ALGORITHMS.values():
            raise ValueError(
                f"hash_algorithm must be 'md5', 'sha256' or 'auto', got {hash_algorithm!r} for {checksum!r}"
            )
    folder = cache_folder() if cache_dir is None else Path(cache_dir)
    target = folder / cache_subdir / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if force_download or not target.is_file() or not _has(target, algorithm, checksum):
        try:
            fetch(origin, target, algorithm, checksum)
        except (OSError, ValueError) as error:
            raise type(error)(f"{origin} cannot be downloaded: {error}") from error
    return str(_unpacked(target, "tar" if untar else archive_format, force_download) if untar or extract else target)


def cache_folder() -> Path:
    """Where downloads are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dlcore"


def _has(path: Path, algorithm: str | None, checksum: str | None) -> bool:
    if algorithm is None:
        return True
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest() == checksum


def _unpacked(archive: Path, kind: str | None, anew: bool) -> Path:
    """The folder into which an archive was unpacked; what it holds cannot leave that folder."""
    import shutil
    import tarfile
    import tempfile
    import zipfile

    folder = archive.parent / archive.name.partition(".")[0]
    if folder == archive:
        folder = archive.with_name(archive.name + "_unpacked")
    if folder.is_dir() and not anew:
        return folder
    with tempfile.TemporaryDirectory(dir=archive.parent) as temporary:
        if kind in ("auto", "zip") and zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(temporary)
        elif kind in ("auto", "tar") and tarfile.is_tarfile(archive):
            with tarfile.open(archive) as packed_tar:
                packed_tar.extractall(temporary, filter="data")
        else:
            raise ValueError(f"{archive} is no archive of the kind {kind!r}: 'zip', 'tar' and 'auto' are known")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(temporary, folder)
    return folder
