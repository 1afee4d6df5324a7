"""The SavedModel: raw features in, one probability a task and one score out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras
import tensorflow as tf

from rmtl_tf.errors import UserError, nearest
from rmtl_tf.features.encoder import RawEncoder, parse_examples, signature
from rmtl_tf.features.graph import TransformGraph
from rmtl_tf.features.spec import HistorySpec


class ServingModel(tf.Module):
    """A backbone behind its transform graph.

    Args:
        backbone: `call({name: [N]}, training=False) -> logits [N, K]`.
        graph: the transform graph.
        directory: where the graph is saved; its vocabularies become assets.
        score: task -> exponent; the score is the product of probability ** exponent. Empty: every task, 1.
        history: the earlier records that the backbone reads; `history_length` says how many to whoever
            loads the model.

    Raises:
        UserError: `score` names a task that is not there, or a task is named `score`.
    """

    def __init__(
        self,
        backbone: keras.layers.Layer,
        graph: TransformGraph,
        directory: Path,
        score: Mapping[str, float],
        history: HistorySpec | None = None,
    ) -> None:
        super().__init__(name="rmtl")
        names = [task.name for task in graph.tasks]
        for task in score:
            if task not in names:
                raise UserError(f"serving.score: no task {task!r}; {nearest(task, names)}")
        if "score" in names:
            raise UserError(
                "schema: a task cannot be named 'score', the name of the combined output. Rename it."
            )
        # Behind a function, so that TensorFlow does not track Keras' wrappers of variables: see `weights`.
        self._backbone = lambda: backbone
        self.encoder = RawEncoder(graph, directory, history)
        self.history_length = tf.Variable(0 if history is None else history.length, trainable=False)
        self._names = names
        self._score = dict(score) or dict.fromkeys(names, 1.0)

    def predict(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Raw features {name: [N] or [N, L]} -> probabilities {task: [N]} float32, and `score` [N]."""
        logits = self._backbone()(self.encoder(raw), training=False)  # [N, K]
        outputs = {name: tf.sigmoid(logits[:, k]) for k, name in enumerate(self._names)}
        score = tf.ones_like(logits[:, 0])
        for name, exponent in self._score.items():
            score *= outputs[name] ** tf.constant(exponent, tf.float32)
        return {**outputs, "score": score}

    def predict_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `predict`, from serialized one-record `tf.train.Example`s [N]; absent features are missing."""
        return self.predict(parse_examples(examples, self.encoder.graph, self.encoder.history))


def export_saved_model(
    backbone: keras.layers.Layer,
    graph: TransformGraph,
    graph_directory: Path,
    score: Mapping[str, float],
    directory: Path,
    history: HistorySpec | None = None,
) -> None:
    """Writes the SavedModel with the signatures `serving_default` (raw named features) and
    `serve_examples` (serialized Examples).

    Raises:
        UserError: see `ServingModel`.
    """
    model = ServingModel(backbone, graph, graph_directory, score, history)
    raw = signature(graph, history)
    # A signature's inputs are keyword arguments, so names come from the specs.
    named = tf.function(lambda **features: model.predict(features)).get_concrete_function(**raw)
    examples = tf.TensorSpec([None], tf.string, "examples")
    serialized = tf.function(model.predict_examples).get_concrete_function(examples)
    # A session (TF Serving, Java) restores what is tracked. Of a `keras.Variable` that is a copy, while the
    # functions read the variable inside: they would find it empty.
    model.weights = [variable.value for variable in backbone.weights]
    tf.saved_model.save(
        model, str(directory), signatures={"serving_default": named, "serve_examples": serialized}
    )
