"""One loaded version: its signatures called with tensors by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from rmtl_tf.export.warmup import replay_warmup
from rmtl_tf.serving_versions import WARMUP
from serving.plain_server.errors import RequestError

DEFAULT_SIGNATURE = "serving_default"


class ServedModel:
    """A SavedModel that answers requests, after it answered its warm-up requests.

    Args:
        path: the version's directory; its name is the number.
    """

    def __init__(self, path: Path) -> None:
        self.version = int(path.name)
        self._model = tf.saved_model.load(str(path))
        replay_warmup(self._model, path / WARMUP)

    def inputs(self, signature: str = "") -> dict[str, tf.TensorSpec]:
        """Input name -> spec.

        Raises:
            RequestError: there is no such signature.
        """
        return dict(self._signature(signature).structured_input_signature[1])

    @property
    def signature_defs(self) -> dict[str, tuple[dict[str, tf.TensorSpec], dict[str, tf.TensorSpec]]]:
        """Signature -> specs of its inputs and of its outputs."""
        return {
            name: (self.inputs(name), dict(function.structured_outputs))
            for name, function in self._model.signatures.items()
        }

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """The outputs by name, all or those asked for.

        Raises:
            RequestError: an input is missing, unknown, or of another type or shape, and is named.
        """
        function = self._signature(signature)
        tensors = self._tensors(self.inputs(signature), inputs)
        if unknown := set(outputs) - set(function.structured_outputs):
            raise RequestError("INVALID_ARGUMENT", f"output filter: no output named {sorted(unknown)}")
        try:
            answer = function(**tensors)
        except (tf.errors.OpError, TypeError, ValueError) as error:
            raise RequestError("INVALID_ARGUMENT", str(error)) from error
        return {name: value.numpy() for name, value in answer.items() if not outputs or name in outputs}

    def _signature(self, name: str) -> Any:
        name = name or DEFAULT_SIGNATURE
        if name not in self._model.signatures:
            known = ", ".join(sorted(self._model.signatures))
            raise RequestError("INVALID_ARGUMENT", f"no signature {name!r}; the model has {known}")
        return self._model.signatures[name]

    def _tensors(
        self, specs: Mapping[str, tf.TensorSpec], inputs: Mapping[str, np.ndarray]
    ) -> dict[str, tf.Tensor]:
        if inputs.keys() != specs.keys():
            extra, missing = sorted(inputs.keys() - specs.keys()), sorted(specs.keys() - inputs.keys())
            message = f"inputs do not match the signature. Sent extra: {extra}. Missing: {missing}."
            raise RequestError("INVALID_ARGUMENT", message)
        tensors = {}
        for name, spec in specs.items():
            value = inputs[name]
            received = tf.as_dtype(value.dtype if value.dtype.kind not in "SUO" else tf.string)
            if received != spec.dtype or not spec.shape.is_compatible_with(value.shape):
                wanted = f"{spec.dtype.name} {spec.shape}"
                message = f"input {name!r}: expected {wanted}, received {received.name} {list(value.shape)}"
                raise RequestError("INVALID_ARGUMENT", message)
            tensors[name] = tf.constant(value, spec.dtype)
        return tensors
