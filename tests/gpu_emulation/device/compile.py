"""What the emulated device's compiler runs: CUDA source in, a shared object out.

compile.py BASE      reads BASE.cu and BASE.request (options, expressions to export), writes BASE.so
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from shim import FLAGS, HERE, PLAIN, kernels_in, translate

_BOUNDS = r"(?:__launch_bounds__\s*\([^)]*\)\s*)?"
_KERNEL = re.compile(rf"__global__\s+{_BOUNDS}void\s+{_BOUNDS}(\w+)\s*\(")


def main() -> int:
    base = Path(sys.argv[1])
    library = base.with_suffix(".so")
    if library.exists():
        return 0
    source = base.with_suffix(".cu").read_text()
    request = [line.split(" ", 1) for line in base.with_suffix(".request").read_text().splitlines()]
    options = [value for kind, value in request if kind == "option" and value.startswith(("-I", "-D"))]
    expressions = [value for kind, value in request if kind == "export"]
    include = [f"-I{HERE}", f"-I{Path(__file__).parent / 'include'}", *options]
    header = '#include "cudashim.h"\n#define __HIPCC_RTC__ 1\n#line 1 "kernels"\n'
    names = {f"e{i}": name for i, name in enumerate(expressions)}
    if not names:  # CuPy's own sources include its headers, ours include nothing but may define kernels by macros
        found = _KERNEL.findall(source) if "#include" in source else kernels_in(source)
        names = {name: name for name in found}
    exports = "".join(f"CS_EXPORT({name}, {kernel})\n" for name, kernel in names.items())
    path = base.with_suffix(".cpp")
    path.write_text(f"{header}{translate(source)}\n{exports}")
    flags = [*FLAGS, *PLAIN, "-fpermissive", *include]
    partial = base.with_suffix(".partial")
    compiled = subprocess.run(["g++", *flags, "-shared", str(path), "-o", str(partial)])
    if compiled.returncode == 0:
        partial.rename(library)
    return compiled.returncode


if __name__ == "__main__":
    sys.exit(main())
