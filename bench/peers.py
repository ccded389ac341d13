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
from contenders.process import ContenderError, Process

HERE = Path(__file__).parent
TOLERANCE = 1e-3  # of the largest output; of each loss
MUCH = 0.3  # of one processor, used by others during a turn
REPEATS = 5


@dataclass
class Effort:
    """How long to measure: rounds of so many seconds per contender, fewer (but 3) once the case's budget is spent."""

    rounds: int = 11
    seconds: float = 0.1
    budget: float = 60.0


def run_case(case: Case, processes: list[Process], effort: Effort) -> dict[str, Any]:
    """Everything about a case: who did it right, and how long each took."""
    results = prepare(case, processes)
    right = [process for process in processes if "variants" in results.get(process.name, {})]
    disturbance = measure([process for process in right if "error" not in results[process.name]], results, effort)
    return {
        "case": case.name,
        "date": str(date.today()),
        "task": case.task,
        "batch": case.batch,
        "goals": case.goals,
        "flops": case.flops(),
        "bytes": case.bytes(),
        "disturbance": disturbance,
        "contenders": results,
    }


def prepare(case: Case, processes: list[Process]) -> dict[str, dict[str, Any]]:
    """The first steps of all contenders, and an error with those that fail or differ."""
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        x, y = case.data()
        np.savez(Path(folder) / "weights.npz", allow_pickle=False, **case.network.weights())
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
    return results


def measure(processes: list[Process], results: dict[str, dict[str, Any]], effort: Effort) -> float:
    """Adds the times of each to its results, round by round. The share of a processor that others took."""
    times: dict[str, list[list[float]]] = {process.name: [] for process in processes}
    lost, start = 0.0, time.monotonic()
    for number in range(effort.rounds):
        if number >= 3 and time.monotonic() - start > effort.budget:
            break
        for process in list(processes):
            try:
                measured, others = turn(process, effort.seconds)
            except ContenderError as error:
                results[process.name]["error"] = str(error)
                processes = [p for p in processes if p is not process]
                del times[process.name]
                continue
            times[process.name].append(measured)
            lost += others
        processes = processes[1:] + processes[:1]
    for name, rounds in times.items():
        results[name] |= summary(rounds)
    return lost / (time.monotonic() - start)


def turn(process: Process, seconds: float) -> tuple[list[float], float]:
    """The times of one turn and what others used meanwhile. If that was much, the turn is repeated, but not forever."""
    for _ in range(REPEATS):
        start, before = time.monotonic(), process.time_of_others()
        times = process.ask(do="time", seconds=seconds)["times"]
        others, elapsed = process.time_of_others() - before, time.monotonic() - start
        if others < MUCH * elapsed:
            break
    return times, others


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


def machine(threads: int, seconds: float) -> dict[str, Any]:
    """The machine's name and its ceilings, measured now."""
    facts = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", facts)
    found = [isa for isa in ("amx_bf16", "avx512f", "avx2", "sse4_2", "asimd") if re.search(rf"\b{isa}\b", facts)]
    command = [sys.executable, str(HERE / "ceilings.py"), str(threads), str(seconds)]
    measured = subprocess.run(command, stdout=subprocess.PIPE, check=True)
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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the contenders end with it
    about = machine(arguments.threads, 0.2 if arguments.quick else 1.5)
    processes = start_all(chosen(arguments), arguments.threads)
    try:
        for case in found:
            cases[case.name] = run_case(case, processes, effort)
            print(peer_report.lines(cases[case.name]), flush=True)
    finally:
        for process in processes:
            process.close()
    if last:
        about["ceilings"] = {
            name: max(rate, last["machine"]["ceilings"][name]) for name, rate in about["ceilings"].items()
        }
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
