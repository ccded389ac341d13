"""What bench/peers.py found, as tables and pictures.

    python bench/peer_report.py out/peers.json     writes bench/RESULTS.md, and what it shows to bench/results

A speed is a peer's time divided by dlcore's, taken round by round: above 1 dlcore is the faster one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

Results = dict[str, Any]
NAMES = {"torch": "PyTorch", "jax": "JAX", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "keras": "Keras"}
DISTURBED = 0.1  # share of a processor that other processes took while a case ran


class Verdict(NamedTuple):
    """dlcore against one of its goals for a case."""

    against: str  # the peer that decides
    speed: float
    goal: float

    @property
    def reached(self) -> bool:
        return self.speed >= self.goal


def is_ours(name: str) -> bool:
    return name.startswith("dlcore")


def timed(result: Results) -> dict[str, Results]:
    """The contenders that count: those whose results are right."""
    return {name: row for name, row in result["contenders"].items() if "error" not in row and "median" in row}


def ours(result: Results) -> Results | None:
    return next((row for name, row in timed(result).items() if is_ours(name)), None)


def speed(result: Results, name: str) -> float:
    mine, other = ours(result), timed(result)[name]
    return median(b / a for a, b in zip(mine["rounds"], other["rounds"], strict=True)) if mine else float("nan")


def verdicts(result: Results) -> list[Verdict]:
    """One per goal whose peers have run: `best` of all, `rest` the best of those without a goal of their own."""
    peers = {name: row for name, row in timed(result).items() if not is_ours(name)}
    found = []
    for goal, factor in result["goals"].items():
        field = [
            name for name in peers if name == goal or goal == "best" or (goal == "rest" and name not in result["goals"])
        ]
        if field and ours(result):
            best = min(field, key=lambda name: peers[name]["median"])
            found.append(Verdict(best, speed(result, best), factor))
    return found


def share(result: Results, ceilings: dict[str, float], row: Results) -> float:
    """The part reached of what the roofline allows for this work."""
    possible = max(result["flops"] / ceilings["gemm"], result["bytes"] / ceilings["copy"])
    return possible / row["median"]


def lines(result: Results) -> str:
    """A case in full, a line per contender."""
    text = [f"\n{result['case']}: {result['flops'] / 1e9:.4g} GF, {result['bytes'] / 1e6:.4g} MB"]
    if result["disturbance"] > DISTURBED:
        text[0] += f" (DISTURBED: other processes took {result['disturbance']:.0%} of a processor)"
    for name, row in result["contenders"].items():
        if "error" in row:
            text.append(f"  {name:12} NOT COUNTED: {row['error']}")
            continue
        low, high = (milliseconds(q) for q in row["quartiles"])
        variant = chosen_variant(row)
        text.append(
            f"  {name:12} {milliseconds(row['median']):>8} ms ({low} … {high})  {speed(result, name):6.2f}×  "
            f"{variant}, first call {milliseconds(row['variants'][variant]['first'])} ms"
        )
    return "\n".join(text)


def chosen_variant(row: Results) -> str:
    return min(row["variants"], key=lambda label: row["variants"][label]["seconds"])


def milliseconds(seconds: float) -> str:
    ms = 1e3 * seconds
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}" if ms >= 1 else f"{ms:.3f}"


# ---- tables ------------------------------------------------------------------------------------------------------


def goal_rows(results: Results) -> list[list[str]]:
    rows = [["case", "dlcore, ms", "share of the roof", "best peer", "its ms", "speed", "goal", "reached"]]
    for result in results["cases"]:
        mine = ours(result)
        first = [result["case"] + ("*" if result["disturbance"] > DISTURBED else "")]
        figures = (
            [milliseconds(mine["median"]), f"{share(result, results['machine']['ceilings'], mine):.0%}"]
            if mine
            else ["—", "—"]
        )
        for v in verdicts(result):
            peer = timed(result)[v.against]
            verdict = [f"{v.speed:.2f}×", f"{v.goal:g}×", "yes" if v.reached else "no"]
            rows.append([*first, *figures, NAMES.get(v.against, v.against), milliseconds(peer["median"]), *verdict])
            first, figures = [""], ["", ""]
        if first[0]:
            rows.append([*first, *figures, "—", "—", "—", "—", "—"])
    return rows


def contender_rows(results: Results) -> list[list[str]]:
    names = list(dict.fromkeys(name for result in results["cases"] for name in result["contenders"]))
    rows = [["case, ms (speed)", *names]]
    for result in results["cases"]:
        cells = []
        for name in names:
            row = result["contenders"].get(name)
            if row is None:
                cells.append("—")
            elif "error" in row:
                cells.append("wrong" if "differ" in row["error"] else "failed")
            elif row is ours(result):
                cells.append(milliseconds(row["median"]))
            else:
                cells.append(f"{milliseconds(row['median'])} ({speed(result, name):.2f}×)")
        rows.append([result["case"], *cells])
    return rows


def detail_rows(results: Results) -> list[list[str]]:
    rows = [["case", "contender", "fastest variant", "median, ms", "quartiles, ms", "calls", "first call, ms"]]
    for result in results["cases"]:
        for name, row in timed(result).items():
            variant = chosen_variant(row)
            low, high = (milliseconds(q) for q in row["quartiles"])
            first = milliseconds(row["variants"][variant]["first"])
            rows.append(
                [
                    result["case"],
                    name,
                    variant,
                    milliseconds(row["median"]),
                    f"{low} … {high}",
                    str(row["calls"]),
                    first,
                ]
            )
    return rows


def table(results: Results) -> str:
    """Every case against its goals, in columns for a terminal."""
    rows = goal_rows(results)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*text, "", *_footnote(results), reached(results)])


def _footnote(results: Results) -> list[str]:
    disturbed = any(result["disturbance"] > DISTURBED for result in results["cases"])
    return [f"* other processes took more than {DISTURBED:.0%} of a processor meanwhile"] if disturbed else []


def reached(results: Results) -> str:
    judged = [v for result in results["cases"] for v in verdicts(result)]
    return f"{sum(v.reached for v in judged)} of {len(judged)} goals reached"


def markdown(rows: list[list[str]]) -> str:
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def page(results: Results) -> str:
    m = results["machine"]
    dates = sorted({result["date"] for result in results["cases"]})
    versions = ", ".join(
        f"{name} {about['version']}" + (f" ({about['note']})" if about.get("note") else "")
        for name, about in results["contenders"].items()
    )
    return f"""# dlcore beside its peers

