"""Requests TF Serving replays while it loads a version, so that no user waits for the first call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rmtl_tf.export.probe import EXAMPLES, EXAMPLES_INPUT, RAW, tile, to_examples

# TF Serving refuses a file with more than 1,000 records; a record may hold many rows.
LARGEST_BATCH = 100


def write_warmup(path: Path, raw: Mapping[str, np.ndarray]) -> int:
    """Writes a TFRecord of PredictionLogs: both signatures, one row and up to 100 rows each.

    Args:
        path: file to write; its place in a version is `assets.extra/tf_serving_warmup_requests`.
        raw: raw inputs {name: [N] or [N, L]}.

    Returns:
        Number of requests.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = len(next(iter(raw.values())))
    sizes = sorted({1, min(rows, LARGEST_BATCH)})
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in sizes:
            some = tile(raw, size)
            for signature, inputs in ((RAW, some), (EXAMPLES, {EXAMPLES_INPUT: to_examples(some)})):
                request = predict_pb2.PredictRequest()
                request.model_spec.signature_name = signature
                for name, values in inputs.items():
                    request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
                log = prediction_log_pb2.PredictionLog(
                    predict_log=prediction_log_pb2.PredictLog(request=request)
                )
                writer.write(log.SerializeToString(deterministic=True))
    return 2 * len(sizes)
