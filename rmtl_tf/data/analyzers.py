"""What the train split says about its columns: counts of values, moments of numbers, rates of labels.

All sums are exact (integers), so an analysis does not depend on how the records were partitioned or in which
order partial results were merged. `fit` turns it into a `TransformGraph`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from rmtl_tf.config import TableConfig, TransformConfig
from rmtl_tf.data.collisions import NO_BUCKETS, fill, merge_buckets, statistics
from rmtl_tf.data.feedback import PAST_RECORDS
from rmtl_tf.features.apply import Column, number, smoothed_rate
from rmtl_tf.features.graph import Categorical, Encoded, Numeric, Rate, TimePart, TransformGraph
from rmtl_tf.features.vocabulary import Vocabulary
from rmtl_tf.schema import DataSchema

# A float32 is an integer below 2^24 times 2^(k - 172) with 0 <= k < 277.
_MANTISSA_BITS = 24
_EXPONENT_SHIFT = 148
_SCALE_BITS = _MANTISSA_BITS + _EXPONENT_SHIFT
_MAX_PENDING = 64
_OLDEST = pl.CompatLevel.oldest()
_NO_VALUES = pl.DataFrame(schema={"feature": pl.String, "value": pl.Binary, "count": pl.Int64})


@dataclass
class Moments:
    """Exact count, sum (in units of 2^-172) and sum of squares (2^-344) of finite float32 numbers."""

    count: int = 0
    total: int = 0
    squares: int = 0

    def add(self, values: np.ndarray) -> None:
        """Adds float32 [N], at most 2^29 at a time; NaN and infinities are left out."""
        values = values[np.isfinite(values)].astype(np.float32)
        mantissa, exponent = np.frexp(values)
        digits = np.ldexp(mantissa, _MANTISSA_BITS).astype(np.int64)
        shift = exponent.astype(np.int64) + _EXPONENT_SHIFT
        square = digits * digits
        high, low = square >> _MANTISSA_BITS, square & ((1 << _MANTISSA_BITS) - 1)
        self.count += len(values)
        self.total += _shifted_sum(digits, shift)
        self.squares += _shifted_sum(low, 2 * shift) + (_shifted_sum(high, 2 * shift) << _MANTISSA_BITS)

    def merge(self, other: Moments) -> None:
        self.count += other.count
        self.total += other.total
        self.squares += other.squares

    @property
    def mean(self) -> float:
        """0 without numbers."""
        return self.total / (self.count << _SCALE_BITS) if self.count else 0.0

    @property
    def std(self) -> float:
        """Of the population; 0 without numbers, and exactly 0 if all are equal."""
        if not self.count:
            return 0.0
        spread = self.count * self.squares - self.total**2
        return math.sqrt(spread / (self.count**2 << 2 * _SCALE_BITS))


def _shifted_sum(numbers: np.ndarray, shift: np.ndarray) -> int:
    """Sum of numbers[i] * 2^shift[i]; exact, as a bin's sum stays below 2^53."""
    sums = np.bincount(shift, weights=numbers)
    return sum(int(value) << place for place, value in enumerate(sums) if value)


