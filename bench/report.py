"""The table of a benchmark run: a row per case, a column per engine, and how many times faster than NumPy each is.

python bench/report.py out/bench.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def table(results: dict) -> str:
    """Median times of a pytest-benchmark JSON file, in milliseconds."""
    medians: dict[str, dict[str, float]] = {}
    for result in results["benchmarks"]:
        engine = result["extra_info"]["engine"]
        medians.setdefault(result["group"], {})[engine] = 1e3 * result["stats"]["median"]
    engines = sorted({e for row in medians.values() for e in row}, key=lambda e: (e != "numpy", e))
    head = ["median, ms (speed against numpy)", *engines]
    rows = [[case, *(_cell(times, engine) for engine in engines)] for case, times in medians.items()]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return "\n".join(line.rstrip() for line in lines)


def _cell(times: dict[str, float], engine: str) -> str:
    if engine not in times:
        return "—"
    ratio = f" ({times['numpy'] / times[engine]:.2f}×)" if engine != "numpy" and "numpy" in times else ""
    return f"{times[engine]:.3f}{ratio}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    machine = json.loads(Path(sys.argv[1]).read_text())
    cpu = machine["machine_info"].get("cpu", {})
    print(f"{cpu.get('brand_raw', 'unknown processor')}, {cpu.get('count', '?')} processors, {machine['datetime']}\n")
    print(table(machine))
