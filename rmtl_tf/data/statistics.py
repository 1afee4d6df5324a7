"""Statistics of records: small tables a partition, merged exactly, and what is said about the whole as JSON.

Tables hold everything: `counts` (feature, split, value, count); `moments` (feature, split, count, missing,
mean, m2, low, high), where m2 is the sum of squared distances from the mean; and `buckets` (feature, split,
exponent, bucket, count), the histograms of `histogram.py`. Tables of partitions add up to those of the whole
(Chan, Golub, LeVeque 1979 for the moments). Of counts only frequent values are kept, once all counts of a
value are together (`condense`), so that their number is bounded; `rest` (feature, split, distinct, count)
says how many other values there are and how often they stand, in split -1 for all splits together.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rmtl_tf.data import histogram
from rmtl_tf.data.multivalued import split_values
from rmtl_tf.data.sessions import STEP
from rmtl_tf.data.splits import SPLITS
from rmtl_tf.schema import DataSchema, Feature

SPLIT = "#split"

KEPT = 1000
TABLES = "tables"
_TOP = 10
_NO_REST = pl.DataFrame(schema={"feature": pl.String} | dict.fromkeys((SPLIT, "distinct", "count"), pl.Int64))
_LENGTHS = "#length"
_WINDOWS = "#windows"
_BUCKET = ("feature", SPLIT, "exponent", "bucket")
_NO_BUCKETS = pl.DataFrame(schema={"feature": pl.String} | dict.fromkeys((*_BUCKET[1:], "count"), pl.Int64))
_LENGTH_EDGES = (1, 2, 3, 4, 6, 11, 21, 51, 101, 201, 501, 1001)


@dataclass(frozen=True)
class Tables:
    """The statistics of some records: `counts`, `moments`, `buckets` and `rest`, as the module says."""

    counts: pl.DataFrame
    moments: pl.DataFrame
    buckets: pl.DataFrame
    rest: pl.DataFrame


def tabulate(
    records: pl.DataFrame, windows: Sequence[int], schema: DataSchema, feedback: Sequence[str]
) -> Tables:
    """The tables of one partition.

    Args:
        records: ordered records with `SPLIT` (index in `SPLITS`) and `STEP`.
        windows: the number of windows of each split.
        feedback: names of the feedback columns.
    """
    strings = [f for f in schema.inputs if f.kind == "categorical"]
    last = pl.col(STEP).shift(-1, fill_value=0) == 0
    lengths = records.filter(last).select(SPLIT, (pl.col(STEP) + 1).alias(_LENGTHS))
    counts = [_count(_single_values(records, feature), feature.name, feature.name) for feature in strings]
    counts += [_count(records, label, label) for label in schema.labels]
    counts.append(_count(lengths, _LENGTHS, _LENGTHS))
    counts.append(
        pl.DataFrame({SPLIT: range(len(SPLITS)), "count": windows}).select(
            pl.lit(_WINDOWS).alias("feature"), pl.col(SPLIT).cast(pl.Int64), value=pl.lit(""), count="count"
        )
    )
    numbers = {f.name: f.log for f in schema.inputs if f.kind == "numeric"} | dict.fromkeys(feedback, False)
    moments = [_moments(records, name) for name in (schema.timestamp, *numbers)]
    buckets = [_buckets(records, name, log) for name, log in numbers.items()]
    return Tables(pl.concat(counts), pl.concat(moments), pl.concat([_NO_BUCKETS, *buckets]), _NO_REST)


def merge(tables: Sequence[Tables]) -> Tables:
    """The tables of all partitions together; the order of `tables` decides the last bits of the moments."""
    counts = pl.concat([table.counts for table in tables])
    counts = counts.group_by("feature", SPLIT, "value").agg(pl.sum("count")).sort("feature", SPLIT, "value")
    moments = _pool(pl.concat([table.moments for table in tables]), "feature", SPLIT)
    rest = (
        pl.concat([table.rest for table in tables])
        .group_by("feature", SPLIT)
        .agg(pl.sum("distinct", "count"))
    )
    buckets = _pool_buckets(pl.concat([table.buckets for table in tables]))
    return Tables(counts, moments, buckets, rest.sort("feature", SPLIT))


def save_tables(tables: Tables, directory: Path) -> None:
    """Writes the tables into `directory/tables/`, for `load_tables`."""
    (directory / TABLES).mkdir(exist_ok=True)
    for part in fields(Tables):
        getattr(tables, part.name).write_ipc(directory / TABLES / f"{part.name}.arrow", compression="lz4")


def load_tables(directory: Path) -> Tables:
    """What `save_tables` wrote."""
    names = (part.name for part in fields(Tables))
    return Tables(*(pl.read_ipc(directory / TABLES / f"{name}.arrow") for name in names))


def condense(counts: pl.DataFrame, most: int = KEPT) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All counts of some values -> `counts` of the frequent ones among them, and `rest`.

    A value is kept in all splits if it is among the `most` frequent of its feature in one of them or in all
    together; ties go by value. Missing values are kept, and all that counts no values of a feature.
    """
    counts = counts.group_by("feature", SPLIT, "value").agg(pl.sum("count"))
    overall = counts.group_by("feature", "value").agg(pl.sum("count"), pl.lit(-1, pl.Int64).alias(SPLIT))
    ranked = pl.concat([counts, overall.select(counts.columns)])
    groups = ranked.partition_by("feature", SPLIT)
    frequent = pl.concat(_most_frequent(group, most) for group in groups)
    always = counts.filter((pl.col("value") == "") | pl.col("feature").is_in([_LENGTHS, _WINDOWS]))
    top = pl.concat([frequent, always]).select("feature", "value").unique()
    kept = counts.join(top, on=("feature", "value"), how="semi").sort("feature", SPLIT, "value")
    others = ranked.join(top, on=("feature", "value"), how="anti")
    rest = others.group_by("feature", SPLIT).agg(pl.len().cast(pl.Int64).alias("distinct"), pl.sum("count"))
    return kept, rest.sort("feature", SPLIT)


