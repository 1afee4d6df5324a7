"""The SavedModel: raw features in, one probability a task and one score out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from rmtl_tf.export.folded import Logits, inference_logits
from rmtl_tf.export.rank import Ranker, rank_signature
from rmtl_tf.export.score import SCORE, ScoreFormula
from rmtl_tf.features.encoder import RawEncoder, parse_examples, signature
from rmtl_tf.features.graph import TransformGraph
from rmtl_tf.features.spec import HistorySpec

FOLDED_BYTES = 128 << 20


class ServingModel(tf.Module):
    """A model behind its transform graph.

    Args:
        logits: inputs of the model {name: [N]} -> logits [N, K].
        graph: the transform graph.
        directory: where the graph is saved; its vocabularies become assets.
        score: how the tasks' probabilities become one score.
        history: the earlier records that the backbone reads; `history_length` says how many to whoever
            loads the model.
        candidates: raw inputs that every candidate of `rank` has of its own.
    """

    def __init__(
        self,
        logits: Logits,
        graph: TransformGraph,
        directory: Path,
        score: ScoreFormula,
        history: HistorySpec | None = None,
        candidates: Sequence[str] = (),
    ) -> None:
        super().__init__(name="rmtl")
        self.logits = logits
        self.encoder = RawEncoder(graph, directory, history)
        self.history_length = tf.Variable(0 if history is None else history.length, trainable=False)
        self._names = [task.name for task in graph.tasks]
        self._score = score
        self.rank = Ranker(self.encoder, candidates, self.outputs) if candidates else None

    def outputs(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Inputs of the model {name: [N]} -> probabilities {task: [N]} float32, and `score` [N]."""
        probabilities = tf.unstack(tf.sigmoid(self.logits(inputs)), len(self._names), axis=1)
        named = dict(zip(self._names, probabilities, strict=True))
        return {**named, SCORE: self._score(named)}

    def predict(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Raw features {name: [N] or [N, L]} -> probabilities {task: [N]} float32, and `score` [N]."""
        return self.outputs(self.encoder(raw))

    def predict_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `predict`, from serialized one-record `tf.train.Example`s [N]; absent features are missing."""
        return self.predict(parse_examples(examples, self.encoder.graph, self.encoder.history))


def export_saved_model(
    backbone: keras.layers.Layer,
    graph: TransformGraph,
    graph_directory: Path,
    score: ScoreFormula,
    directory: Path,
    history: HistorySpec | None = None,
    candidates: Sequence[str] = (),
    folded_bytes: int = FOLDED_BYTES,
) -> None:
    """Writes the SavedModel with the signatures `serving_default` (raw named features), `serve_examples`
    (serialized Examples) and, where there are candidates, `rank` (`rmtl_tf.export.rank`).

    Args:
        backbone: `call({name: [N]}, training=False) -> logits [N, K]`.
        graph, score, history, candidates: as in `ServingModel`.
        graph_directory: where the graph is saved.
        directory: to write.
        folded_bytes: as in `rmtl_tf.export.folded.inference_logits`.
    """
    logits = inference_logits(backbone, folded_bytes)
    model = ServingModel(logits, graph, graph_directory, score, history, candidates)
    # A signature's inputs are keyword arguments, so names come from the specs.
    named = tf.function(lambda **features: model.predict(features))
    examples = tf.TensorSpec([None], tf.string, "examples")
    signatures = {
        "serving_default": named.get_concrete_function(**signature(graph, history)),
        "serve_examples": tf.function(model.predict_examples).get_concrete_function(examples),
    }
    if model.rank is not None:
        ranked = tf.function(lambda **features: model.rank(features))
        specs = rank_signature(graph, history, candidates)
        signatures["rank"] = ranked.get_concrete_function(**specs)
    # A session (TF Serving, Java) restores what is tracked: the variables that the functions read, and not
    # Keras' wrappers of them.
    read = {id(v): v for function in signatures.values() for v in function.variables}
    # In the order of the captures: that of `variables` is by address, and so would be the bytes of the file.
    captured = [handle for function in signatures.values() for handle in function.graph.external_captures]
    place = {id(handle): number for number, handle in enumerate(captured)}
    model.weights = sorted(read.values(), key=lambda variable: place.get(id(variable.handle), len(place)))
    tf.saved_model.save(model, str(directory), signatures=signatures)