class Counts:
    """How often each value (or combination of values) of some columns occurs."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = list(keys)
        self._tables: list[pa.Table] = []

    def add(self, columns: Sequence[Column]) -> None:
        """Adds N rows: one column of N values for each key."""
        arrays = [column if isinstance(column, pa.Array) else pa.array(column) for column in columns]
        ones = pa.array(np.ones(len(arrays[0]), np.int64))
        self._append(_sum_counts(pa.table([*arrays, ones], names=[*self._keys, "count"]), self._keys))

    def add_counts(self, counts: pa.Table) -> None:
        """Adds rows of keys with their `count`."""
        self._append(counts)

    def merge(self, other: Counts) -> None:
        for table in other._tables:
            self._append(table)

    def _append(self, table: pa.Table) -> None:
        self._tables.append(table)
        if len(self._tables) > _MAX_PENDING:
            self._tables = [_sum_counts(pa.concat_tables(self._tables), self._keys)]

    def table(self) -> pa.Table:
        """The keys and `count`, each combination once; most frequent first, ties by value."""
        order = [("count", "descending"), *((key, "ascending") for key in self._keys)]
        return self.unordered().sort_by(order)

    def unordered(self) -> pa.Table:
        """What `table` gives, in any order."""
        if not self._tables:
            return pa.table({name: pa.array([], pa.int64()) for name in (*self._keys, "count")})
        return _sum_counts(pa.concat_tables(self._tables), self._keys)


def _sum_counts(table: pa.Table, keys: list[str]) -> pa.Table:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.group_by(keys).agg(pl.sum("count")).to_arrow(compat_level=_OLDEST)


@dataclass(frozen=True)
class Plan:
    """Which columns are analysed, and how; see `plan`.

    Attributes:
        categorical: columns of strings.
        numeric: column -> whether the logarithm is modelled.
        labels: label column of each task.
        rates: task -> its (known, positive) columns of past feedback.
    """

    categorical: tuple[str, ...]
    numeric: Mapping[str, bool]
    labels: Mapping[str, str]
    rates: Mapping[str, tuple[str, str]]


def plan(schema: DataSchema, feedback: Sequence[str]) -> Plan:
    """The plan for a schema and the feedback columns its Examples have (`feedback_columns`)."""
    numeric = {f.name: f.log for f in schema.inputs if f.kind == "numeric"}
    if PAST_RECORDS in feedback:
        numeric[PAST_RECORDS] = True
    pairs = {task: (f"past_{task}_known", f"past_{task}_positive") for task in schema.task_names}
    return Plan(
        categorical=tuple(f.name for f in schema.inputs if f.kind == "categorical"),
        numeric=numeric,
        labels=dict(zip(schema.task_names, schema.labels, strict=True)),
        rates={task: pair for task, pair in pairs.items() if set(pair) <= set(feedback)},
    )


@dataclass
class Analysis:
    """Everything `fit` needs to know of the train records. Grows by `add`, joins others by `merge`.

    `parts` and `taken` say how often `take_values` was called, and how many records' values it took in all.
    `buckets` are values that no vocabulary will hold, by the bucket they share (`rmtl_tf.data.collisions`).
    """

    plan: Plan
    records: int = 0
    values: dict[str, Counts] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)
    positives: dict[str, int] = field(default_factory=dict)
    pairs: dict[str, Counts] = field(default_factory=dict)
    parts: int = 0
    taken: int = 0
    buckets: pl.DataFrame = field(default_factory=lambda: NO_BUCKETS)

    def __post_init__(self) -> None:
        self.values = {name: Counts(["value"]) for name in self.plan.categorical}
        self.moments = {name: Moments() for name in self.plan.numeric}
        self.positives = dict.fromkeys(self.plan.labels, 0)
        self.pairs = {task: Counts(["known", "positive"]) for task in self.plan.rates}

    def add(self, columns: Mapping[str, Column]) -> None:
        """Adds N records: binary Arrow arrays for strings, numpy arrays for numbers and labels, each [N].

        A context feature stands in every record of its session, so its frequencies weigh records. Of several
        values a record (a list array), each counts.
        """
        self.records += len(columns[next(iter(self.plan.labels.values()))])
        for name, counts in self.values.items():
            column = columns[name]
            counts.add([column.flatten() if pa.types.is_large_list(column.type) else column])
        for name, moments in self.moments.items():
            moments.add(number(columns[name], self.plan.numeric[name]).astype(np.float32))
        for task, label in self.plan.labels.items():
            self.positives[task] += int(columns[label].sum())
        for task, (known, positive) in self.plan.rates.items():
            self.pairs[task].add([columns[known], columns[positive]])

    def take_values(self) -> pl.DataFrame:
        """`feature`, `value` (binary), `count` of all values of strings, which then are no longer in it."""
        frames = [_frame(name, counts.unordered()) for name, counts in self.values.items()]
        self.values = {name: Counts(["value"]) for name in self.plan.categorical}
        values = pl.concat([_NO_VALUES, *frames])
        self.parts += 1
        self.taken += int(values["count"].sum())
        return values

    def add_values(self, values: pl.DataFrame) -> None:
        """Adds what `take_values` took."""
        for (name,), rows in values.partition_by("feature", as_dict=True).items():
            self.values[name].add_counts(rows.select("value", "count").to_arrow(compat_level=_OLDEST))

    def add_buckets(self, buckets: pl.DataFrame) -> None:
        """Adds values that are hashed, as `rmtl_tf.data.collisions.fill` gives them."""
        self.buckets = merge_buckets([self.buckets, buckets])

    def merge(self, other: Analysis) -> None:
        self.records += other.records
        self.parts += other.parts
        self.taken += other.taken
        if other.buckets.height:
            self.add_buckets(other.buckets)
        for name, counts in self.values.items():
            counts.merge(other.values[name])
        for name, moments in self.moments.items():
            moments.merge(other.moments[name])
        for task, count in other.positives.items():
            self.positives[task] += count
        for task, pairs in self.pairs.items():
            pairs.merge(other.pairs[task])


def frequent(values: pl.DataFrame, config: TransformConfig) -> pl.DataFrame:
    """Of all counts of some values (`Analysis.take_values`), those of values that a vocabulary may hold."""
    counts = values.group_by("feature", "value").agg(pl.sum("count")).filter(pl.col("value") != b"")
    kept = []
    for (name,), rows in counts.partition_by("feature", as_dict=True).items():
        table = config.table(str(name))
        rows = rows.filter(pl.col("count") >= table.min_count)
        if table.top_k is not None:
            rows = rows.sort("count", "value", descending=[True, False]).head(table.top_k)
        kept.append(rows.select("feature", "value", "count"))
    return pl.concat([_NO_VALUES, *kept])


def rest(values: pl.DataFrame, kept: pl.DataFrame, config: TransformConfig) -> pl.DataFrame:
    """The buckets that the values fill which `frequent` did not keep."""
    buckets = {str(name): config.table(str(name)).hash_buckets or 0 for name in values["feature"].unique()}
    hashed = [name for name, count in buckets.items() if count]
    others = values.filter(pl.col("feature").is_in(hashed)).join(kept, on=["feature", "value"], how="anti")
    return fill(others, buckets)


def fit(analysis: Analysis, schema: DataSchema, config: TransformConfig) -> TransformGraph:
    """The transform graph of train records: schema inputs in schema order, feedback, parts of the time."""
    features: list[Encoded] = []
    for feature in schema.inputs:
        if feature.kind == "categorical":
            table = config.table(feature.name)
            values = vocabulary(analysis.values[feature.name], table)["value"].combine_chunks()
            known = Vocabulary(values.cast(pa.large_binary()) if len(values) else ())
            is_id = feature.name in (schema.user, schema.item)
            features.append(
                Categorical(feature.name, known, is_id, feature.max_values, table.hash_buckets or 0)
            )
        else:
            features.append(_numeric(analysis, feature.name))
    if PAST_RECORDS in analysis.moments:
        features.append(_numeric(analysis, PAST_RECORDS, missing=0.0))
    features += [_rate(analysis, task, config.rate_prior_strength) for task in analysis.plan.rates]
    features += [TimePart(part, schema.timestamp) for part in dict.fromkeys(config.time)]
    return TransformGraph(tuple(features), schema.tasks, schema.labels, schema.timestamp)


def vocabulary(counts: Counts, table: TableConfig) -> pa.Table:
    """`value` and `count` of the values that get a row of their own, most frequent first."""
    counted = counts.table()
    if not counted.num_rows:
        return counted
    frequent = counted.filter((pc.field("count") >= table.min_count) & (pc.field("value") != pa.scalar(b"")))
    return frequent.slice(0, table.top_k)


def collisions(analysis: Analysis, config: TransformConfig) -> dict[str, dict[str, float]]:
    """What the features with hash buckets share, by feature (`rmtl_tf.data.collisions.statistics`)."""
    found = {}
    for name, counts in analysis.values.items():
        table = config.table(name)
        if not table.hash_buckets:
            continue
        values, own = (_frame(name, rows) for rows in (counts.table(), vocabulary(counts, table)))
        buckets = merge_buckets(
            [analysis.buckets.filter(pl.col("feature") == name), rest(values, own, config)]
        )
        found[name] = statistics(buckets, table.hash_buckets, own)
    return found


def _frame(feature: str, counted: pa.Table) -> pl.DataFrame:
    """Rows of `Counts.table` as `Analysis.take_values` gives them."""
    frame = pl.from_arrow(counted)
    assert isinstance(frame, pl.DataFrame)
    return frame.select(pl.lit(feature).alias("feature"), pl.col("value").cast(pl.Binary), "count")


def _numeric(analysis: Analysis, name: str, missing: float | None = None) -> Numeric:
    moments = analysis.moments[name]
    return Numeric(name, moments.mean, moments.std or 1.0, analysis.plan.numeric[name], missing)


def _rate(analysis: Analysis, task: str, strength: float) -> Rate:
    known, positive = analysis.plan.rates[task]
    prior = analysis.positives[task] / analysis.records if analysis.records else 0.0
    table = analysis.pairs[task].table()
    rates = smoothed_rate(table["positive"].to_numpy(), table["known"].to_numpy(), prior, strength)
    weights = table["count"].to_numpy() / max(analysis.records, 1)
    mean = math.fsum(weights * rates)
    std = math.sqrt(math.fsum(weights * (rates - mean) ** 2))
    # Equal rates leave a rounding residue in place of a spread of 0.
    return Rate(f"past_{task}_rate", positive, known, prior, strength, mean, std if std > 1e-9 else 1.0)