def _most_frequent(counts: pl.DataFrame, most: int) -> pl.DataFrame:
    """The `most` rows with the largest counts; ties by value."""
    if counts.height > most:
        least = counts["count"].top_k(most).min()
        counts = counts.filter(pl.col("count") >= least)
    return counts.sort("count", "value", descending=[True, False]).head(most)


def _single_values(records: pl.DataFrame, feature: Feature) -> pl.DataFrame:
    """A row for every value of a feature with several a record; one without a value where there is none."""
    if not feature.multivalued:
        return records
    values = split_values(pl.col(feature.name), feature.separator, feature.max_values)
    return records.select(SPLIT, values).explode(feature.name, empty_as_null=True)


def _count(frame: pl.DataFrame, column: str, feature: str) -> pl.DataFrame:
    value = pl.col(column).cast(pl.String).fill_null("").alias("value")
    counts = frame.group_by(SPLIT, value).agg(pl.len().cast(pl.Int64).alias("count"))
    return counts.select(pl.lit(feature).alias("feature"), pl.col(SPLIT).cast(pl.Int64), "value", "count")


def _moments(records: pl.DataFrame, name: str) -> pl.DataFrame:
    number = pl.col(name).cast(pl.Float64)
    return (
        records.group_by(SPLIT)
        .agg(
            feature=pl.lit(name),
            count=number.count().cast(pl.Int64),
            missing=number.null_count().cast(pl.Int64),
            mean=number.mean(),
            m2=((number - number.mean()) ** 2).sum(),
            low=number.min(),
            high=number.max(),
        )
        .select("feature", pl.col(SPLIT).cast(pl.Int64), "count", "missing", "mean", "m2", "low", "high")
    )


