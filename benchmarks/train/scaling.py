"""How a step depends on the size of the tables, and how near to the machine's matrix products it is."""

from __future__ import annotations

import numpy as np

from benchmarks.document import table
from benchmarks.train.bench import Bench
from benchmarks.train.figures import Figure, Goal, goal_table, milliseconds, ratio
from benchmarks.train.steps import FEW
from benchmarks.train.worker import in_turns

HUGE = 1_000_000  # rows a field


def tables_section(bench: Bench) -> str:
    """The same step at 1 k and at 1 M rows a field."""
    rows, goals = [], []
    few, huge = bench.worker("ours"), bench.worker("ours", "second")
    for backbone in bench.backbones[:1] + bench.backbones[4:5]:
        few.make(bench.setting(backbone, FEW))
        huge.make(bench.setting(backbone, HUGE))
        seconds = in_turns((few, huge), max(3, bench.rounds // 2), count=2)
        slower = ratio(seconds["second"], seconds["ours"])
        times = [milliseconds(seconds[name]) for name in ("ours", "second")]
        rows.append((f"`{backbone}`", *times, slower.show()))
        goals.append(Goal(f"`{backbone}`, {HUGE:,} / {FEW:,} rows a field", slower, 1.25, least=False))
        huge.free()
    header = ("backbone", f"ms, {FEW:,} rows a field ", f"ms, {HUGE:,} rows a field ", "slower by ")
    return f"{table(header, rows)}\n\n{goal_table(goals)}"


def experts_section(bench: Bench) -> str:
    """Models with experts against the peak of matrix products, in float32 and bfloat16."""
    names = ("mmoe",) if bench.quick else ("mmoe", "cgc", "ple")
    rows, goals = [], []
    single, half = bench.worker("ours"), bench.worker("ours", "second")
    for backbone in names:
        setting = bench.setting(backbone)
        single.make(setting)
        half.make(setting.having(dtype="mixed_bfloat16"))
        flops = single.ask("flops")
        peaks: dict[str, list[float]] = {"float32": [], "bfloat16": []}
        seconds: dict[str, list[float]] = {"float32": [], "bfloat16": []}
        in_turns((single, half), 1)
        for _ in range(bench.rounds):  # peak and step alternate: both of the same minute
            for name, worker in (("float32", single), ("bfloat16", half)):
                peaks[name].append(single.ask("peak", dtype=name, size=64 if bench.quick else 2048))
                seconds[name].append(worker.steps())
        used = {name: Figure.of(flops / np.array(seconds[name]) / np.array(peaks[name])) for name in peaks}
        faster = ratio(np.array(seconds["float32"]), np.array(seconds["bfloat16"]))
        for name in peaks:
            peak = np.median(peaks[name]) / 1e9
            rows.append(
                (f"`{backbone}`", name, f"{flops / 1e9:.1f}", milliseconds(np.array(seconds[name])),
                 f"{peak:.0f}", used[name].show())
            )  # fmt: skip
        goals.append(Goal(f"`{backbone}`, share of the float32 peak", used["float32"], 0.6))
        goals.append(Goal(f"`{backbone}`, bfloat16 / float32 speed", faster, 1.6))
    header = ("backbone", "policy", "GFLOP a step ", "ms ", "peak, GFLOP/s ", "share of the peak ")
    return f"{table(header, rows)}\n\n{goal_table(goals)}"
