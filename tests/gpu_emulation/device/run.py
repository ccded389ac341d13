"""Runs a command with the real CuPy on the emulated device.

    python tests/gpu_emulation/device/run.py pytest --require-backend=cupy tests/test_conformance.py

The Python that runs this must have CuPy's wheel for ROCm (PyPI: cupy-rocm-7-0), which looks for HIP's libraries at run
time. Here it finds libraries of these names built from the sources beside this file, in which all that CuPy's wheel
refers to exists, and what dlcore needs works; the rest says that it is not there.
"""

from __future__ import annotations

import glob
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE.parents[2] / "build" / "emulated_device"
RUNTIME = "libamdhip64.so.7"
LIBRARIES = {  # beginning of a function's name -> the library that CuPy expects it in
    "hipblas": "libhipblas.so.3", "hiprand": "libhiprand.so.1", "hipsparse": "libhipsparse.so.4",
    "hipfft": "libhipfft.so.0", "rocsolver": "librocsolver.so.0", "rocblas": "librocblas.so.5",
    "rocfft": "librocfft.so.0", "roctx": "libroctx64.so.4", "roctracer": "libroctracer64.so.4", "nccl": "librccl.so.1",
    "": RUNTIME,
}  # fmt: skip
SOURCES = {RUNTIME: "runtime.cpp", "libhipblas.so.3": "blas.cpp"}
_DEFINITION = re.compile(r"^API\s+[\w\s*]+?\b(\w+)\(", re.MULTILINE)


def build() -> None:
    """The libraries, into BUILD/lib."""
    for folder in ("lib", "bin", "kernels"):
        (BUILD / folder).mkdir(parents=True, exist_ok=True)
    wanted: dict[str, list[str]] = {library: [] for library in LIBRARIES.values()}
    for symbol in undefined_symbols():
        library = next(library for start, library in LIBRARIES.items() if symbol.startswith(start))
        wanted[library].append(symbol)
    link(RUNTIME, wanted.pop(RUNTIME), [])  # first, for the others use it
    for library, symbols in wanted.items():
        link(library, symbols, [f"-L{BUILD / 'lib'}", f"-l:{RUNTIME}"] if library in SOURCES else [])
    compiler = ["g++", "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", str(HERE / "compiler.cpp")]
    subprocess.run([*compiler, "-o", str(BUILD / "lib" / "libhiprtc.so.7"), "-Wl,-soname,libhiprtc.so.7"], check=True)
    for name in ("libhiprtc.so", "libhiprtc.so.6"):
        (BUILD / "lib" / name).unlink(missing_ok=True)
        (BUILD / "lib" / name).symlink_to("libhiprtc.so.7")
    hipcc = BUILD / "bin" / "hipcc"  # CuPy asks it where its headers are
    hipcc.write_text(
        f'#!/bin/sh\necho "#include <...> search starts here:\n {HERE / "include"}\nEnd of search list." >&2\n'
    )
    hipcc.chmod(0o755)


def undefined_symbols() -> list[str]:
    """What CuPy's wheel takes from HIP's libraries: names, with their versions (name@version)."""
    packages = Path(sysconfig.get_paths()["purelib"])
    extensions = [
        p for name in ("cupy", "cupy_backends") for p in glob.glob(f"{packages}/{name}/**/*.so", recursive=True)
    ]
    listed = subprocess.run(["nm", "-D", "--undefined-only", *extensions], capture_output=True, text=True).stdout
    return sorted(set(re.findall(r" U ((?:hip|roc|__hip|nccl)\S+)", listed)))


def link(library: str, symbols: list[str], extra: list[str]) -> None:
    """A library that has all of `symbols`: those of its source, and ones that say they are missing."""
    source = (HERE / SOURCES[library]).read_text() if library in SOURCES else '#include "emulated.h"\n'
    defined = set(_DEFINITION.findall(source)) | set(re.findall(r"^GEMM\((\w),", source, re.MULTILINE))
    versions: dict[str, list[str]] = {}
    text = source + "\n#include <stdio.h>\n"
    for symbol in symbols:
        name, _, version = symbol.partition("@")
        versions.setdefault(version, []).append(name)
        if name not in defined and not re.fullmatch(r"hipblas[SD]gemm(StridedBatched)?", name):
            missing = f'fprintf(stderr, "emulated device: {name} is not there\\n")'
            text += f"API int {name}() {{ {missing}; return NOT_SUPPORTED; }}\n"
    path = BUILD / f"{library}.cpp"
    path.write_text(text)
    command = ["g++", "-O2", "-std=c++17", "-Wall", "-Wextra", "-shared", "-fPIC", f"-I{HERE}", str(path), "-ldl"]
    command += ["-o", str(BUILD / "lib" / library), f"-Wl,-soname,{library}", *extra]
    if any(versions):
        script = BUILD / f"{library}.map"
        script.write_text("".join(f"{v} {{ global: {'; '.join(n)}; }};\n" for v, n in sorted(versions.items()) if v))
        command.append(f"-Wl,--version-script={script}")
    subprocess.run(command, check=True)


def environment() -> dict[str, str]:
    compiler = f"{sys.executable} -P {HERE / 'compile.py'}"
    return os.environ | {
        "LD_LIBRARY_PATH": str(BUILD / "lib"),
        "ROCM_HOME": str(BUILD),
        "PATH": f"{BUILD / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "EMULATED_CACHE": str(BUILD / "kernels"),
        "EMULATED_COMPILER": compiler,
        "CUPY_CACHE_DIR": str(BUILD / "cupy"),
    }


if __name__ == "__main__":
    sources = [*HERE.glob("*.cpp"), *HERE.glob("*.h"), Path(__file__)]
    stamp = BUILD / "built"
    if not stamp.exists() or stamp.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        build()
        stamp.touch()
    os.execvpe(sys.argv[1], sys.argv[1:], environment())
