"""Validates one-record Examples, as serving requests hold them, for an environment of the schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rmtl_tf.data.datasets.base import SESSION
from rmtl_tf.data.feature_stats import FEATURE_STATS_FILE, feature_stats
from rmtl_tf.data.sessions import STEP
from rmtl_tf.data.splits import split_dir
from rmtl_tf.data.statistics import SPLIT, Statistics, Tables, merge, tabulate
from rmtl_tf.data.validation.anomaly import Anomaly, Findings
from rmtl_tf.data.validation.compare import compare
from rmtl_tf.data.validation.contract import ExpectedColumn, request_columns
from rmtl_tf.data.validation.decode import Batch, first_values, read_batches
from rmtl_tf.data.validation.distribution import read_dataset
from rmtl_tf.data.validation.examples import Validation
from rmtl_tf.data.validation.schema_rules import length_hits, value_hits
from rmtl_tf.data.validation.statistics_rules import check_comparisons
from rmtl_tf.errors import UserError
from rmtl_tf.schema import SERVING, DataSchema

_DTYPES = {"bytes": pl.String, "int": pl.Int64, "float": pl.Float64}


def validate_requests(
    path: Path,
    schema: DataSchema,
    feedback: Sequence[str],
    severity: Mapping[str, str],
    environment: str = SERVING,
    statistics: Path | None = None,
) -> Validation:
    """Looks at every Example of a TFRecord file; a feature that is not expected there may be absent.

    Args:
        feedback: names of the feedback columns; they may be absent.
        severity: rule -> ERROR, WARNING or IGNORE, in the place of the rule's own.
        statistics: of ExampleGen, to measure the skew between its train split and the requests; None: not.

    Raises:
        UserError: the file is missing or damaged, holds no Example, or the statistics are missing.
    """
    if not path.is_file():
        raise UserError(f"{path}: expected a TFRecord file of tf.train.Examples, found none.")
    findings = Findings(severity)
    columns = request_columns(schema, feedback, environment)
    tables: list[Tables] = []
    found: set[str] = set()
    total = 0
    for batch, hits in read_batches(path, columns):
        own = batch.own()
        one = np.ones(own.size, np.int64)
        for hit in (*hits, *length_hits(own, columns, one, hits), *value_hits(own, columns)):
            findings.add_hit(hit, "", path.name, own.first_row, "")
        if statistics is not None:
            tables.append(tabulate(_records(own, columns), (own.size, 0, 0), schema, feedback))
        found |= own.columns.keys()
        total = own.first_row + own.size
    if not total:
        raise UserError(f"{path}: expected tf.train.Examples, found none.")
    for column in columns:
        if column.needed and column.name not in found:
            findings.drop("missing_value", column.name, path.name)
            findings.add(Anomaly("missing_feature", "ERROR", column.name, "", path.name, total))
    comparisons = []
    if statistics is not None:
        train = read_dataset(split_dir(statistics, "train") / FEATURE_STATS_FILE)
        (requests,) = feature_stats(Statistics(merge(tables), schema, feedback), "train").datasets
        comparisons = compare(train, requests, schema, "skew", ("train", environment))
        check_comparisons(comparisons, findings)
    return Validation({environment: total}, findings.anomalies(), comparisons)


def _records(batch: Batch, columns: Sequence[ExpectedColumn]) -> pl.DataFrame:
    """The Examples as `statistics.tabulate` takes records; null where a value is absent."""
    return pl.DataFrame(dict(_columns(batch, columns)))


def _columns(batch: Batch, columns: Sequence[ExpectedColumn]) -> Iterator[tuple[str, Any]]:
    yield SPLIT, pl.Series([0] * batch.size, dtype=pl.Int64)
    yield STEP, pl.Series([0] * batch.size, dtype=pl.Int64)
    yield SESSION, pl.Series([str(row) for row in range(batch.size)])
    for column in columns:
        if column.name == SESSION:
            continue
        if column.name not in batch.columns:
            yield column.name, pl.Series([None] * batch.size, dtype=_DTYPES[column.type])
            continue
        if column.feature is not None and column.feature.multivalued:
            several = pl.Series(column.name, batch.columns[column.name]).cast(pl.List(pl.String))
            yield column.name, several.list.join(column.feature.separator)
            continue
        values = pl.Series(column.name, first_values(batch, column.name))
        if column.type == "float":
            values = values.fill_nan(None)
        yield column.name, values.cast(_DTYPES[column.type], strict=False)
