"""A backbone of your own, in a file outside the package, in the whole pipeline.

    python -m examples.own_backbone

is

    python pipeline.py run --config configs/simulator.yaml \\
        --set model.backbone=examples.own_backbone:TwoPart root=runs/own_backbone

`model.backbone` takes `package.module:Class` beside the names that come with the package; the module has to
be on Python's path. Sessions, critics, weightings, the report, export and serving come with it, and a change
of this file trains anew.
"""

from __future__ import annotations

import sys
from typing import Any

import keras

from rmtl_tf.backbones.base import Backbone
from rmtl_tf.layers import MLP


@keras.saving.register_keras_serializable(package="examples")
class TwoPart(Backbone):
    """A wide and a deep part: logits = V s + W MLP(s), s the embedded fields (Cheng et al., DLRS 2016)."""

    def __init__(self, spec: Any, tasks: Any, **settings: Any) -> None:
        super().__init__(spec, tasks, **settings)
        self.deep = MLP((64, 32), dropout=self.dropout, seed=self.part_seed("deep"), name="deep")
        self.out = self._output("out")
        self.wide = self._output("wide")

    def _output(self, name: str) -> keras.layers.Dense:
        start = keras.initializers.GlorotUniform(seed=self.part_seed(name))
        return keras.layers.Dense(len(self.tasks), kernel_initializer=start, name=name)

    def logits(self, state: Any, training: bool = False) -> Any:
        """State [N, F * D] -> logits [N, K]."""
        return self.wide(state) + self.out(self.deep(state, training=training))


if __name__ == "__main__":
    from pipeline import main

    own = ["model.backbone=examples.own_backbone:TwoPart", "root=runs/own_backbone", *sys.argv[1:]]
    sys.exit(main(["run", "--config", "configs/simulator.yaml", "--set", *own]))
