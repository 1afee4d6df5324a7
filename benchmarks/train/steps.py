"""A supervised step beside the same model in PyTorch, plain Keras and TFRS."""

from __future__ import annotations

from benchmarks.document import table
from benchmarks.train.bench import Bench
from benchmarks.train.figures import Goal, goal_table, milliseconds, ratio
from benchmarks.train.functional import BACKBONES as FUNCTIONAL
from benchmarks.train.parity import check_parity, small
from benchmarks.train.worker import in_turns

FEW, MANY = 1_000, 100_000  # rows a field
_GOALS = {FEW: 2.0, MANY: 10.0}
_PLE = 2.5


def torch_section(bench: Bench) -> str:
    """Every backbone at both sizes of tables; parity first."""
    rows, goals, differences = [], [], []
    ours, torch = bench.worker("ours"), bench.worker("torch")
    for backbone in bench.backbones:
        differences.append(check_parity(ours, torch, small(bench.setting(backbone))))
    for backbone in bench.backbones:
        cells = [f"`{backbone}`"]
        for size, goal in _GOALS.items():
            setting = bench.setting(backbone, size)
            for worker in (ours, torch):
                worker.make(setting)
            seconds = in_turns((ours, torch), bench.rounds if size == FEW else max(3, bench.rounds // 2))
            faster = ratio(seconds["torch"], seconds["ours"])
            cells += [milliseconds(seconds["ours"]), milliseconds(seconds["torch"]), faster.show()]
            least = _PLE if backbone == "ple" and size == FEW else goal
            goals.append(Goal(f"`{backbone}`, {size:,} rows a field", faster, least))
        rows.append(cells)
    peer = torch.describe()
    header = ["backbone"]
    for size in _GOALS:
        header += [
            f"ours ms, {size:,} rows ",
            f"PyTorch ms, {size:,} rows ",
            f"PyTorch / ours, {size:,} rows ",
        ]
    note = (
        f"{peer['version']}, {peer['threads']} threads. With the same weights, logits and losses of all "
        f"{len(differences)} models differ by at most {max(differences):.1g}."
    )
    return "\n\n".join([note, table(header, rows), _missed(goals)])


def _missed(goals: list[Goal]) -> str:
    reached = sum(goal.reached for goal in goals)
    text = f"{reached} of {len(goals)} goals are reached"
    missed = [goal for goal in goals if not goal.reached]
    return f"{text}; missed:\n\n{goal_table(missed)}" if missed else f"{text}."


def keras_section(bench: Bench) -> str:
    """`fit` of ours, plain Keras and TFRS; parity first."""
    rows = []
    backbones = list(FUNCTIONAL)[: 1 if bench.quick else None]
    count = 2 if bench.quick else 8
    ours, *peers = (bench.worker(name) for name in ("ours", "keras", "tfrs"))
    for backbone in backbones:
        for peer in peers:
            check_parity(ours, peer, small(bench.setting(backbone)))
    for backbone in backbones:
        for size in (FEW, MANY):
            setting = bench.setting(backbone, size)
            ours.make(setting.having(loop="fit"))
            for peer in peers:
                peer.make(setting)
            rounds = max(3, bench.rounds // 2)
            seconds = in_turns((ours, *peers), rounds, count, warm=2)
            times = [milliseconds(seconds[name]) for name in ("ours", "keras", "tfrs")]
            ratios = [ratio(seconds[name], seconds["ours"]).show() for name in ("keras", "tfrs")]
            rows.append([f"`{backbone}`", f"{size:,}", *times, *ratios])
    versions = ", ".join(peer.describe()["version"] for peer in peers)
    header = (
        "backbone",
        "rows a field ",
        "ours ms ",
        "Keras ms ",
        "TFRS ms ",
        "Keras / ours ",
        "TFRS / ours ",
    )
    return f"{versions}. Time of one `fit` over {count} batches, for each batch.\n\n{table(header, rows)}"
