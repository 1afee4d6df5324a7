"""The job of ExampleGen as a script would do it: one polars frame, tfx-bsl, TensorFlow's writer.

No quarantine, no splits, no statistics, no past feedback; everything in memory. What the pipeline's speed is
compared with.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa

_GAP_MS = 30 * 60 * 1000
_BATCH = 50_000


def plain_examples(events: Path, target: Path) -> int:
    """events.csv of RetailRocket -> one TFRecord file of session Examples; returns the number of events."""
    import tensorflow as tf
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    rows = pl.read_csv(events, schema_overrides=dict.fromkeys(("visitorid", "itemid"), pl.String))
    rows = rows.sort("visitorid", "timestamp")
    visitor, time = pl.col("visitorid"), pl.col("timestamp")
    begins = (visitor != visitor.shift()) | (time - time.shift() > _GAP_MS)
    bought = pl.col("event") == "transaction"
    records = (
        rows.with_columns(begins.fill_null(True).cum_sum().alias("session"))
        .group_by("session", "itemid", maintain_order=True)
        .agg(
            visitor.first(),
            time.first() // 1000,
            (pl.col("event") != "view").any().cast(pl.Int64).alias("click"),
            bought.any().cast(pl.Int64).alias("pay"),
        )
    )
    sessions = records.group_by("session", maintain_order=True).agg(
        visitor.first().cast(pl.Binary).implode(),
        pl.col("itemid").cast(pl.Binary),
        "timestamp",
        "click",
        "pay",
    )
    table = sessions.drop("session").to_arrow(compat_level=pl.CompatLevel.oldest())
    encoder = RecordBatchToExamplesEncoder()
    with tf.io.TFRecordWriter(str(target)) as writer:
        for batch in table.to_batches(_BATCH):
            for example in encoder.encode(_lists(batch)):
                writer.write(example)
    return rows.height


def _lists(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.record_batch({name: batch[name] for name in batch.schema.names})
