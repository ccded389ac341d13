"""CUDA kernels and their bindings on a CPU: `cudashim.h` compiles the kernels, a stand-in for CuPy carries the arrays.

The bindings in `kernels/cuda/*.py` run unchanged: `installed()` puts a module made of NumPy in CuPy's place, of which
device arrays are a class of their own, so that the launch helper can tell them from host arrays. Memory that it gives
out holds NaN and ends, to the byte, at a page that must not be touched.

Nothing here measures or shows what a GPU would do: see `cudashim.h` for what is and is not found.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import numpy as np
from numpy.lib.stride_tricks import as_strided

from dlcore.backends.interface import Backend

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / "build" / "gpu_emulation"
SCHEDULES = ("forward", "reversed", "random")  # enum Schedule

FLAGS = (
    "-O1", "-std=c++17", "-fPIC", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE", "-ffp-contract=off", "-fno-gnu-unique",
    "-fno-threadsafe-statics", "-DCS_STRICT", "-w",
)  # fmt: skip
PLAIN = ("-fsanitize=bounds", "-fsanitize-undefined-trap-on-error")
RACE = ("-DCS_RACE", "-fsanitize=thread", "--param", "tsan-instrument-func-entry-exit=0")

_KERNEL = re.compile(r"__global__\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?void\s+(\w+)\s*\(")
_DYNAMIC = re.compile(r"extern\s+__shared__\s+(?:__align__\s*\(\s*\d+\s*\)\s+)?([\w\s]+?)\s+(\w+)\s*\[\s*\]\s*;")
_SHARED = re.compile(r"\b__shared__\s+([\w ]+?)\s+(\w+)((?:\[[^\]]+\])*)\s*;")


class KernelError(RuntimeError):
    """A kernel did what it must not; the message says what, and which block and thread."""


class Emulation:
    """How launches run from now on, for all that share it."""

    schedule = "forward"
    seed = 0
    race = False


# ---- compiling and launching ----------------------------------------------------------------------------------------


def translate(source: str) -> str:
    """The source with its shared arrays made places in `cs::shared_memory`, which the shim can poison and check."""
    source = _DYNAMIC.sub(r"\1* \2 = (\1*)cs::dynsmem();", source)
    return _SHARED.sub(
        r"using \2_type = \1\3; static \2_type& \2 = cs::shared<\2_type>(cs::declare_shared(sizeof(\2_type)));",
        source,
    )


def build(source: str, kernels: Sequence[str], race: bool = False) -> ctypes.CDLL:
    """Compile kernels with g++ and load them; what was compiled before is taken from the cache."""
    exports = "".join(f"CS_EXPORT({name}, {name})\n" for name in kernels)
    text = f'#include "cudashim.h"\n#line 1 "kernels"\n{translate(source)}\n{exports}'
    flags = FLAGS + (RACE if race else PLAIN)
    key = hashlib.sha256("\0".join([(HERE / "cudashim.h").read_text(), text, *flags]).encode()).hexdigest()[:20]
    library = CACHE / f"{key}.so"
    if not library.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=CACHE) as folder:
            path, compiled, linked = (Path(folder) / f"kernels{suffix}" for suffix in (".cpp", ".o", ".so"))
            path.write_text(text)
            result = subprocess.run(
                ["g++", *flags, "-c", "-I", str(HERE), str(path), "-o", str(compiled)], capture_output=True, text=True
            )
            if result.returncode:
                raise KernelError(f"g++ does not compile the kernels:\n{result.stderr[:3000]}")
            # Linked without the sanitizers: the functions that they call are the shim's.
            subprocess.run(["g++", "-shared", str(compiled), "-o", str(linked)], check=True)
            linked.rename(library)
    return ctypes.CDLL(str(library))


class Function:
    """A kernel, called as CuPy calls one."""

    def __init__(self, module: RawModule, name: str) -> None:
        self._module = module
        self._name = name

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any], shared_mem: int = 0) -> None:
        library = self._module.library(Emulation.race)
        signature = getattr(library, f"cs_sig_{self._name}")
        signature.restype = ctypes.c_char_p
        wanted = signature().decode().split(",")
        given = [_code(value) for value in args]
        for number, (want, got) in enumerate(zip(wanted, given, strict=True)):
            if got != want and not (got == "u8" and want[0] == "P"):  # a null pointer
                raise TypeError(f"{self._name}: parameter {number} is {want}, got {got}")
        arrays = [value for value in args if isinstance(value, np.ndarray)]
        if Emulation.race:
            library.cs_watch_nothing()
            for array in arrays:
                library.cs_watch(ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes))
        values = [np.array(v.ctypes.data, np.uint64) if isinstance(v, np.ndarray) else np.asarray(v) for v in args]
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        dims = (ctypes.c_uint * 6)(*(*grid, 1, 1)[:3], *(*block, 1, 1)[:3])
        message = ctypes.create_string_buffer(512)
        launch = getattr(library, f"cs_launch_{self._name}")
        schedule = SCHEDULES.index(Emulation.schedule)
        if launch(dims, ctypes.c_uint(shared_mem), pointers, schedule, ctypes.c_uint(Emulation.seed), message):
            raise KernelError(f"{self._name}: {message.value.decode()}")


def _code(value: Any) -> str:
    """As `cs::code` writes types."""
    return ("P" if isinstance(value, np.ndarray) else "") + value.dtype.kind + str(value.dtype.itemsize)


# ---- a stand-in for CuPy --------------------------------------------------------------------------------------------


class DeviceArray(np.ndarray):
    """An array in what stands for the device's memory."""

    def __new__(cls, shape: Any, dtype: Any = np.float64) -> DeviceArray:
        return device_empty(shape, dtype)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """As CuPy's: NumPy's functions on device arrays give device arrays."""
        result = super().__array_function__(function, types, args, kwargs)
        return result.view(DeviceArray) if isinstance(result, np.ndarray) else result

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data)


