"""The tables of docs/models.md: every registered method, its paper, what it needs, its size and its speed.

    python benchmarks/models.py                # measures and rewrites the tables; the text around them stays

Papers and equation numbers come from the `References:` of the docstrings, all else from the models
themselves at the paper's sizes. Speeds are medians of interleaved training steps.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pipeline
from benchmarks.document import MODELS, busy, machine, rewrite, table
from benchmarks.references import reference, summary
from rmtl_tf.backbones import BACKBONES
from rmtl_tf.config import CriticConfig
from rmtl_tf.config.agents import AGENT_CONFIGS
from rmtl_tf.errors import UserError
from rmtl_tf.rl.agents import AGENTS
from rmtl_tf.weighting import GRADIENT_METHODS, WEIGHTINGS

if TYPE_CHECKING:
    from benchmarks.speed import Size

BASE_BACKBONE, BASE_WEIGHTING, BASE_TARGET, BASE_AGENT = "shared_bottom", "constant", "td0", "rmtl"
TARGETS = get_args(CriticConfig.model_fields["target"].annotation)
READS = {
    "q": "critic",
    "value": "critic",
    "returns": "frozen actor's returns",
    "frozen": "frozen actor",
    "labels": "labels",
    "session_length": "session length",
}
NONE = "-"


def backbone_table(size: Size, rounds: int) -> str:
    """Under the weighting `constant`."""
    from benchmarks.speed import actor_step, interleaved, make_backbone, speeds

    layers = {name: make_backbone(size, name) for name in BACKBONES}
    figures = {name: (*parameters(layer), forward_flops(layer, size)) for name, layer in layers.items()}
    steps = {name: actor_step(size, layer, BASE_WEIGHTING) for name, layer in layers.items()}
    speed = speeds(interleaved(steps, rounds), BASE_BACKBONE, size.batch)
    rows = []
    for name in sorted(BACKBONES, key=lambda name: figures[name][2]):
        network, tables, flops = figures[name]
        own = "yes" if hasattr(layers[name], "logits_and_loss") else NONE
        rows.append(
            (
                f"`{name}`",
                *source(BACKBONES[name]),
                parent_use(name),
                own,
                millions(network),
                millions(tables),
                millions(flops),
                *speed_cells(speed[name]),
            )
        )
    header = ("backbone", "paper", "equations", "`Task.parent`", "own loss")
    numbers = ("network, M ", "tables, M ", "forward, MFLOP ", "samples/s ", f"x {BASE_BACKBONE} ")
    return table((*header, *numbers), rows)


def weighting_table(size: Size, rounds: int) -> str:
    """On the backbone `shared_bottom`, with the critic `shared` where one is read."""
    from benchmarks.speed import actor_step, interleaved, make_backbone, speeds

    steps = {name: actor_step(size, make_backbone(size, BASE_BACKBONE), name) for name in WEIGHTINGS}
    speed = speeds(interleaved(steps, rounds), BASE_WEIGHTING, size.batch)
    rows = [
        (
            f"`{name}`",
            *source(kind),
            level(kind),
            needs(name, kind),
            "yes" if kind().init(2) else NONE,
            ", ".join(f"`{settings_name(field.name)}`" for field in fields(kind)) or NONE,
            *speed_cells(speed[name]),
        )
        for name, kind in WEIGHTINGS.items()
    ]
    header = ("weighting", "paper", "equations", "weighs", "needs", "state", "settings")
    return table((*header, "samples/s ", f"x {BASE_WEIGHTING} "), rows)


def critic_table(size: Size, rounds: int) -> str:
    """Sizes of every form, and the speed of a training step towards every target."""
    from benchmarks.speed import critic_step, interleaved, make_critic, speeds
    from rmtl_tf.rl.critic_forms import FORMS

    steps = {f"{form} {target}": critic_step(size, form, target) for form in FORMS for target in TARGETS}
    base = f"{next(iter(FORMS))} {BASE_TARGET}"
    speed = speeds(interleaved(steps, rounds), base, size.batch)
    rows = []
    for form, kind in FORMS.items():
        critic = make_critic(size, form)
        sizes = (*parameters(critic), forward_flops(critic, size))
        cells = [f"{each:,.0f} ({ratio:.2f})" for each, ratio in (speed[f"{form} {t}"] for t in TARGETS)]
        rows.append((f"`{form}`", summary(kind), *map(millions, sizes), *cells))
    header = ("critic", "Q", "network, M ", "tables, M ", "forward, MFLOP ")
    return table((*header, *(f"samples/s: `{target}` " for target in TARGETS)), rows)


def agent_table(size: Size, rounds: int) -> str:
    """On the backbone `shared_bottom`; those that weigh losses with the weighting `rmtl`."""
    from benchmarks.speed import agent_step, interleaved, speeds

    steps = {name: agent_step(size, name) for name in AGENTS}
    speed = speeds(interleaved(steps, rounds), BASE_AGENT, size.batch)
    rows = []
    for name, kind in AGENTS.items():
        settings = AGENT_CONFIGS[name]()
        learns = "weighted losses" if settings.WEIGHS else "the critic's gradient"
        form = getattr(kind, "FORM", None) or "any"
        rows.append((f"`{name}`", *source(kind), learns, form, settings.start, *speed_cells(speed[name])))
    header = ("agent", "paper", "equations", "the actor follows", "critic form", "starts", "samples/s ")
    return table((*header, f"x {BASE_AGENT} "), rows)


TABLES: dict[str, Callable[[Size, int], str]] = {
    "backbones": backbone_table,
    "weightings": weighting_table,
    "critics": critic_table,
    "agents": agent_table,
}


def source(kind: type) -> tuple[str, str]:
    paper, place = reference(kind)
    return (paper or NONE, place or NONE)


def parent_use(name: str) -> str:
    """What a backbone does with `Task.parent`: required, used, or ignored; found out by building it."""
    import numpy as np

    from benchmarks.speed import TASKS
    from rmtl_tf.config import ModelConfig
    from rmtl_tf.features.spec import InputSpec
    from rmtl_tf.schema import Task

    model = ModelConfig(backbone=name, embedding_dim=2, bottom=(4,), tower=(3,))
    spec = InputSpec(categorical=(("user", 5), ("kind", 5)), ids=("user",))
    inputs = {key: np.arange(5, dtype=np.int32) for key in ("user", "kind")}

    def answer(tasks: tuple[Task, ...]) -> np.ndarray:
        from rmtl_tf.backbones import build_backbone

        return np.array(build_backbone(model, spec, tasks)(inputs))

    try:
        without = answer(tuple(Task(task.name) for task in TASKS))
    except UserError:
        return "required"
    return "ignored" if np.array_equal(without, answer(TASKS)) else "used"


def level(kind: type) -> str:
    from rmtl_tf.weighting.base import TaskLevel
    from rmtl_tf.weighting.gradient_method import GradientMethod

    if issubclass(kind, GradientMethod):
        return "gradients"
    return "tasks" if issubclass(kind, TaskLevel) else "records"


def needs(name: str, kind: Any) -> str:
    if name in GRADIENT_METHODS:
        return "K backward passes"
    return ", ".join(dict.fromkeys(READS[need] for need in sorted(kind.NEEDS) if need in READS)) or NONE


def settings_name(field: str) -> str:
    from rmtl_tf.config import WeightingConfig

    return WeightingConfig.model_fields[field].alias or field


def parameters(layer: Any) -> tuple[int, int]:
    """Weights of the network, and of the embedding tables."""
    sizes = [(weight.path.endswith("/table"), weight.shape.num_elements()) for weight in layer.weights]
    tables = sum(size for is_table, size in sizes if is_table)
    return sum(size for _, size in sizes) - tables, tables


def forward_flops(layer: Any, size: Size) -> float:
    """Of one record, in serving; of a critic with its action."""
    import tensorflow as tf

    from benchmarks.flops import matmul_flops, signature_of
    from rmtl_tf.rl.critic_base import Critic

    records = size.records()
    inputs = signature_of(records["features"])
    actions = [tf.TensorSpec(records["labels"].shape)] if isinstance(layer, Critic) else []
    return matmul_flops(lambda *args: layer(*args, training=False), inputs, *actions) / size.batch


def millions(value: float) -> str:
    return f"{value / 1e6:.2f}"


def speed_cells(speed: tuple[float, float]) -> tuple[str, str]:
    return f"{speed[0]:,.0f}", f"{speed[1]:.2f}"


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--rounds", type=int, default=9, help="timed steps of each method (default 9)")
    rounds = parser.parse_args().rounds
    from benchmarks.speed import Size

    pipeline.set_up_logging(debug=False)
    load, began = os.getloadavg()[0], time.perf_counter()
    for name, make in TABLES.items():
        content = make(Size(), rounds)
        MODELS.write_text(rewrite(MODELS.read_text(), name, content))
        print(f"{content}\n\n{name}: {time.perf_counter() - began:.0f} s\n", flush=True)
    how = f"Medians of {rounds} interleaved training steps of each method of a table."
    MODELS.write_text(rewrite(MODELS.read_text(), "machine", f"{machine()} {how}{busy(load)}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
