"""DBMTL: Deep Bayesian Multi-Target Learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from rmtl_tf.backbones.base import Backbone
from rmtl_tf.backbones.parents import parents_of
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.layers import MLP, Towers
from rmtl_tf.schema import Task


@keras.saving.register_keras_serializable(package="rmtl_tf")
class DBMTL(Backbone):
    """Tasks as a Bayesian network whose links are hidden layers: P(y_child | y_parent, x).

    A shared MLP (shared layer), an MLP per task (specific layer), and for every task with a parent an MLP
    on its own hidden state joined with its parent's (Bayesian layer):

        h_k = specific_k(shared(x));  r_k = h_k, or relation_k([h_k, r_parent]);  z_k = w_k r_k + b_k

    The parent passes on its hidden state r, not its probability or label, as in EasyRec, the public code
    of the authors' company. A task without a parent has no Bayesian layer, for in the paper these are the
    network's links; in EasyRec it may have one. The network is the tree of `Task.parent`; the paper also
    searches for the network and gives a target several parents. With one task it is a shared bottom.

    Args:
        spec: as in `Backbone`.
        tasks: as in `Backbone`; a parent must stand before its children.
        bottom: units of the shared layer's MLP. Default (512, 256).
        tower: units of each task's specific layer. Default (128, 64).
        relation: units of each Bayesian layer. Default (64,).
        **kwargs: as in `Backbone`.

    Raises:
        UserError: a parent does not stand before its child, or no task of several has a parent.

    References:
        Wang et al., "Deep Bayesian Multi-Target Learning for Recommender Systems", 2019, arXiv 1902.09154.
        Equations read in EasyRec, easy_rec/python/model/dbmtl.py.
    """

    SETTINGS = (*Backbone.SETTINGS, "bottom", "relation")

    def __init__(
        self,
        spec: InputSpec,
        tasks: Sequence[Task],
        *,
        bottom: Sequence[int] = (512, 256),
        relation: Sequence[int] = (64,),
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, tasks, **kwargs)
        self.parents = parents_of("DBMTL", tasks, needed=len(tasks) > 1)
        self.bottom = tuple(bottom)
        self.relation = tuple(relation)
        self.shared = self._mlp("bottom", self.bottom)
        self.specific = [self._mlp(f"specific_{k}", self.tower) for k in range(len(tasks))]
        self.relations = {
            str(k): self._mlp(f"relation_{k}", self.relation)
            for k, parent in enumerate(self.parents)
            if parent is not None
        }
        self.towers = Towers(
            len(tasks), (), seed=self.part_seed("towers"), dtype=self.dtype_policy, name="towers"
        )

    def _mlp(self, name: str, widths: Sequence[int]) -> MLP:
        return MLP(widths, self.dropout, seed=self.part_seed(name), dtype=self.dtype_policy, name=name)

    def logits(self, state: Any, training: bool = False) -> Any:
        shared = self.shared(state, training=training)
        hidden: list[Any] = []
        for k, parent in enumerate(self.parents):
            own = self.specific[k](shared, training=training)  # (N, W)
            if parent is not None:
                joined = keras.ops.concatenate([own, hidden[parent]], axis=1)
                own = self.relations[str(k)](joined, training=training)
            hidden.append(own)
        return self.towers(hidden, training=training)