class RawModule:
    """`cupy.RawModule`: compiled at the first launch."""

    edits: ClassVar[tuple[tuple[str, str], ...]] = ()  # text -> text, for sources with planted faults

    def __init__(self, code: str, options: tuple[str, ...] = ()) -> None:
        for old, new in self.edits:
            code = code.replace(old, new)
        self.library = cache(partial(build, code, kernels_in(code)))

    def get_function(self, name: str) -> Function:
        return Function(self, name)


def kernels_in(source: str) -> list[str]:
    """Names of all kernels, those that macros define included."""
    preprocessed = subprocess.run(
        ["g++", "-E", "-P", "-x", "c++", "-"], input=source, capture_output=True, text=True, check=True
    )
    return _KERNEL.findall(preprocessed.stdout)


def device_empty(shape: Any, dtype: Any = np.float64) -> DeviceArray:
    """An array full of 0xFF bytes, NaN for reals, that ends where a page begins that must not be touched."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    pages = -(-size // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 2) * mmap.PAGESIZE)
    first = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    flat = np.frombuffer(memory, np.uint8, size, (pages + 1) * mmap.PAGESIZE - size)
    flat[...] = 0xFF
    for guard in (first, first + (pages + 1) * mmap.PAGESIZE):
        if _libc().mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(mmap.PAGESIZE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    return flat.view(dtype).reshape(shape).view(DeviceArray)


def device_zeros(shape: Any, dtype: Any = np.float64) -> DeviceArray:
    array = device_empty(shape, dtype)
    array[...] = 0
    return array


def device_array(host: Any) -> DeviceArray:
    host = np.asarray(host)
    array = device_empty(host.shape, host.dtype)
    array[...] = host
    return array


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


class Cublas(ModuleType):
    """`cupy.cuda.cublas`, as far as `kernels/cuda/gemm.py` uses it: on matrices that lie column by column."""

    @staticmethod
    def _gemm(dtype: Any, batch: int, jumps: tuple[int, int, int], arguments: tuple[Any, ...]) -> None:
        _, op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc = arguments
        size = np.dtype(dtype).itemsize

        def matrices(address: int, rows: int, columns: int, distance: int, jump: int) -> np.ndarray:
            assert distance >= max(1, rows), "the distance of two columns is less than their length"
            span = (batch - 1) * jump + (columns - 1) * distance + rows
            memory = np.frombuffer((ctypes.c_char * (span * size)).from_address(address), dtype)
            return as_strided(memory, (batch, rows, columns), (jump * size, size, distance * size))

        left = matrices(a, k, m, lda, jumps[0]).swapaxes(1, 2) if op_a else matrices(a, m, k, lda, jumps[0])
        right = matrices(b, n, k, ldb, jumps[1]).swapaxes(1, 2) if op_b else matrices(b, k, n, ldb, jumps[1])
        result = matrices(c, m, n, ldc, jumps[2])
        alpha, beta = (np.frombuffer((ctypes.c_char * size).from_address(p), dtype)[0] for p in (alpha, beta))
        product = alpha * (left @ right)
        result[...] = product + beta * result if beta else product

    def __getattr__(self, name: str) -> Any:
        dtype = np.float32 if name[0] == "s" else np.float64
        if name[1:] == "gemm":
            return lambda *arguments: self._gemm(dtype, 1, (0, 0, 0), arguments)
        if name[1:] != "gemmStridedBatched":
            raise AttributeError(name)

        def batched(*arguments: Any) -> None:
            *arguments, batch = arguments
            jumps = tuple(arguments.pop(place) for place in (16, 12, 9))[::-1]
            self._gemm(dtype, batch, jumps, tuple(arguments))

        return batched


class StandIn(ModuleType):
    """CuPy, as far as the bindings use it: NumPy's functions on device arrays."""

    ndarray = DeviceArray
    RawModule = RawModule
    empty = staticmethod(device_empty)
    zeros = staticmethod(device_zeros)
    asarray = staticmethod(device_array)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def empty_like(array: np.ndarray) -> DeviceArray:
        return device_empty(array.shape, array.dtype)

    @staticmethod
    def zeros_like(array: np.ndarray) -> DeviceArray:
        return device_zeros(array.shape, array.dtype)


