"""The model that is live now, on the same test records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from rmtl_tf.errors import UserError


class PushedModel:
    """A pushed SavedModel.

    Args:
        version: directory of the pushed version.

    Attributes:
        history_length: how many earlier records it looks at; 0: none.
    """

    def __init__(self, version: Path) -> None:
        self._version = version
        self._model = tf.saved_model.load(str(version))
        self.history_length = int(getattr(self._model, "history_length", 0))

    def probabilities(self, batches: Iterable[Mapping[str, np.ndarray]], tasks: Sequence[str]) -> np.ndarray:
        """Probabilities [N, K] of raw records.

        Args:
            batches: raw input -> [n] or [n, L] arrays (bytes, float32, int64), look-ahead rows left out.

        Raises:
            UserError: the pushed model reads an input the data no longer has, or lacks a task.
        """
        served = self._model.signatures["serving_default"]
        inputs = served.structured_input_signature[1]
        lacking = sorted(set(tasks) - set(served.structured_outputs))
        parts = []
        for batch in batches:
            lacking += sorted(set(inputs) - set(batch))
            if lacking:
                raise UserError(
                    f"pushed model {self._version}: cannot be compared, {lacking} not in both it and the "
                    "data. Push to another directory (push.directory), or remove the old versions."
                )
            outputs = served(**{name: tf.constant(batch[name]) for name in inputs})
            parts.append(np.stack([outputs[task].numpy() for task in tasks], axis=1))
        return np.concatenate(parts)
