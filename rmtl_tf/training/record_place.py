"""Where the features of the train records stay while it trains: in memory, or in a file beside the run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from rmtl_tf.features.spec import InputSpec
from rmtl_tf.inputs import ragged_batches, split_files
from rmtl_tf.packed import Packing
from rmtl_tf.training.memory_limit import GIB, available

log = logging.getLogger(__name__)

_COPIES = 2  # of every value at the peak, when the parts that were read are put together
_SAMPLE = 4096  # Examples
_FRAME = 16  # bytes of a TFRecord beside its Example


def spill_folder(
    wanted: str, split: Path, spec: InputSpec, labels: Sequence[str], timestamp: str, folder: Path
) -> Path | None:
    """`folder` where a file takes the features, None where memory does.

    Args:
        wanted: `training.records`.
    """
    if wanted != "auto":
        return folder if wanted == "disk" else None
    needed, free = features_size(split, spec, labels, timestamp), available()
    if needed <= free / 2:
        return None
    log.info(
        "training.records: about %.1f GiB of features, %.1f GiB of memory are free: a file in %s takes them",
        needed / GIB,
        free / GIB,
        folder,
    )
    return folder


def features_size(split: Path, spec: InputSpec, labels: Sequence[str], timestamp: str) -> int:
    """About how many bytes the features of a split take in memory: what its first Examples do, scaled up."""
    files = split_files(split)
    if not files:
        return 0
    first = tf.data.TFRecordDataset(str(files[0])).take(_SAMPLE)
    sample = sum(len(serialized) + _FRAME for serialized in first.as_numpy_iterator())
    batch = next(iter(ragged_batches([str(files[0])], spec, labels, timestamp)))
    rows = len(batch[timestamp].flat_values)
    total = sum(file.stat().st_size for file in files)
    return round(4 * _COPIES * Packing.of(spec).width * rows * total / sample)