Written by `bench/peer_report.py` from `results/peers.json`. Only ratios carry over to other machines. Single
kernels: `BANDWIDTH.md`.

- Machine: {m["processor"]}, {m["cores"]} cores, {m["isa"]}, {m["threads"]} threads for each; {m["system"]}
- Ceilings measured there: {m["ceilings"]["gemm"] / 1e9:.0f} GF/s in a matrix product of 2048³, \
{m["ceilings"]["copy"] / 1e9:.1f} GB/s in copying memory (read and written bytes count)
- Versions: {versions}
- Measured: {" … ".join(dict.fromkeys((dates[0], dates[-1])))}

## Goals

{reached(results)}. Speed is the peer's time divided by dlcore's, the median over the rounds. The share of the roof is
of what the two ceilings allow for the flops of direct convolution and the bytes that must move; Winograd's convolutions
may exceed it, and so may what stays in the caches.{"".join(f" {note}." for note in _footnote(results))}

{markdown(goal_rows(results))}

![Time of each contender relative to dlcore](results/speed.png)

![Roofline](results/roofline.png)

## All contenders

Median time of a call and, in brackets, how many times faster dlcore is.

{markdown(contender_rows(results))}

## How it is measured

dlcore through `train_on_batch` and `predict_on_batch`, given NumPy arrays, as its users call it. The peers in their
best configuration: PyTorch in NCHW and `channels_last`, with fused optimizers and in inference mode; JAX jitted with
donated buffers, recurrences also with steps unrolled; ONNX Runtime and OpenVINO from one ONNX model, with bound or
shared buffers; ncnn in C++ called from Python, sample by sample. Where a peer has several variants the fastest counts.
Their inputs lie ready in their own arrays and layout.

All compute in float32 with the same weights; outputs, or the losses of the first three training steps, must agree
within 1e-3, or a contender does not count. Training is a whole step: forward, loss, backward, optimizer (Adam for MLPs
and recurrent networks, SGD with momentum for convolutional ones), and the loss read by the host. Each contender has a
process of its own, stopped while others run, and rounds are interleaved. The first call (the model built, compiled, its
weights packed) is timed apart.

ResNet-18 on 32² has the body of the ImageNet network behind a 3 × 3 convolution of stride 1 without pooling; VGG-16 on
32² ends in dense layers of 512 and 10. Recurrent networks take 50 steps of 128 features into 256 units, and end in a
dense layer of 10. Batch normalisation (with the statistics of the batch) and max-pooling take 32 × 56 × 56 × 64.

## Details

