"""One contender in a process of its own: reads commands as JSON lines, answers each with one.

    {"do": "prepare", "case": …, "folder": …}   builds every variant, makes the first steps, keeps the fastest
    {"do": "time", "seconds": …}                 repeats the step for so long; the time of each

python -m contenders.worker NAME THREADS
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from cases import CASES, Case

from . import CONTENDERS, Run

CHECKED_STEPS = 3  # of a training run


class Worker:
    def __init__(self, name: str, threads: int) -> None:
        module, library, _ = CONTENDERS[name]
        self.name, self.threads = name, threads
        self.module = importlib.import_module(f"contenders.{module}")
        self.run: Run | None = None
        try:
            self.version = version(library)
        except PackageNotFoundError:
            self.version = "unknown"

    def prepare(self, case: str, folder: str) -> dict[str, Any]:
        self.run = None
        gc.collect()
        chosen = CASES[case]
        weights = dict(np.load(Path(folder) / "weights.npz"))
        data = np.load(Path(folder) / "data.npz")
        variants = self.module.variants(self.name, self.threads, chosen, weights, data["x"], data["y"])
        answer: dict[str, Any] = {}
        best = float("inf")
        for label, build in variants.items():
            start = time.perf_counter()
            run = build()
            first_value = run.step()
            first = time.perf_counter() - start
            output = self._output(chosen, run, first_value)
            np.save(Path(folder) / f"{self.name}@{label}.npy", output)
            seconds = median(_times(run, 0.3 if len(variants) > 1 else 0.05))
            answer[label] = {"first": first, "seconds": seconds}
            if seconds < best:
                best, self.run = seconds, run
            del run
            gc.collect()
        return {"variants": answer}

    @staticmethod
    def _output(case: Case, run: Run, first: Any) -> np.ndarray:
        if case.task != "train":
            return np.array(run.value(first))
        losses = [first, *(run.step() for _ in range(CHECKED_STEPS - 1))]
        return np.array([float(run.value(loss)) for loss in losses])

    def time(self, seconds: float) -> dict[str, Any]:
        assert self.run is not None
        return {"times": _times(self.run, seconds)}


def _times(run: Run, seconds: float) -> list[float]:
    """Of each call, for so long; of at least one, and the first of many only warms up."""
    step, clock = run.step, time.perf_counter
    start = clock()
    end = start + seconds
    times = []
    while True:
        step()
        now = clock()
        times.append(now - start)
        if now >= end:
            break
        start = now
    return times[1:] if len(times) > 2 else times


def _confine(threads: int) -> None:
    """Where not all processors are wanted, no library may use more, whatever settings it heeds."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def main() -> None:
    name, threads = sys.argv[1], int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    _confine(threads)
    worker = Worker(name, threads)
    about = {"version": worker.version, "note": getattr(worker.module, "note", lambda _: "")(name)}
    print(json.dumps(about), file=answers)
    for line in sys.stdin:
        command = json.loads(line)
        do = command.pop("do")
        try:
            answer = getattr(worker, do)(**command)
        except Exception as error:  # the driver says so and goes on with the others
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
