"""Builds the native engine and says where the packages lie; everything else is in pyproject.toml.

The C sources of `kernels/native` are compiled once per instruction set and precision and linked, all builds together,
into one extension, `core`; a small Cython module per kernel family binds them to Python. Without a working compiler the
package installs without the native engine, and `dlcore backends` says so. A compiler that does not know AMX leaves out
that build alone.

DLCORE_SANITIZE=1 builds with AddressSanitizer and UBSan (`make sanitize`). DLCORE_WIDE=1 adds a build for tests, called
`wide`: the source of the 512-bit variant, its tiles and edges, in AVX2's instructions.
"""

import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NATIVE = Path("kernels/native")
ONCE = ("threads", "arena", "dispatch")  # C sources that know neither instruction set nor precision
MODULES = sorted(path.stem for path in NATIVE.glob("*.pyx"))
FLAGS = ["-O3", "-std=gnu11", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra"]
FLAGS += ["-g0"]  # Python's own flags ask for debug information: six times the size, half as long again to compile
# Cython's generated C and NumPy's headers are not ours to keep free of warnings.
BINDING_FLAGS = ["-O2", "-std=gnu11", "-fvisibility=hidden", "-Wno-unused-function", "-Wno-cpp"]
ISAS = {"baseline": []}
if platform.machine().lower() in ("x86_64", "amd64"):
    ISAS["avx2"] = ["-mavx2", "-mfma", "-mbmi2", "-mtune=haswell"]
    ISAS["avx512"] = [
        "-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma", "-mbmi2",
        "-mprefer-vector-width=512", "-mtune=skylake-avx512",
    ]  # fmt: skip
    if sys.platform == "linux":  # which alone lends the tiles' registers: dispatch.c
        ISAS["amx"] = [*ISAS["avx512"], "-mamx-tile", "-mamx-bf16"]


def is_set(switch: str) -> bool:
    return os.getenv(switch, "") not in ("", "0")


WIDE = "avx2" in ISAS and is_set("DLCORE_WIDE")
if WIDE:
    # At -O1 its tiles compile in reasonable time. Vectors are only passed to functions that are inlined.
    ISAS["wide"] = [*ISAS["avx2"], "-DVBYTES=64", "-DALWAYS_PAST", "-DEMULATE_TILES", "-O1", "-Wno-psabi"]
FLOAT32_ONLY = ("avx512", "amx", "wide")
OPTIONAL = ("amx", "wide")  # dispatch.c is told of those that are built
# What multiplies matrices, by the first word of its name: all that `amx` compiles; the rest is that of `avx512`.
ON_TILES = ("columns", "conv", "engine", "gemm", "linear", "recurrent", "split", "strassen", "winograd")
TILES_TEST = "#include <immintrin.h>\nvoid f(void) { _tile_zero(0); _tile_dpbf16ps(0, 1, 2); }\n"
SANITIZE = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g", "-O1"] if is_set("DLCORE_SANITIZE") else []


class BuildNative(build_ext):
    """Compiles the C sources per variant before `core` is linked with them."""

    def build_extensions(self):
        try:
            core = next(ext for ext in self.extensions if ext.name.endswith(".core"))
            core.extra_objects = self.compile_variants()
            super().build_extensions()
        except Exception as error:
            if is_set("DLCORE_REQUIRE_NATIVE") or SANITIZE:
                raise
            print(f"warning: installing without the native engine, which did not build: {error}", file=sys.stderr)
            self.extensions = []

    def compile_variants(self) -> list[str]:
        families = sorted(path for path in NATIVE.glob("*.c") if path.stem not in ONCE)
        if "amx" in ISAS and not self.compiles(TILES_TEST, ISAS["amx"]):
            del ISAS["amx"]
        optional = [isa for isa in OPTIONAL if isa in ISAS]
        once = "_".join(["once", *optional]), [], [(isa.upper(), "1") for isa in optional]
        jobs = [(NATIVE / f"{name}.c", *once) for name in ONCE]
        for isa, flags in ISAS.items():
            for bits in (32, 64):
                if bits == 32 or isa not in FLOAT32_ONLY:
                    macros = [("ISA", isa), ("REAL_BITS", str(bits))] + [("REST", "avx512")] * (isa == "amx")
                    sources = [path for path in families if isa != "amx" or path.stem.split("_")[0] in ON_TILES]
                    jobs += [(source, f"{isa}_f{bits}", flags, macros) for source in sources]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(lambda job: self.compile_one(*job), jobs))

    def compiles(self, source: str, flags: list[str]) -> bool:
        """Whether compiler and assembler know these flags and what `source` does with them."""
        command = [*self.compiler.compiler_so, *flags, "-x", "c", "-c", "-", "-o", os.devnull]
        return not subprocess.run(command, input=source.encode(), capture_output=True, check=False).returncode

    def compile_one(self, source: Path, variant: str, flags: list[str], macros: list[tuple[str, str]]) -> str:
        folder = Path(self.build_temp) / variant
        target = folder / NATIVE / f"{source.stem}.o"
        if not self.force and _is_current(target):
            return str(target)
        arguments = FLAGS + flags + SANITIZE + ["-MMD"]  # leaves what the source includes beside the object
        return self.compiler.compile([str(source)], str(folder), macros, extra_postargs=arguments)[0]


def _is_current(target: Path) -> bool:
    listed = target.with_suffix(".d")
    if not target.exists() or not listed.exists():
        return False
    sources = [Path(name) for name in listed.read_text().replace("\\\n", " ").split(":", 1)[1].split()]
    return all(path.exists() and path.stat().st_mtime < target.stat().st_mtime for path in sources)


def extensions() -> list[Extension]:
    options = {
        "include_dirs": [str(NATIVE), numpy.get_include()],
        "define_macros": [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        "extra_compile_args": BINDING_FLAGS + SANITIZE,
        "extra_link_args": ["-pthread", *SANITIZE],
    }
    modules = [Extension(f"dlcore.kernels.native.{name}", [str(NATIVE / f"{name}.pyx")], **options) for name in MODULES]
    modules = cythonize(
        modules, build_dir="build/cython", compiler_directives={"language_level": 3, "binding": True}, quiet=True
    )
    for module in modules:  # only now: cythonize would copy them over its own output
        module.depends += [str(path) for pattern in ("*.h", "*.pxi", "*.c") for path in NATIVE.glob(pattern)]
    return modules


setup(
    packages=[
        "dlcore", "dlcore.functional", "dlcore.layers", "dlcore.optimizers", "dlcore.metrics", "dlcore.applications",
        "dlcore.datasets", "dlcore.io", "dlcore.onnx", "dlcore.onnx.layers", "dlcore.onnx.operators",
        "dlcore.preprocessing", "dlcore.backends", "dlcore.kernels", "dlcore.kernels.reference", "dlcore.kernels.jit",
        "dlcore.kernels.native", "dlcore.kernels.cuda",
    ],
    package_dir={"dlcore": "dlcore", "dlcore.backends": "backends", "dlcore.kernels": "kernels"},
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildNative},
)  # fmt: skip
