"""MetaHeac: hybrid experts and critics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from rmtl_tf.backbones.base import Backbone
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.layers import MLP, Experts, Gate, Towers, mix
from rmtl_tf.schema import Task


@keras.saving.register_keras_serializable(package="rmtl_tf")
class MetaHeac(Backbone):
    """Experts and critics all tasks share, mixed by gates that read an embedding of the task.

    z_k = sum_i g_i(c_k) f_i(x) over the experts f, and p_k = sum_m h_m(c_k) sigmoid(v_m(z_k)) over the
    critics v, where c_k = [mean of the record's fields, embedding of task k] and g, h are softmax gates
    with one hidden layer. The probability is a mixture, and its logit is exact (`mixture_logit`). No
    weight belongs to a task but its row of the task embedding.

    This is the architecture only. The paper's meta-learning loop trains it for tasks never seen
    (audience expansion from a few seed users); here all tasks are known and learn together. Its critics
    are output heads and have nothing to do with the critics of `rmtl_tf.rl`. They are towers here and in the
    author's multi-task library (which takes the mean of h_m sigmoid(v_m), not the sum: no probability), and
    linear in PaddleRec.

    Args:
        spec, tasks: as in `Backbone`.
        bottom: units of the layers of every expert, the last also of the gates. Default (512, 256).
        experts: number of experts. Default 8.
        critic_heads: number of critics, each an MLP with `tower` hidden units. Default 5.
        **kwargs: as in `Backbone`.

    References:
        Zhu et al., "Learning to Expand Audience via Meta Hybrid Experts and Critics for Recommendation
        and Advertising", KDD 2021, arXiv 2105.14688. Equations read in PaddleRec, models/multitask/metaheac.
    """

    SETTINGS = (*Backbone.SETTINGS, "bottom", "experts", "critic_heads")

    def __init__(
        self,
        spec: InputSpec,
        tasks: Sequence[Task],
        *,
        bottom: Sequence[int] = (512, 256),
        experts: int = 8,
        critic_heads: int = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, tasks, **kwargs)
        self.bottom = tuple(bottom)
        self.experts = experts
        self.critic_heads = critic_heads
        self.task_embedding = keras.layers.Embedding(
            len(tasks),
            self.embedding_dim,
            embeddings_initializer=keras.initializers.RandomUniform(seed=self.part_seed("task_embedding")),
            dtype=self.dtype_policy,
            name="task_embedding",
        )
        self.mixture = Experts(
            experts, bottom, self.dropout, self.part_seed("experts"), dtype=self.dtype_policy, name="experts"
        )
        self.critics = Towers(
            critic_heads,
            self.tower,
            self.dropout,
            self.part_seed("critics"),
            dtype=self.dtype_policy,
            name="critics",
        )
        self.gate_hidden = [self._hidden(name) for name in ("experts", "critics")]
        self.gates = [
            Gate(count, self.part_seed("gate", name), dtype=self.dtype_policy, name=f"gate_{name}")
            for name, count in (("experts", experts), ("critics", critic_heads))
        ]

    def _hidden(self, name: str) -> MLP:
        seed = self.part_seed("gate_hidden", name)
        return MLP(self.bottom[-1:], seed=seed, dtype=self.dtype_policy, name=f"gate_hidden_{name}")

    def logits(self, state: Any, training: bool = False) -> Any:
        ops = keras.ops
        tasks, fields = len(self.tasks), self.embedding.fields
        record = ops.mean(ops.reshape(state, (-1, fields, self.embedding_dim)), axis=1)  # (N, D)
        task = ops.expand_dims(self.task_embedding(ops.arange(tasks)), 1)  # (K, 1, D)
        pairs = [record + ops.zeros_like(task), task + ops.zeros_like(record)]  # (K, N, D) each
        # The tasks one after another, [K * N, ...], so that shared parts run once.
        condition = ops.reshape(ops.concatenate(pairs, axis=2), (-1, 2 * self.embedding_dim))
        expert_gate, critic_gate = (
            gate(hidden(condition)) for gate, hidden in zip(self.gates, self.gate_hidden, strict=True)
        )
        outputs = self.mixture(state, training=training)  # (N, experts, W)
        mixed = [mix(gate, outputs) for gate in ops.split(expert_gate, tasks, axis=0)]
        heads = self.critics([ops.concatenate(mixed, axis=0)] * self.critic_heads, training=training)
        return ops.transpose(ops.reshape(mixture_logit(critic_gate, heads), (tasks, -1)))


def mixture_logit(weights: Any, logits: Any) -> Any:
    """The logit of sum_m weights_m sigmoid(logits_m), over the last axis; weights sum to 1.

    log p - log(1 - p), each a logsumexp of log weight + log sigmoid(+-logit): no cancellation where
    the mixture is near 0 or 1. A weight is at least 1e-30, so that its logarithm is finite.
    """
    ops = keras.ops
    weights = ops.log(ops.maximum(weights, 1e-30))
    positive = ops.logsumexp(weights + ops.log_sigmoid(logits), axis=-1)
    return positive - ops.logsumexp(weights + ops.log_sigmoid(-logits), axis=-1)