def _buckets(records: pl.DataFrame, name: str, log: bool) -> pl.DataFrame:
    number = pl.col(name).cast(pl.Float64)
    given = records.select(pl.col(SPLIT).cast(pl.Int64), number.alias("number")).filter(
        pl.col("number").is_finite()
    )
    exponent, index = histogram.bucket(given["number"].to_numpy(), log)
    counts = given.select(
        SPLIT,
        feature=pl.lit(name),
        exponent=pl.lit(exponent, pl.Int64),
        bucket=pl.Series(index, dtype=pl.Int64),
    )
    return counts.group_by(_BUCKET).agg(pl.len().cast(pl.Int64).alias("count"))


def _pool_buckets(buckets: pl.DataFrame) -> pl.DataFrame:
    """Histograms on one grid for each feature, the finest that holds all its splits."""
    pooled = [_NO_BUCKETS]
    for (name,), rows in buckets.partition_by("feature", as_dict=True).items():
        finest = rows["exponent"].to_numpy()
        exponent = int(finest.max())
        index = histogram.coarsen(rows["bucket"].to_numpy(), finest, exponent)
        exponent, index = histogram.fit(exponent, index)
        rows = rows.with_columns(
            feature=pl.lit(name), exponent=pl.lit(exponent, pl.Int64), bucket=pl.Series(index, dtype=pl.Int64)
        )
        pooled.append(rows.group_by(_BUCKET).agg(pl.sum("count")))
    return pl.concat(pooled).sort(_BUCKET)


def _pool(moments: pl.DataFrame, *keys: str) -> pl.DataFrame:
    """Moments of the union of rows with equal `keys`."""
    count, mean = pl.col("count"), pl.col("mean").fill_null(0.0)
    total = (count * mean).sum() / pl.max_horizontal(count.sum(), 1)
    return (
        moments.group_by(keys, maintain_order=True)
        .agg(
            pl.sum("count"),
            pl.sum("missing"),
            mean=pl.when(count.sum() > 0).then(total),
            m2=(pl.col("m2") + count * (mean - total) ** 2).sum(),
            low=pl.col("low").min(),
            high=pl.col("high").max(),
        )
        .sort(keys)
    )


