"""dlcore beside its peers: the same work, the same weights, the same threads, one process each.

    python bench/peers.py                         every case that is not slow, with every peer that is installed
    python bench/peers.py --slow                  the slow ones, too
    python bench/peers.py --cases 'LeNet|MLP'     those whose name matches
    python bench/peers.py --without jax           leave one out (may be repeated)
    python bench/peers.py --with dlcore-numba     take one that is not asked by itself (may be repeated)

Two libraries' idle threads in one process slow each other up to tenfold, and idle threads that spin disturb other
processes as well. So each contender has a process of its own, which is stopped (SIGSTOP) while it is not its turn. The
contenders take turns round by round, so that a machine that drifts is fair to all, and ratios are taken within a round.
Outputs, and the losses of the first training steps, are compared before anything is timed: who differs does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np

import peer_report
from cases import CASES, Case
from contenders import CONTENDERS

HERE = Path(__file__).parent
TOLERANCE = 1e-3  # of the largest output; of each loss
LONGEST = 300  # seconds that a contender may take for an answer


@dataclass
class Effort:
    """How long to measure: rounds of so many seconds per contender, fewer (but 3) once the case's budget is spent."""

    rounds: int = 11
    seconds: float = 0.1
    budget: float = 60.0


class ContenderError(Exception):
    """A contender's process ended or gave no answer."""


class Process:
    """A contender's worker, which runs only while it is asked something."""

    def __init__(self, name: str, threads: int) -> None:
        self.name, self.threads = name, threads
        self.start()

    def start(self) -> None:
        counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "DLCORE_NUM_THREADS", "NPROC")
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "contenders.worker", self.name, str(self.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=HERE,
            env={**os.environ, **dict.fromkeys(counts, str(self.threads)), **quiet},
        )
        try:
            self.about = self._answer()
        except ContenderError:
            self.close()
            raise

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()
            answer = self._answer()
        except (ContenderError, BrokenPipeError) as error:
            self.close()
            self.start()
            raise ContenderError(str(error)) from None
        if "error" in answer:
            raise ContenderError(answer["error"])
        return answer

    def _answer(self) -> dict[str, Any]:
        pipe = self.process.stdout
        assert pipe is not None
        ready, _, _ = select.select([pipe], [], [], LONGEST)
        line = pipe.readline() if ready else b""
        if not line:
            raise ContenderError(f"ended with status {self.process.wait()}" if ready else f"no answer in {LONGEST} s")
        self.process.send_signal(signal.SIGSTOP)
        return json.loads(line)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def run_case(case: Case, processes: list[Process], effort: Effort) -> dict[str, Any]:
    """Everything about a case: who did it right, and how long each took."""
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        weights, (x, y) = case.network.weights(), case.data()
        np.savez(Path(folder) / "weights.npz", allow_pickle=False, **weights)
        np.savez(Path(folder) / "data.npz", x=x, y=y)
        for process in processes:
            try:
                variants = process.ask(do="prepare", case=case.name, folder=folder)["variants"]
            except ContenderError as error:
                results[process.name] = {"error": str(error)}
                continue
            if variants:
                results[process.name] = {"variants": variants}
        outputs = {path.stem: np.load(path) for path in Path(folder).glob("*.npy")}
    check(case, results, outputs)
    times: dict[str, list[list[float]]] = {name: [] for name, row in results.items() if "error" not in row}
    order = [process for process in processes if process.name in times]
    start = time.monotonic()
    for number in range(effort.rounds):
        if number >= 3 and time.monotonic() - start > effort.budget:
            break
        for process in order:
            times[process.name].append(process.ask(do="time", seconds=effort.seconds)["times"])
        order = order[1:] + order[:1]
    for name, rounds in times.items():
        results[name] |= summary(rounds)
    about = {"task": case.task, "batch": case.batch, "goals": case.goals, "flops": case.flops(), "bytes": case.bytes()}
    return {"case": case.name, "date": str(date.today()), **about, "contenders": results}


def check(case: Case, results: dict[str, dict[str, Any]], outputs: dict[str, np.ndarray]) -> None:
    """Notes an error with every contender of which a variant does not agree with the element-wise median of all."""
    reference = np.median([*outputs.values()], axis=0) if len({o.shape for o in outputs.values()}) == 1 else None
    for key, output in sorted(outputs.items()):
        name, variant = key.split("@")
        wrong = f"shape {output.shape}" if reference is None else difference(case, output, reference)
        if wrong and name in results:
            results[name]["error"] = f"{variant}: {wrong}"