{markdown(detail_rows(results))}
"""


# ---- pictures ----------------------------------------------------------------------------------------------------


def pictures(results: Results, folder: Path) -> list[Path]:
    """Bars and a roofline plot; none without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError:
        return []
    mpl.use("Agg")
    made = []
    for name, draw in (("speed.png", _bars), ("roofline.png", _roofline)):
        figure = draw(results)
        figure.savefig(folder / name, dpi=110, bbox_inches="tight")
        made.append(folder / name)
    return made


def _colors(results: Results) -> dict[str, Any]:
    import matplotlib as mpl

    names = dict.fromkeys(name for result in results["cases"] for name in result["contenders"])
    return {name: mpl.colormaps["tab10"](i % 10) for i, name in enumerate(names)}


def _bars(results: Results) -> Any:
    """Per case and contender the time relative to dlcore's, on a logarithmic axis: to the right is slower."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    colors = _colors(results)
    cases = [result for result in results["cases"] if ours(result)]
    figure = Figure(figsize=(9, 1 + 0.16 * sum(1.5 + len(timed(result)) for result in cases)))
    axes = figure.add_subplot()
    y, ticks = 0.0, []
    for result in cases:
        top = y
        for name in timed(result):
            ratio = speed(result, name)
            axes.barh(y, ratio - 1, left=1, color=colors[name], height=0.9)
            axes.annotate(
                milliseconds(timed(result)[name]["median"]), (ratio, y), (3 if ratio >= 1 else -3, 0),
                textcoords="offset points", va="center", ha="left" if ratio >= 1 else "right", fontsize=6,
            )  # fmt: skip
            y += 1
        if len(result["goals"]) == 1 and verdicts(result):
            axes.plot([verdicts(result)[0].goal] * 2, [top - 0.5, y - 0.5], color="black", linewidth=1, linestyle=":")
        ticks.append((top + (y - 1 - top) / 2, result["case"]))
        y += 1.5
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks([place for place, _ in ticks], [label for _, label in ticks], fontsize=8)
    axes.set_ylim(y, -1.5)
    axes.set_xlabel("time relative to dlcore's (right: slower than dlcore); dotted: the goal; figures: ms per call")
    axes.legend(handles=[Patch(color=color, label=name) for name, color in colors.items()], fontsize=7)
    axes.set_title(f"{results['machine']['processor']}, {results['machine']['threads']} threads", fontsize=9)
    return figure


def _roofline(results: Results) -> Any:
    """Rate over intensity (flops per byte), under the ceilings: dlcore's points numbered, the best peer's hollow."""
    import numpy as np
    from matplotlib.figure import Figure

    gemm, copy = (results["machine"]["ceilings"][which] for which in ("gemm", "copy"))
    figure = Figure(figsize=(9, 6))
    axes = figure.add_subplot()
    reach = np.geomspace(0.1, 1000, 200)
    axes.plot(reach, np.minimum(gemm, copy * reach) / 1e9, color="black")
    axes.annotate(f"matrix product {gemm / 1e9:.0f} GF/s", (1000, gemm / 1e9), (0, 4), textcoords="offset points",
                  ha="right", fontsize=8)  # fmt: skip
    axes.annotate(f"copy {copy / 1e9:.0f} GB/s", (0.12, 0.12 * copy / 1e9), (0, 12), textcoords="offset points",
                  rotation=38, fontsize=8)  # fmt: skip
    key = []
    for number, result in enumerate([r for r in results["cases"] if ours(r)], 1):
        intensity, rate = result["flops"] / result["bytes"], result["flops"] / ours(result)["median"] / 1e9
        peers = [row["median"] for name, row in timed(result).items() if not is_ours(name)]
        if peers:
            best = result["flops"] / min(peers) / 1e9
            axes.plot([intensity, intensity], [rate, best], color="tab:gray", linewidth=0.8)
            axes.plot(intensity, best, "o", markerfacecolor="white", color="tab:gray", markersize=5)
        axes.plot(intensity, rate, "o", color="tab:blue", markersize=6)
        axes.annotate(str(number), (intensity, rate), (5, 3), textcoords="offset points", fontsize=8)
        key.append(f"{number}  {result['case']}")
    axes.text(1.02, 1, "\n".join(key), transform=axes.transAxes, va="top", fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel="flops per byte", ylabel="GF/s")
    axes.set_title("blue: dlcore, hollow: the best peer, line: what the machine allows", fontsize=9)
    return figure


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    source, here = Path(sys.argv[1]), Path(__file__).parent
    found = json.loads(source.read_text())
    (here / "results").mkdir(exist_ok=True)
    (here / "results" / "peers.json").write_text(source.read_text())
    (here / "RESULTS.md").write_text(page(found))
    pictures(found, here / "results")
