"""PLE: Progressive Layered Extraction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from rmtl_tf.backbones.base import Backbone
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.layers import Extraction
from rmtl_tf.schema import Task


@keras.saving.register_keras_serializable(package="rmtl_tf")
class PLE(Backbone):
    """Levels of task experts and shared experts (`Extraction`), then a tower per task.

    The first level reads the state everywhere. The last level has no shared gate, for nothing reads
    its shared state. The paper's loss (a sample space for every task, weights that decay) is left to the
    agent and its weightings.

    Args:
        spec, tasks: as in `Backbone`.
        bottom: units of the layers of every expert. Default (512, 256).
        shared_experts: shared experts of each level. Default 4.
        task_experts: experts of each task on each level. Default 4.
        levels: number of extraction levels; 1 is the paper's CGC. Default 2.
        **kwargs: as in `Backbone`.

    References:
        Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for
        Personalized Recommendations", RecSys 2020, section 4.2: equations 6 (a level) and 7 (the towers).
    """

    SETTINGS = (*Backbone.SETTINGS, "bottom", "shared_experts", "task_experts", "levels")

    def __init__(
        self,
        spec: InputSpec,
        tasks: Sequence[Task],
        *,
        bottom: Sequence[int] = (512, 256),
        shared_experts: int = 4,
        task_experts: int = 4,
        levels: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, tasks, **kwargs)
        self.bottom = tuple(bottom)
        self.shared_experts = shared_experts
        self.task_experts = task_experts
        self.levels = levels
        self.extractions = [self.make_extraction(level) for level in range(levels)]
        self.towers = self.make_towers()

    def path_of(self, level: int) -> tuple[str | int, ...]:
        """What names and seeds the extraction of a level, from 0."""
        return ("level", level)

    def make_extraction(self, level: int) -> Extraction:
        """The extraction of a level, from 0."""
        return Extraction(
            len(self.tasks),
            self.task_experts,
            self.shared_experts,
            self.bottom,
            self.dropout,
            shared_output=level < self.levels - 1,
            seed=self.part_seed(*self.path_of(level)),
            dtype=self.dtype_policy,
            name="_".join(map(str, self.path_of(level))),
        )

    def logits(self, state: Any, training: bool = False) -> Any:
        states = [state] * (len(self.tasks) + 1)
        for extraction in self.extractions:
            states = extraction(states, training=training)
        return self.towers(states, training=training)