def difference(case: Case, output: np.ndarray, reference: np.ndarray) -> str:
    """What is wrong with an output, or with the losses of a training run; nothing if it agrees."""
    scale = np.abs(reference) if case.task == "train" else np.max(np.abs(reference))
    error = float(np.max(np.abs(output - reference) / scale))
    what = "the losses differ" if case.task == "train" else "the output differs"
    return "" if error <= TOLERANCE else f"{what} by {error:.1e}, more than {TOLERANCE:.0e}"


def summary(rounds: list[list[float]]) -> dict[str, Any]:
    every = sorted(t for times in rounds for t in times)
    low, middle, high = quantiles(every, n=4, method="inclusive") if len(every) > 1 else every * 3
    return {"median": middle, "quartiles": [low, high], "calls": len(every), "rounds": [median(r) for r in rounds]}


def machine(threads: int) -> dict[str, Any]:
    """The machine's name and its ceilings, measured now."""
    facts = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", facts)
    found = [isa for isa in ("avx512f", "avx2", "sse4_2", "asimd") if re.search(rf"\b{isa}\b", facts)]
    measured = subprocess.run(
        [sys.executable, str(HERE / "ceilings.py"), str(threads)], capture_output=True, text=True, check=True
    )
    return {
        "processor": model[1] if model else platform.processor() or platform.machine(),
        "isa": found[0] if found else platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "ceilings": json.loads(measured.stdout),
    }


def start_all(names: list[str], threads: int) -> list[Process]:
    processes = []
    for name in names:
        try:
            processes.append(Process(name, threads))
        except ContenderError as error:
            print(f"{name} does not start: {error}")
    return processes


def chosen(arguments: argparse.Namespace) -> list[str]:
    """Names of the contenders to run, dlcore first; those that are not installed are named."""
    usual = [name for name, (_, _, by_itself) in CONTENDERS.items() if by_itself or name in arguments.also]
    wanted = [name for name in arguments.contenders or usual if name not in arguments.without]
    missing = [name for name in wanted if not find_spec(CONTENDERS[name][1])]
    if missing:
        print(f"not installed: {', '.join(missing)} (pip install -e '.[peers]')")
    return [name for name in wanted if name not in missing]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, names = parser.add_argument, list(CONTENDERS)
    add("--cases", default="", metavar="REGEX", help="run the cases whose name matches")
    add("--slow", action="store_true", help="run those that take long, too")
    add("--quick", action="store_true", help="few and short rounds: to see that it runs")
    add("--without", action="append", default=[], choices=names, metavar="NAME", help="leave a contender out")
    add("--with", action="append", default=[], choices=names, dest="also", metavar="NAME", help="take one more")
    add("--contenders", type=lambda text: text.split(","), metavar="NAME,NAME", help="take these and no others")
    add("--rounds", type=int, default=Effort.rounds, help=f"at most (default: {Effort.rounds})")
    add("--threads", type=int, default=os.cpu_count(), help="of each contender (default: all processors)")
    add("--keep", action="store_true", help="keep what the last run found about cases that do not run now")
    add("--output", type=Path, default=Path("out/peers.json"), help="where results go (default: out/peers.json)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.contenders or () if name not in CONTENDERS]
    if unknown:
        parser.error(f"unknown contenders: {', '.join(unknown)}; there are {', '.join(CONTENDERS)}")
    return arguments


def main() -> None:
    arguments = parse()
    effort = Effort(min(3, arguments.rounds), 0.02) if arguments.quick else Effort(arguments.rounds)
    found = [c for c in CASES.values() if re.search(arguments.cases, c.name) and (arguments.slow or not c.slow)]
    last = json.loads(arguments.output.read_text()) if arguments.keep and arguments.output.exists() else {}
    cases = {result["case"]: result for result in last.get("cases", [])}
    about = machine(arguments.threads)
    processes = start_all(chosen(arguments), arguments.threads)
    try:
        for case in found:
            cases[case.name] = run_case(case, processes, effort)
            print(peer_report.lines(cases[case.name]), flush=True)
    finally:
        for process in processes:
            process.close()
    results = {
        "machine": about,
        "contenders": last.get("contenders", {}) | {process.name: process.about for process in processes},
        "cases": [cases[name] for name in CASES if name in cases],
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    print("\n" + peer_report.table(results))
    print(f"\n{arguments.output} holds all figures")
    for picture in peer_report.pictures(results, arguments.output.parent):
        print(f"{picture} shows them")


if __name__ == "__main__":
    main()
