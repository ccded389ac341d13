"""Runs the table on the backends that are named: python -m conformance, with tests/ on the path."""

import sys

from dlcore.backends import registry

from . import CASES, check


def main(names: list[str]) -> int:
    """Run the table on the named backends; print each failure and a count. --exact: see `check`'s shifts."""
    shifts: tuple[int | None, ...] = (None,) if "--exact" in names else (0, 1)
    names = [name for name in names if name != "--exact"]
    failures = 0
    for name in names or ["numpy"]:
        backend = registry.get_backend(name)
        for case in CASES:
            try:
                check(backend, case, shifts=shifts)
            except Exception as error:
                failures += 1
                print(f"{type(error).__name__}: {case}: {error}")
        print(f"{name}: {len(CASES)} cases, {failures} failures so far")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