@contextmanager
def installed() -> Iterator[None]:
    """CuPy is the stand-in, and no kernel is compiled yet, until the end of the block."""
    from dlcore.kernels.cuda import launch

    def forget() -> None:
        launch._cupy.cache_clear()
        launch._compile.cache_clear()
        for kernel in launch.KERNELS.values():
            kernel._functions.clear()

    cupy, cuda, cublas = StandIn("cupy"), ModuleType("cupy.cuda"), Cublas("cupy.cuda.cublas")
    device, views = ModuleType("cupy.cuda.device"), ModuleType("cupy.lib.stride_tricks")
    cupy.cuda, cuda.cublas, device.get_cublas_handle = cuda, cublas, lambda: 0
    views.as_strided = partial(as_strided, subok=True)
    modules = (cupy, cuda, cublas, device, ModuleType("cupy.lib"), views)
    with mock.patch.dict(sys.modules, {module.__name__: module for module in modules}):
        forget()
        yield
    forget()


@contextmanager
def emulation(schedule: str = "forward", seed: int = 0, race: bool = False) -> Iterator[None]:
    """Launches run in this order of threads, with or without the search for races, until the end of the block."""
    with mock.patch.multiple(Emulation, schedule=schedule, seed=seed, race=race):
        yield


class ShimBackend(Backend):
    """The bindings of `kernels/cuda` on device arrays of the stand-in."""

    name = "cuda kernels, emulated"
    kernels = "dlcore.kernels.cuda"

    def empty(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        return device_empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        return device_zeros(shape, dtype)

    def asarray(self, host: np.ndarray) -> DeviceArray:
        return device_array(host)

    def to_numpy(self, array: DeviceArray) -> np.ndarray:
        return array.view(np.ndarray)
