"""The signature `rank`: what is true of a request once, its candidates, and their order.

A request sends user, time, feedback and history once and the items as lists, so nothing is repeated on the
wire, and strings of the context are looked up once, not once a candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from rmtl_tf.errors import UserError, nearest
from rmtl_tf.export.score import ORDER, SCORE
from rmtl_tf.features.encoder import RawEncoder, signature
from rmtl_tf.features.graph import TransformGraph
from rmtl_tf.features.history_encoder import encode_history
from rmtl_tf.features.spec import HistorySpec
from rmtl_tf.schema import DataSchema

Tensors = dict[str, tf.Tensor]


def candidate_inputs(graph: TransformGraph, schema: DataSchema, context: Sequence[str]) -> tuple[str, ...]:
    """The raw inputs that every candidate has of its own: step features, but those in `context`.

    Feedback, time and history are as of the request, so they belong to the context.

    Raises:
        UserError: `context` names no step feature, or names all of them.
    """
    steps = [f.name for f in schema.inputs if not f.context and f.name in graph.raw]
    for name in context:
        if name not in steps:
            raise UserError(f"serving.context: no step feature {name!r}; {nearest(name, steps)}")
    candidates = tuple(name for name in steps if name not in context)
    if steps and not candidates:
        raise UserError(
            f"serving.context: names every step feature ({', '.join(steps)}), so candidates would not "
            "differ. Leave out what belongs to the item."
        )
    return candidates


def rank_signature(
    graph: TransformGraph, history: HistorySpec | None, candidates: Sequence[str]
) -> dict[str, tf.TensorSpec]:
    """Spec of every input: context [B] or [B, L], of a candidate [B, M], or [B, M, L] with several values."""
    specs = signature(graph, history)
    for name in candidates:
        specs[name] = tf.TensorSpec([None, None, *specs[name].shape[1:]], specs[name].dtype, name)
    return specs


class Ranker(tf.Module):
    """Scores the candidates of B requests with M candidates each.

    Args:
        encoder: raw values -> inputs of `outputs`.
        candidates: names of `candidate_inputs`, at least one.
        outputs: model inputs {name: [N]} -> {task: [N], "score": [N]}.
    """

    def __init__(
        self, encoder: RawEncoder, candidates: Sequence[str], outputs: Callable[[Tensors], Tensors]
    ) -> None:
        super().__init__(name="ranker")
        self._encoder, self._candidates, self._outputs = encoder, tuple(candidates), outputs
        features = encoder.graph.features
        self._own = [f.name for f in features if not set(f.raw).isdisjoint(candidates)]
        self._shared = [f.name for f in features if f.name not in self._own]

    def __call__(self, raw: Mapping[str, tf.Tensor]) -> Tensors:
        """Raw inputs of `rank_signature` -> {task, "score": float32 [B, M], "order": int32 [B, M]}.

        `order` holds the places of the candidates, the highest score first; of equals the first sent.
        """
        shape = tf.shape(raw[self._candidates[0]])[:2]  # B, M
        with tf.control_dependencies(self._same_sizes(raw, shape)):
            count = tf.identity(shape[1])
        flat = {name: _flat(raw[name]) for name in self._candidates}
        inputs = self._encoder.encode(raw, self._shared)
        if self._encoder.history is not None:
            inputs |= encode_history(self._encoder, self._encoder.history, raw)
        inputs = {name: tf.repeat(values, count, axis=0) for name, values in inputs.items()}
        outputs = self._outputs(inputs | self._encoder.encode(flat, self._own))
        ranked = {name: tf.reshape(values, shape) for name, values in outputs.items()}
        ranked[ORDER] = tf.argsort(ranked[SCORE], direction="DESCENDING", stable=True)
        return ranked

    def _same_sizes(self, raw: Mapping[str, tf.Tensor], shape: tf.Tensor) -> list[tf.Operation]:
        """Assertions that name the input which has another number of requests or candidates."""
        first, checks = self._candidates[0], []
        for name, values in raw.items():
            axes = 2 if name in self._candidates else 1
            message = f"input {name} has other sizes than {first} [requests, candidates]"
            checks.append(tf.debugging.assert_equal(tf.shape(values)[:axes], shape[:axes], message=message))
        return checks


def _flat(values: tf.Tensor) -> tf.Tensor:
    """[B, M, ...] -> [B * M, ...]; -1 would be ambiguous where M or L is 0."""
    shape = tf.shape(values)
    return tf.reshape(values, tf.concat([shape[:1] * shape[1:2], shape[2:]], axis=0))