class Statistics:
    """Reads the merged tables.

    Args:
        tables: of all partitions.
        schema: of the records.
        feedback: names of the feedback columns.
    """

    def __init__(self, tables: Tables, schema: DataSchema, feedback: Sequence[str]) -> None:
        self.tables, self.schema, self.feedback = tables, schema, tuple(feedback)

    @cached_property
    def records(self) -> dict[str, int]:
        """Records of each split."""
        time = self.tables.moments.filter(pl.col("feature") == self.schema.timestamp)
        return {split: int(time.filter(pl.col(SPLIT) == i)["count"].sum()) for i, split in enumerate(SPLITS)}

    @cached_property
    def positives(self) -> dict[str, dict[str, int]]:
        """Of each split, task -> records whose label is 1."""
        labels = dict(zip(self.schema.task_names, self.schema.labels, strict=True))
        return {
            split: {task: self._total(label, i, "1") for task, label in labels.items()}
            for i, split in enumerate(SPLITS)
        }

    def splits(self) -> dict[str, dict[str, Any]]:
        """Records, sessions, windows, first and last timestamp, and rate of each task, by split."""
        time = self.tables.moments.filter(pl.col("feature") == self.schema.timestamp)
        result = {}
        for i, split in enumerate(SPLITS):
            span = time.filter(pl.col(SPLIT) == i)
            records = self.records[split]
            result[split] = {
                "records": records,
                "sessions": self._total(_LENGTHS, i),
                "windows": self._total(_WINDOWS, i),
                "start": int(span["low"].item()) if records else None,
                "end": int(span["high"].item()) if records else None,
                "rates": {task: ones / max(records, 1) for task, ones in self.positives[split].items()},
            }
        return result

    def session_length(self) -> dict[str, list[int]]:
        """Histogram of the length of sessions: `counts[i]` have edges[i] <= records < edges[i + 1]."""
        lengths = self._of(self.tables.counts, _LENGTHS).select(pl.col("value").cast(pl.Int64), "count")
        longest = int(lengths["value"].max() or 0)  # type: ignore[arg-type]
        edges = [edge for edge in _LENGTH_EDGES if edge <= longest] + [longest + 1]
        counts = [
            int(lengths.filter((pl.col("value") >= low) & (pl.col("value") < high))["count"].sum())
            for low, high in itertools.pairwise(edges)
        ]
        return {"edges": edges, "counts": counts}

    def features(self, split: str | None = None) -> dict[str, dict[str, Any]]:
        """Missing, unique and most frequent values, or moments, of every input; of all splits or of one."""
        result = {}
        for feature in self.schema.inputs:
            describe = self._string if feature.kind == "categorical" else self._number
            result[feature.name] = describe(feature.name, split)
        return result | {name: self._number(name, split) for name in self.feedback}

    def _string(self, name: str, split: str | None) -> dict[str, Any]:
        counts = self._of(self.tables.counts, name, split).group_by("value").agg(pl.sum("count"))
        given = counts.filter(pl.col("value") != "").sort("count", "value", descending=[True, False])
        return {
            "kind": "categorical",
            "missing": int(counts.filter(pl.col("value") == "")["count"].sum()),
            "unique": given.height + self.rest(name, split)[0],
            "top": [[value, count] for value, count in given.head(_TOP).select("value", "count").iter_rows()],
        }

    def rest(self, name: str, split: str | None) -> tuple[int, int]:
        """How many values are not in the counts, and how often they stand together."""
        number = -1 if split is None else SPLITS.index(split)
        rows = self.tables.rest.filter((pl.col("feature") == name) & (pl.col(SPLIT) == number))
        return int(rows["distinct"].sum()), int(rows["count"].sum())

    def _number(self, name: str, split: str | None) -> dict[str, Any]:
        row = _pool(self._of(self.tables.moments, name, split), "feature").row(0, named=True)
        return {
            "kind": "numeric",
            "missing": row["missing"],
            "unique": None,
            "mean": row["mean"],
            "std": (row["m2"] / row["count"]) ** 0.5 if row["count"] else None,
            "min": row["low"],
            "max": row["high"],
        }

    def begin(self, split: str) -> int:
        """The earliest timestamp of a split, unix seconds."""
        return int(self._of(self.tables.moments, self.schema.timestamp, split)["low"].min())  # type: ignore[arg-type]

    def value_counts(self, name: str, split: str) -> pl.DataFrame:
        """`value`, `count` of the frequent values of a categorical feature or label, the most frequent first;
        "" where missing."""
        counts = self._of(self.tables.counts, name, split).select("value", "count")
        return counts.sort("count", "value", descending=[True, False])

    def histogram(self, name: str, split: str) -> tuple[int, np.ndarray, np.ndarray]:
        """The grid, rising buckets and counts of a number (`rmtl_tf.data.histogram`)."""
        rows = self._of(self.tables.buckets, name, split).sort("bucket")
        exponent = self._of(self.tables.buckets, name)["exponent"].max()
        return int(exponent or 0), rows["bucket"].to_numpy(), rows["count"].to_numpy()  # type: ignore[arg-type]

    def _of(self, table: pl.DataFrame, feature: str, split: str | None = None) -> pl.DataFrame:
        rows = table.filter(pl.col("feature") == feature)
        return rows if split is None else rows.filter(pl.col(SPLIT) == SPLITS.index(split))

    def _total(self, feature: str, split: int, value: str | None = None) -> int:
        rows = self._of(self.tables.counts, feature).filter(pl.col(SPLIT) == split)
        return int((rows if value is None else rows.filter(pl.col("value") == value))["count"].sum())
