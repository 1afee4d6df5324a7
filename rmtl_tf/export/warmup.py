"""Requests TF Serving replays while it loads a version, so that no user waits for the first call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rmtl_tf.export.probe import EXAMPLES, EXAMPLES_INPUT, RANK, RAW, tile, to_examples, to_request

# TF Serving refuses a file with more than 1,000 records; a record may hold many rows.
LARGEST_BATCH = 100
# The executor of a graph tunes itself by the cost of its first runs, and memory pools grow in them.
_REPLAYS = 3


def write_warmup(path: Path, raw: Mapping[str, np.ndarray], candidates: Sequence[str] = ()) -> int:
    """Writes a TFRecord of PredictionLogs: every signature, one row or candidate and up to 100 each.

    Args:
        path: file to write; its place in a version is `assets.extra/tf_serving_warmup_requests`.
        raw: raw inputs {name: [N] or [N, L]}.
        candidates: which of them `rank` takes as lists of candidates; none: there is no such signature.

    Returns:
        Number of requests.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = len(next(iter(raw.values())))
    count = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in sorted({1, min(rows, LARGEST_BATCH)}):
            some = tile(raw, size)
            requests = {RAW: some, EXAMPLES: {EXAMPLES_INPUT: to_examples(some)}}
            if candidates:
                requests[RANK] = to_request(some, candidates)
            for signature, inputs in requests.items():
                request = predict_pb2.PredictRequest()
                request.model_spec.signature_name = signature
                for name, values in inputs.items():
                    request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
                log = prediction_log_pb2.PredictionLog(
                    predict_log=prediction_log_pb2.PredictLog(request=request)
                )
                writer.write(log.SerializeToString(deterministic=True))
                count += 1
    return count


def replay_warmup(model: Any, path: Path) -> int:
    """`warm_up` of what `tf.saved_model.load` returned."""
    import tensorflow as tf

    def call(inputs: Mapping[str, np.ndarray], signature: str) -> None:
        model.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})

    return warm_up(call, path)


def warm_up(predict: Callable[[Mapping[str, np.ndarray], str], Any], path: Path) -> int:
    """Calls a loaded model as TF Serving would while loading it: for who serves it from Python.

    The first call of a signature compiles its graph, which takes tens of milliseconds.

    Args:
        predict: called with the inputs and the signature's name.
        path: what `write_warmup` wrote; a version without it is not warmed up.

    Returns:
        Number of requests.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    if not path.is_file():
        return 0
    count = 0
    for record in tf.data.TFRecordDataset(str(path)):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        for _ in range(_REPLAYS):
            predict(inputs, request.model_spec.signature_name)
        count += 1
    return count
