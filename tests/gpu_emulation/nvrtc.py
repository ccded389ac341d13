"""NVRTC, the compiler that CuPy compiles kernels with: it needs neither a GPU nor a driver."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from cuda.bindings import nvrtc


def _checked(result: tuple[Any, Any]) -> Any:
    status, value = result
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise RuntimeError(status.name)
    return value


_checked(nvrtc.nvrtcGetNumSupportedArchs())  # RuntimeError where the bindings are there and the library is not

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
_ENTRY = re.compile(r"\.entry (\w+)\(([^)]*)\)")
_PARAMETER = re.compile(r"\.param \.(\w+) (\.ptr)?")
_PROPERTIES = re.compile(r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads", re.S)


class Compiled(NamedTuple):
    """parameters: PTX's types of those of each kernel, "ptr" for a pointer. spills: bytes of each. log: as printed."""

    parameters: dict[str, list[str]]
    spills: dict[str, int]
    log: str


def compile_kernels(source: str, architecture: str) -> Compiled:
    """Compile for a real target, with the options that CuPy uses; RuntimeError holds the log where that fails."""
    program = _checked(nvrtc.nvrtcCreateProgram(source.encode(), b"kernels", 0, [], []))
    options = ["--std=c++17", "-ftz=true", f"--gpu-architecture={architecture}", "--ptxas-options=-v"]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
    log = bytearray(_checked(nvrtc.nvrtcGetProgramLogSize(program)))
    nvrtc.nvrtcGetProgramLog(program, log)
    text = log.decode(errors="replace").rstrip("\0\n")
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise RuntimeError(f"{architecture}: {status.name}\n{text}")
    ptx = bytearray(_checked(nvrtc.nvrtcGetPTXSize(program)))
    nvrtc.nvrtcGetPTX(program, ptx)
    nvrtc.nvrtcDestroyProgram(program)
    parameters = {
        name: ["ptr" if pointer else kind for kind, pointer in _PARAMETER.findall(text)]
        for name, text in _ENTRY.findall(ptx.decode())
    }
    spills = {name: int(stores) + int(loads) for name, stores, loads in _PROPERTIES.findall(text)}
    return Compiled(parameters, spills, text)
