"""One loaded version: its signatures called with arrays by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from rmtl_tf.export.warmup import warm_up
from rmtl_tf.serving_versions import WARMUP
from serving.in_process import DEFAULT_SIGNATURE, SessionModel
from serving.plain_server.errors import RequestError


class ServedModel:
    """A SavedModel that answers requests, after it answered its warm-up requests.

    Args:
        path: the version's directory; its name is the number.
    """

    def __init__(self, path: Path) -> None:
        self.version = int(path.name)
        self._model = SessionModel(path)
        warm_up(self._model.predict, path / WARMUP)

    def inputs(self, signature: str = "") -> dict[str, tf.TensorSpec]:
        """Input name -> spec.

        Raises:
            RequestError: there is no such signature.
        """
        return self._model.inputs[self._known(signature)]

    @property
    def signature_defs(self) -> dict[str, tuple[dict[str, tf.TensorSpec], dict[str, tf.TensorSpec]]]:
        """Signature -> specs of its inputs and of its outputs."""
        return {name: (inputs, self._model.outputs[name]) for name, inputs in self._model.inputs.items()}

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """The outputs by name, all or those asked for.

        Raises:
            RequestError: an input is missing, unknown, or of another type or shape, and is named.
        """
        signature = self._known(signature)
        if unknown := set(outputs) - set(self._model.outputs[signature]):
            raise RequestError("INVALID_ARGUMENT", f"output filter: no output named {sorted(unknown)}")
        try:
            answer = self._model.predict(inputs, signature)
        except (tf.errors.OpError, TypeError, ValueError) as error:
            raise RequestError("INVALID_ARGUMENT", str(error)) from error
        return {name: value for name, value in answer.items() if not outputs or name in outputs}

    def _known(self, name: str) -> str:
        name = name or DEFAULT_SIGNATURE
        if name not in self._model.inputs:
            known = ", ".join(sorted(self._model.inputs))
            raise RequestError("INVALID_ARGUMENT", f"no signature {name!r}; the model has {known}")
        return name
