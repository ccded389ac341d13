"""The one way to launch a CUDA kernel.

A `.cu` file holds kernels, `extern "C" __global__`, written once for all types: REAL, and every other word in capitals
that a parameter list uses as a type, stands for the element type of the arrays that a call brings. A `Kernel` names one
of them and repeats its parameter list word for word:

    add_bias = Kernel("linear", "add_bias", "REAL* y, const REAL* bias, long long n, long long cols, int activation")
    add_bias(y.size, y, bias, y.size, cols, FUSED[activation])  # at least y.size threads, in blocks of 256
    row_sum.blocks(rows, 128)(y, x, rows, cols)                  # exactly `rows` blocks of 128 threads

CuPy passes to a kernel whatever it is given: a Python float where the kernel reads a `float` arrives as garbage, dtypes
and strides of arrays are ignored, a host array crashes. So a call casts scalars to the declared types and refuses what
does not fit. None for a pointer is null.

Modules are compiled at their first call, once per choice of types; CuPy keeps the result on disk. CuPy itself is
imported then too, so that the declarations can be read where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FUSED = {"linear": 0, "relu": 1, "sigmoid": 2, "tanh": 3}  # enum Fused of common.cuh
BLOCK = 256  # threads of a block where a kernel has no wish of its own
NULL = np.uint64(0)

# `long` is missing on purpose: it has 32 bits on Windows and 64 elsewhere.
C_TYPES: dict[str, type[np.generic]] = {
    "bool": np.bool_,
    "signed char": np.int8,
    "unsigned char": np.uint8,
    "short": np.int16,
    "unsigned short": np.uint16,
    "int": np.int32,
    "unsigned int": np.uint32,
    "long long": np.int64,
    "unsigned long long": np.uint64,
    "float": np.float32,
    "double": np.float64,
}
C_NAMES = {np.dtype(scalar): name for name, scalar in C_TYPES.items()}
REALS = (np.dtype(np.float32), np.dtype(np.float64))
PARAMETER = re.compile(r"(?:const )?([a-z ]+?|[A-Z][A-Z0-9]*) ?(\*?)(?: ?__restrict__)? ?\b([a-z]\w*)")

KERNELS: dict[tuple[str, str], Kernel] = {}  # (module, kernel) -> its declaration, of all modules imported so far


class Parameter(NamedTuple):
    """One parameter of a kernel. Its type is a name in C_TYPES or a word in capitals."""

    type: str
    pointer: bool
    name: str


class Kernel:
    """A kernel in a `.cu` file, launched on CuPy's current stream.

    Args:
        module: the file's name without `.cu`. name: the kernel's.
        parameters: its parameter list, the very text of the source.

    Raises:
        ValueError: a parameter has a type that no call could fill.
    """

    def __init__(self, module: str, name: str, parameters: str) -> None:
        self.module = module
        self.name = name
        self.text = parameters
        self.parameters = tuple(_parse(part.strip(), f"{module}.{name}") for part in parameters.split(","))
        self.types = tuple(dict.fromkeys(p.type for p in self.parameters if p.type not in C_TYPES))
        self._functions: dict[tuple[np.dtype, ...], Any] = {}
        KERNELS[module, name] = self

    def __repr__(self) -> str:
        return f"<kernel {self.module}.{self.name}({self.text})>"

    def __call__(self, threads: int, *arguments: Any) -> None:
        """Launch at least `threads` threads, none if that is 0. See `blocks` for what is raised."""
        if threads > 0:
            self._launch(((threads + BLOCK - 1) // BLOCK,), BLOCK, 0, *arguments)

    def blocks(self, count: int | tuple[int, ...], size: int = BLOCK, shared: int = 0) -> Callable[..., None]:
        """A launch of exactly `count` blocks (up to three axes) of `size` threads with `shared` bytes of dynamic shared
        memory: call the result with the kernel's arguments. Where `count` has a zero, nothing is launched.

        Raises (when called):
            TypeError: a wrong number of arguments, a host array, a wrong dtype, a scalar of the wrong kind.
            ValueError: an array that is not C-contiguous. OverflowError: a scalar that its type cannot hold.
        """
        grid = (count,) if isinstance(count, int) else count
        return partial(self._launch, grid, size, shared)

    def _launch(self, grid: tuple[int, ...], size: int, shared: int, *arguments: Any) -> None:
        if len(arguments) != len(self.parameters):
            raise TypeError(f"{self!r} takes {len(self.parameters)} arguments, got {len(arguments)}")
        bound: dict[str, np.dtype] = {}
        for parameter, argument in zip(self.parameters, arguments, strict=True):
            if parameter.pointer and argument is not None:
                self._check(parameter, argument, bound)
        if len(bound) < len(self.types):
            raise TypeError(f"{self!r}: no array says what {', '.join(t for t in self.types if t not in bound)} is")
        if 0 in grid:
            return
        key = tuple([bound[name] for name in self.types])
        function = self._functions.get(key) or self.compile(bound)
        values = [
            (NULL if argument is None else argument) if parameter.pointer else self._cast(parameter, argument, bound)
            for parameter, argument in zip(self.parameters, arguments, strict=True)
        ]
        function(grid, (size,), values, shared_mem=shared)

    def compile(self, types: Mapping[str, np.dtype]) -> Any:
        """CuPy's function for a choice of types."""
        names = sorted((name, C_NAMES[np.dtype(dtype)]) for name, dtype in types.items())
        function = _compile(self.module, tuple(names)).get_function(self.name)
        self._functions[tuple([np.dtype(types[name]) for name in self.types])] = function
        return function

    def _check(self, parameter: Parameter, array: Any, bound: dict[str, np.dtype]) -> None:
        if not isinstance(array, _cupy().ndarray):
            kind = "a NumPy array" if isinstance(array, np.ndarray) else f"{type(array).__name__} {array!r}"
            raise TypeError(
                f"{self!r}: {parameter.name} must be an array on the device, got {kind}; "
                "bring it there with asarray of the engine"
            )
        dtype = array.dtype
        if parameter.type in C_TYPES:
            expected = np.dtype(C_TYPES[parameter.type])
        else:
            expected = bound.setdefault(parameter.type, dtype)
        if dtype != expected:
            raise TypeError(f"{self!r}: {parameter.name} must be {expected}, got {dtype}")
        if parameter.type == "REAL" and dtype not in REALS:
            raise TypeError(f"{self!r}: {parameter.name} must be float32 or float64, got {dtype}")
        if dtype not in C_NAMES:
            raise TypeError(f"{self!r}: {parameter.name} has a dtype that kernels do not know, {dtype}")
        if not array.flags.c_contiguous:
            raise ValueError(
                f"{self!r}: {parameter.name} must be C-contiguous, got shape {array.shape} with strides {array.strides}"
            )

    def _cast(self, parameter: Parameter, value: Any, bound: Mapping[str, np.dtype]) -> np.generic:
        scalar = C_TYPES[parameter.type] if parameter.type in C_TYPES else bound[parameter.type].type
        if isinstance(value, (bool, int, float, np.generic)):
            if issubclass(scalar, np.floating):
                return scalar(value)
            if not isinstance(value, (float, np.floating)):
                return scalar(int(value))
        raise TypeError(f"{self!r}: {parameter.name} must be a number for {scalar.__name__}, got {value!r}")


