"""The CuPy engine: CUDA kernels on an NVIDIA GPU, arrays in CuPy's memory pool.

Work is handed to CuPy's current stream and runs while Python goes on. Copies from the host go through pinned memory;
`to_numpy` is what waits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from .interface import PRIMITIVES, Array, Backend, fits

OLDEST = 75  # compute capability, times ten: Turing, the oldest that CUDA 13 compiles for
INSTALL = "pip install 'dlcore[cuda13]' (driver 580 or newer) or 'dlcore[cuda12]' (driver 525 or newer)"
# cudaError_t
NO_DRIVER, NO_DEVICE = 35, 100


class CupyBackend(Backend):
    """NVIDIA GPUs.

    Args:
        device: which GPU, as CUDA counts them.

    Raises:
        ValueError: there is no such device.
    """

    name = "cupy"
    kernels = "dlcore.kernels.cuda"

    def __init__(self, device: int = 0) -> None:
        cupy = self._cupy = import_module("cupy")
        count = cupy.cuda.runtime.getDeviceCount()
        if device >= count:
            raise ValueError(f"there is no device {device}; CUDA counts them from 0 and finds {count}")
        super().__init__()
        self.array_type = cupy.ndarray
        self._device = cupy.cuda.Device(device)
        vars(self).update(empty=cupy.empty, zeros=cupy.zeros, to_numpy=cupy.asnumpy)
        if count > 1:
            for name in (*PRIMITIVES, "empty", "zeros", "asarray", "to_numpy"):
                setattr(self, name, self._on_device(getattr(self, name)))
        self._captures = True  # until CUDA refuses
        with self._device:
            self._copies = cupy.cuda.Stream(non_blocking=True)

    def _on_device(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """CuPy's current device belongs to the user; where there are several, each call goes to the engine's own."""
        device = self._device

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with device:
                return function(*args, **kwargs)

        return call

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """The first thing that is missing on the way to a GPU."""
        if find_spec("cupy") is None:
            return f"CuPy is not installed; {INSTALL}"
        try:
            cupy = import_module("cupy")
        except Exception as error:
            reason = _first_line(error.__cause__ or error)  # CuPy's own message is a page on how to install it
            return f"CuPy is installed but does not load ({reason}); in an environment of its own, {INSTALL}"
        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except Exception as error:
            status = getattr(error, "status", None)
            if status == NO_DRIVER:
                return (
                    "there is no NVIDIA driver, or it is older than CuPy's CUDA; install or update the driver, or "
                    f"match CuPy to it: {INSTALL}"
                )
            count = 0
            if status != NO_DEVICE:
                return f"CUDA does not start ({_first_line(error)}); nvidia-smi should list the GPU"
        if not count:
            return "the NVIDIA driver finds no GPU; nvidia-smi and CUDA_VISIBLE_DEVICES show what it may use"
        capability = int(cupy.cuda.Device(0).compute_capability)
        if capability < OLDEST:
            return (
                f"the GPU has compute capability {capability / 10}, dlcore's kernels need {OLDEST / 10} (Turing, 2018) "
                "or newer; choose another engine, or another GPU through CUDA_VISIBLE_DEVICES"
            )
        try:
            cupy.cuda.nvrtc.getVersion()
        except Exception as error:
            return f"NVRTC, which compiles the kernels, is missing ({_first_line(error)}); {INSTALL}"
        try:
            cupy.cuda.device.get_cublas_handle()
        except Exception as error:
            return f"cuBLAS, which multiplies matrices, is missing ({_first_line(error)}); {INSTALL}"
        return None

    def info(self) -> dict[str, str]:
        """The device and the versions of what drives it."""
        cupy, runtime = self._cupy, self._cupy.cuda.runtime
        properties = runtime.getDeviceProperties(self._device.id)
        version = runtime.runtimeGetVersion()
        return {
            "device": f"{self._device.id}: {properties['name'].decode()}",
            "memory": f"{properties['totalGlobalMem'] / 2**30:.0f} GiB",
            "compute capability": str(int(self._device.compute_capability) / 10),
            "cupy": cupy.__version__,
            "cuda": f"{version // 1000}.{version % 1000 // 10}",
        }

    def warmup(self, dtypes: tuple[Any, ...]) -> None:
        """Compile every module; CuPy keeps the results on disk."""
        with self._device:
            import_module("dlcore.kernels.cuda.launch").compile_all(dtypes)

    def asarray(self, host: Any) -> Array:
        return self._cupy.asarray(host, order="C")

    device_memory = (2, 10, 13)  # kDLCUDA, kDLROCM, kDLCUDAManaged

    def from_device(self, x: Any) -> Array:
        return self._cupy.from_dlpack(x)

    def synchronize(self) -> None:
        with self._device:
            self._cupy.cuda.get_current_stream().synchronize()

    # ---- recording and replaying ---------------------------------------------------------------------------------

    def lend(self, array: Array, owner: Any) -> Array:
        cuda = self._cupy.cuda
        memory = cuda.UnownedMemory(array.data.ptr, array.nbytes, owner, self._device.id)
        return self._cupy.ndarray(array.shape, array.dtype, cuda.MemoryPointer(memory, 0))

    def owner_of(self, array: Array) -> Any:
        return getattr(array.data.mem, "_owner", None)

    def address(self, array: Array) -> int:
        return array.data.ptr

    def view(self, memory: Array, place: int, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...]) -> Array:
        return self._cupy.ndarray(shape, dtype, memory.data + place, strides)

    def on_host(self, function: Callable[..., None], *arrays: Array) -> None:
        function(*map(self.to_numpy, arrays))

    def inlet(self, array: Array) -> Callable[[Any], bool]:
        return _Inlet(self._cupy, self._copies, array).load

    def join(self, calls: list[Callable[[], None]]) -> Callable[[], None]:
        return _Graph(self, super().join(calls))


class _Inlet:
    """Copies host arrays to one place on the device while earlier work still runs.

    The host array goes to pinned memory, from there to the device on a stream of its own, and then, where the current
    stream has come to it, to its place. There are two of everything, so that a copy waits for the last but one at most.
    """

    def __init__(self, cupy: Any, stream: Any, place: Array) -> None:
        pinned = import_module("cupyx").empty_pinned
        self._cupy = cupy
        self._stream = stream
        self._place = place
        self._turn = 0
        self._pinned = [pinned(place.shape, place.dtype) for _ in range(2)]
        self._near = [cupy.empty(place.shape, place.dtype) for _ in range(2)]
        self._arrived = [cupy.cuda.Event(disable_timing=True) for _ in range(2)]
        self._read = [cupy.cuda.Event(disable_timing=True) for _ in range(2)]
        for event in self._read:  # until the current stream is done with whose memory that was
            event.record()

    def load(self, host: Any) -> bool:
        if not fits(host, self._place):
            return False
        with self._place.device:
            self._load(host)
        return True

    def _load(self, host: np.ndarray) -> None:
        turn = self._turn = 1 - self._turn
        pinned, near, arrived, read = (pair[turn] for pair in (self._pinned, self._near, self._arrived, self._read))
        arrived.synchronize()  # what was in the pinned memory has left it
        np.copyto(pinned, host)
        self._stream.wait_event(read)
        near.set(pinned, self._stream)
        arrived.record(self._stream)
        current = self._cupy.cuda.get_current_stream()
        current.wait_event(arrived)
        self._place.data.copy_from_device_async(near.data, near.nbytes, current)
        read.record(current)


class _Graph:
    """Calls that become a CUDA graph. Their first run is an ordinary one, which compiles what is not compiled yet; the
    second records them; from then on they are one launch.

    The recorded kernels keep the addresses of their scratch memory, so that comes from a pool which nobody else uses.
    """

    def __init__(self, engine: CupyBackend, calls: Callable[[], None]) -> None:
        self._engine = engine
        self._cupy = engine._cupy
        self._calls = calls
        self._memory = self._cupy.cuda.MemoryPool()
        self._next = self._warm

    def __call__(self) -> None:
        with self._engine._device:
            self._next()

    def _warm(self) -> None:
        with self._cupy.cuda.using_allocator(self._memory.malloc):
            self._calls()
        self._next = self._record

    def _record(self) -> None:
        self._next = self._calls
        if self._engine._captures:
            try:
                self._next = self._capture().launch
            except Exception as error:
                self._engine._captures = False
                reason = f"not as CUDA graphs, because CUDA refuses: {_first_line(error)}"
                warnings.warn(f"Recorded steps run kernel by kernel, {reason}.", stacklevel=2)
        self._next()

    def _capture(self) -> Any:
        stream = self._cupy.cuda.Stream(non_blocking=True)
        stream.begin_capture()
        try:
            with stream, self._cupy.cuda.using_allocator(self._memory.malloc):
                self._calls()
        except Exception:
            with suppress(Exception):  # it says no more than that the capture was broken off
                stream.end_capture()
            raise
        return stream.end_capture()


def _first_line(error: BaseException) -> str:
    lines = [line.strip(" =") for line in str(error).splitlines()]
    return next((line for line in lines if line), type(error).__name__)
