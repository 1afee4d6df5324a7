"""A SavedModel in this process, held and called as TF Serving does it; needs TensorFlow and nothing of ours.

    model = SessionModel(Path("serving/shop/3"))
    scores = model.predict({"user": ["ann", "bob"], "product": ["a", "b"]})["score"]

A session, and not `tf.saved_model.load`, because a call costs less: nearly nothing of it is Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

DEFAULT_SIGNATURE = "serving_default"
_METHOD = "tensorflow/serving/predict"


class SessionModel:
    """The signatures of a SavedModel; calls from several threads run side by side.

    An operation runs in its caller's thread, one after the other, and is itself spread over all cores:
    requests are too short for threads of their own.

    Args:
        path: a SavedModel.

    Attributes:
        inputs: signature -> {input: spec}.
        outputs: signature -> {output: spec}.

    Raises:
        OSError: there is no SavedModel.
    """

    def __init__(self, path: Path) -> None:
        config = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=-1)
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        with self._session.graph.as_default():
            loaded = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(path))
        found = {name: s for name, s in loaded.signature_def.items() if s.method_name == _METHOD}
        self.inputs = {name: _specs(signature.inputs) for name, signature in found.items()}
        self.outputs = {name: _specs(signature.outputs) for name, signature in found.items()}
        self._calls = {name: self._callable(signature) for name, signature in found.items()}

    def predict(self, inputs: Mapping[str, Any], signature: str = DEFAULT_SIGNATURE) -> dict[str, np.ndarray]:
        """The outputs by name.

        Args:
            inputs: every input of the signature: arrays or nested lists of its type and number of axes.

        Raises:
            ValueError: there is no such signature, or an input is missing, unknown, or of another type or
                shape; it is named.
            tf.errors.OpError: the model refuses the values.
        """
        if signature not in self._calls:
            raise ValueError(f"no signature {signature!r}; the model has {', '.join(sorted(self._calls))}")
        specs = self.inputs[signature]
        if inputs.keys() != specs.keys():
            extra, missing = sorted(inputs.keys() - specs.keys()), sorted(specs.keys() - inputs.keys())
            raise ValueError(f"inputs do not match the signature. Sent extra: {extra}. Missing: {missing}.")
        arrays = [_fed(name, inputs[name], spec) for name, spec in specs.items()]
        return dict(zip(self.outputs[signature], self._calls[signature](*arrays), strict=True))

    def close(self) -> None:
        """Gives the memory back; no call may be running."""
        self._calls.clear()
        self._session.close()

    def _callable(self, signature: Any) -> Callable[..., list[np.ndarray]]:
        options = config_pb2.CallableOptions(
            feed=[info.name for info in signature.inputs.values()],
            fetch=[info.name for info in signature.outputs.values()],
        )
        # Not `make_callable`, which goes through `run` and its Python wherever there are inputs.
        return self._session._make_callable_from_options(options)


def _specs(infos: Mapping[str, Any]) -> dict[str, tf.TensorSpec]:
    return {
        name: tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype))
        for name, info in infos.items()
    }


def _fed(name: str, value: Any, spec: tf.TensorSpec) -> np.ndarray:
    """A value as the session takes it: arrays must have the type, of lists the numbers are converted."""
    kinds = {tf.string: "SUO", tf.float32: "f", tf.int64: "i"}[spec.dtype]
    wanted = object if spec.dtype == tf.string else spec.dtype.as_numpy_dtype
    array = value
    if not isinstance(value, np.ndarray):
        try:
            array = np.array(value, object if wanted is object else None)
        except ValueError:  # rows of unequal lengths
            array = np.empty((), object)
        if wanted is not object and (not array.size or array.dtype.kind in kinds + "iu"):
            array = array.astype(wanted)
    fits = array.dtype.kind in kinds and (wanted is object or array.dtype == wanted)
    if not fits or not spec.shape.is_compatible_with(array.shape):
        received = "string" if array.dtype.kind in "SUO" else array.dtype.name
        wanted_text = f"{spec.dtype.name} {spec.shape}"
        raise ValueError(f"input {name!r}: expected {wanted_text}, received {received} {list(array.shape)}")
    return array.astype(object) if array.dtype.kind in "SU" else array
