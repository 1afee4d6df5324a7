"""Multi-task models as a Keras user writes them: functional, stock layers, one `Embedding` a field.

One description for Keras 3 and for the Keras 2 that TFRS needs: both are passed in as `keras`. Layers are
called as in `benchmarks.train.weights`. Experts are computed once, whoever mixes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.train.setting import Setting

Tensor = Any


class Functional:
    """Builds the models of one Keras.

    Args:
        keras: the module `keras` or `tf_keras`.
    """

    def __init__(self, keras: Any, setting: Setting) -> None:
        self.keras, self.layers, self.setting = keras, keras.layers, setting

    def model(self) -> Any:
        """{field_i: [N]} -> {task_k: [N, 1]}: logits, of ESMM probabilities.

        Raises:
            KeyError: this backbone has no such model here.
        """
        s, layers = self.setting, self.layers
        inputs = [layers.Input((), dtype="int32", name=f"field_{i}") for i in range(s.fields)]
        embedded = [
            layers.Embedding(s.rows, s.width, name=f"embedding.tables.{i}")(x) for i, x in enumerate(inputs)
        ]
        outputs = BACKBONES[s.backbone](self, layers.Concatenate()(embedded))
        return self.keras.Model(
            {f"field_{i}": x for i, x in enumerate(inputs)}, {f"task_{k}": y for k, y in enumerate(outputs)}
        )

    def mlp(self, x: Tensor, widths: Sequence[int], name: str) -> Tensor:
        for i, width in enumerate(widths):
            x = self.layers.Dense(width, activation="relu", name=f"{name}.{3 * i}")(x)
            x = self.layers.Dropout(self.setting.dropout)(x)
        return x

    def towers(self, states: Sequence[Tensor], activation: str | None = None) -> list[Tensor]:
        tower = self.setting.tower
        return [
            self.layers.Dense(1, activation, name=f"towers.{k}.{3 * len(tower)}")(
                self.mlp(state, tower, f"towers.{k}")
            )
            for k, state in enumerate(states)
        ]

    def experts(self, x: Tensor, count: int, name: str) -> list[Tensor]:
        return [self.mlp(x, self.setting.bottom, f"{name}.{e}") for e in range(count)]

    def mixed(self, x: Tensor, experts: Sequence[Tensor], gate: str) -> Tensor:
        """Experts, [N, W] each, mixed by a softmax gate of x."""
        weights = self.layers.Dense(len(experts), "softmax", use_bias=False, name=gate)(x)
        stacked = self.layers.Concatenate(axis=1)(
            [self.layers.Reshape((1, self.setting.bottom[-1]))(expert) for expert in experts]
        )
        return self.layers.Dot(axes=1)([weights, stacked])


def shared_bottom(build: Functional, state: Tensor) -> list[Tensor]:
    s = build.setting
    return build.towers([build.mlp(state, s.bottom, "shared")] * s.tasks)


def mmoe(build: Functional, state: Tensor) -> list[Tensor]:
    s = build.setting
    experts = build.experts(state, s.experts, "mixture")
    return build.towers([build.mixed(state, experts, f"gates.{k}") for k in range(s.tasks)])


def ple(build: Functional, state: Tensor) -> list[Tensor]:
    s = build.setting
    states = [state] * (s.tasks + 1)
    for level in range(s.levels):
        name, counts = f"extractions.{level}", [s.task_experts] * s.tasks + [s.shared_experts]
        groups = [
            build.experts(x, count, f"{name}.experts.{g}")
            for g, (x, count) in enumerate(zip(states, counts, strict=True))
        ]
        seen = [group + groups[-1] for group in groups[:-1]]
        if level < s.levels - 1:
            seen.append([expert for group in groups for expert in group])
        states = [build.mixed(states[k], experts, f"{name}.gates.{k}") for k, experts in enumerate(seen)]
    return build.towers(states)


def esmm(build: Functional, state: Tensor) -> list[Tensor]:
    s = build.setting
    hidden = [build.mlp(state, s.bottom, f"bottoms.{k}") for k in range(s.tasks)]
    probabilities: list[Tensor] = []
    for own, parent in zip(build.towers(hidden, "sigmoid"), s.parents, strict=True):
        probabilities.append(own if parent < 0 else build.layers.Multiply()([probabilities[parent], own]))
    return probabilities


BACKBONES: dict[str, Callable[[Functional, Tensor], list[Tensor]]] = {
    "shared_bottom": shared_bottom,
    "mmoe": mmoe,
    "ple": ple,
    "esmm": esmm,
}
PROBABILITIES = ("esmm",)  # the outputs are probabilities, the loss is of these


def set_weights(model: Any, weights: dict[str, np.ndarray]) -> None:
    """Gives every layer its weights by name.

    Raises:
        ValueError: a weight is of no layer.
    """
    given = set()
    for layer in model.layers:
        own = [name for name in (f"{layer.name}.weight", f"{layer.name}.bias") if name in weights]
        if own:
            is_table = layer.name.startswith("embedding.")
            layer.set_weights(
                [weights[own[0]] if is_table else weights[own[0]].T, *map(weights.get, own[1:])]
            )
            given |= set(own)
    if missing := set(weights) - given:
        raise ValueError(f"no layer takes {sorted(missing)}")


def logits_of(setting: Setting, outputs: dict[str, Any]) -> np.ndarray:
    """Outputs {task_k: [N, 1]} -> logits [N, K]."""
    values = np.concatenate([np.asarray(outputs[f"task_{k}"]) for k in range(setting.tasks)], axis=1)
    if setting.backbone in PROBABILITIES:
        values = np.log(values) - np.log1p(-values)
    return values


def columns(setting: Setting, ids: np.ndarray, labels: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ids [..., F] and labels [..., K] as columns of records by name."""
    ids, labels = ids.reshape(-1, setting.fields), labels.reshape(-1, setting.tasks)
    features = {f"field_{i}": np.ascontiguousarray(ids[:, i], np.int32) for i in range(setting.fields)}
    return features, {f"task_{k}": np.ascontiguousarray(labels[:, k : k + 1]) for k in range(setting.tasks)}