def compile_all(dtypes: Iterable[Any]) -> None:
    """Compile every kernel that has no types but REAL, for these; what has more is compiled at its first call."""
    for dtype in dtypes:
        for kernel in KERNELS.values():
            if set(kernel.types) <= {"REAL"}:
                kernel.compile({"REAL": dtype})


def flat(view: Any) -> tuple[Any, int]:
    """The memory that a view spans, as a contiguous array, and the place of its first element there."""
    if view.flags.c_contiguous:
        return view, 0
    from cupy.lib.stride_tricks import as_strided

    rising = view[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in view.strides)]
    steps = [(n - 1) * stride // view.itemsize for n, stride in zip(view.shape, view.strides, strict=True)]
    span = 1 + sum(map(abs, steps))
    return as_strided(rising, (span,), (view.itemsize,)), -sum(step for step in steps if step < 0)


def in_fours(channels: int, *arrays: Any) -> bool:
    """Whether kernels can move these arrays' channels four at a time: elements of four times the size."""
    return channels % 4 == 0 and not any(array.data.ptr % (4 * array.itemsize) for array in arrays)


def source(module: str, types: Mapping[str, str]) -> str:
    """The text that is compiled for a module: #define of each type, common.cuh, the `.cu` file.

    Args:
        types: word in capitals -> type of C. REAL is float where it is missing; a `.cu` file that uses other words
            says what they are by default (#ifndef).
    """
    folder = Path(__file__).parent
    defines = "".join(f"#define {name} {c_type}\n" for name, c_type in {"REAL": "float", **types}.items())
    common, own = (folder / name for name in ("common.cuh", f"{module}.cu"))
    return f'{defines}#line 1 "{common.name}"\n{common.read_text()}\n#line 1 "{own.name}"\n{own.read_text()}'


def _parse(text: str, kernel: str) -> Parameter:
    match = PARAMETER.fullmatch(text)
    if match is None or (match[1].islower() and match[1] not in C_TYPES):
        known = ", ".join(C_TYPES)
        raise ValueError(
            f"kernel {kernel}: cannot read the parameter {text!r}; types are {known}, or a word in capitals"
        )
    return Parameter(match[1], bool(match[2]), match[3])


@cache
def _cupy() -> Any:
    import cupy

    return cupy


@cache
def _compile(module: str, types: tuple[tuple[str, str], ...]) -> Any:
    return _cupy().RawModule(code=source(module, dict(types)), options=("--std=c++17",))
