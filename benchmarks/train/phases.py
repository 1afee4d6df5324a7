"""What training costs beyond the step: the loop, weights, the three phases, the input."""

from __future__ import annotations

import numpy as np

from benchmarks.document import table
from benchmarks.train.bench import Bench
from benchmarks.train.figures import Figure, Goal, goal_table, milliseconds, ratio
from benchmarks.train.worker import in_turns


def loop_section(bench: Bench) -> str:
    """Phases of `Trainer`, as a run has them, beside the bare compiled step."""
    names = ("shared_bottom",) if bench.quick else ("shared_bottom", "mmoe")
    rounds, batches, epochs = (1, 4, 2) if bench.quick else (3, 16, 2)
    rows, goals = [], []
    phases, step = bench.worker("ours"), bench.worker("ours", "second")
    for backbone in names:
        setting = bench.setting(backbone)
        step.make(setting)
        step.steps(2)
        found: dict[str, list[float]] = {}
        for _ in range(rounds):
            before = step.steps(batches) / batches
            took = phases.ask("train", setting=setting.to_json(), batches=batches, epochs=epochs)
            took["step"] = (before + step.steps(batches) / batches) / 2
            for key, value in took.items():
                found.setdefault(key, []).append(value)
        times = {key: np.array(values) for key, values in found.items()}
        shown = ("step", "pretrain", "control", "critic", "paper", "frozen", "encoded")
        once = (times["frozen"] + times["encoded"]) / epochs  # a phase does it once, whatever its epochs
        whole = times["pretrain"] + times["critic"] + times["paper"] + once
        actor = times["pretrain"] + times["control"]
        goals.append(Goal(f"`{backbone}`, `fit` / bare step", ratio(times["step"], times["pretrain"]), 0.9))
        goals.append(
            Goal(f"`{backbone}`, three phases / actor's epochs", ratio(whole, actor), 1.6, least=False)
        )
        as_many = ratio(whole, times["pretrain"] + 2 * times["control"])
        rows.append((f"`{backbone}`", *(milliseconds(times[key]) for key in shown), as_many.show()))
    header = (
        "backbone",
        "bare step ms ",
        "A ms ",
        "C, control ms ",
        "B, critic ms ",
        "C, paper ms ",
        "frozen actor ms ",
        "critic's states ms ",
    )
    return f"{table((*header, 'three phases / as many supervised epochs '), rows)}\n\n{goal_table(goals)}"


def weights_section(bench: Bench) -> str:
    """A fine-tuning step with the critic's weights and without."""
    rows, goals = [], []
    names = ("shared_bottom",) if bench.quick else ("shared_bottom", "esmm", "mmoe", "ple")
    without, weighted = bench.worker("ours"), bench.worker("ours", "second")
    for backbone in names:
        without.make(bench.setting(backbone))
        weighted.make(bench.setting(backbone).having(weighting="rmtl"))
        seconds = in_turns((without, weighted), bench.rounds)
        more = ratio(seconds["second"], seconds["ours"])
        rows.append(
            (f"`{backbone}`", *(milliseconds(seconds[name]) for name in ("ours", "second")), more.show())
        )
        goals.append(Goal(f"`{backbone}`, with weights / without", more, 1.15, least=False))
    header = ("backbone", "without ms ", "with ms ", "with / without ")
    return f"{table(header, rows)}\n\n{goal_table(goals)}"


def input_section(bench: Bench) -> str:
    """Batches of transitions made and thrown away, beside the cheapest step."""
    setting = bench.setting("shared_bottom")
    count = 4 if bench.quick else 200
    ours = bench.worker("ours")
    ours.make(setting)
    ours.steps(2)
    ours.ask("input", count=2)
    inputs, steps = [], []
    for _ in range(bench.rounds):
        inputs.append(ours.ask("input", count=count) / count)
        steps.append(ours.steps(4) / 4)
    faster = ratio(np.array(steps), np.array(inputs))
    rate = Figure.of(setting.batch / np.array(inputs))
    taken = setting.batch / np.median(steps)
    text = (
        f"The input alone makes {rate.median:,.0f} records/s; the step of `shared_bottom` takes {taken:,.0f}."
    )
    return f"{text}\n\n{goal_table([Goal('input / step', faster, 10)])}"
