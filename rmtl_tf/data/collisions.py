"""Which values of a hashed feature share a bucket, against what chance would give.

n values fall into m buckets as n balls into m urns. Expected are m (1 - (1 - 1/m)^n) used buckets, and a
value shares its bucket with the chance 1 - (1 - 1/m)^(n - 1), however frequent it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import polars as pl

from rmtl_tf.features.fingerprint import buckets_of

COLLISIONS_FILE = "collisions.json"
NO_BUCKETS = pl.DataFrame(
    schema={"feature": pl.String, "bucket": pl.Int64, "values": pl.Int64, "records": pl.Int64}
)


def fill(values: pl.DataFrame, buckets: Mapping[str, int]) -> pl.DataFrame:
    """The buckets that values fall into.

    Args:
        values: `feature`, `value` (binary), `count`; a value may stand in several rows, `""` is left out.
        buckets: feature -> how many buckets it has.

    Returns:
        `feature`, `bucket`, and how many different `values` and `records` are in it.
    """
    filled = []
    distinct = values.filter(pl.col("value") != b"").group_by("feature", "value").agg(pl.sum("count"))
    for (name,), rows in distinct.partition_by("feature", as_dict=True).items():
        places = buckets_of(rows["value"].to_arrow(compat_level=pl.CompatLevel.oldest()), buckets[str(name)])
        filled.append(
            rows.select(
                "feature", pl.Series("bucket", places), pl.lit(1, pl.Int64).alias("values"), records="count"
            )
        )
    return merge_buckets(filled)


def merge_buckets(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Joins what `fill` gave for values that are all different."""
    joined = pl.concat([NO_BUCKETS, *parts])
    return joined.group_by("feature", "bucket").agg(pl.sum("values"), pl.sum("records"))


def statistics(filled: pl.DataFrame, buckets: int, vocabulary: pl.DataFrame) -> dict[str, float]:
    """What sharing there is in one feature.

    Args:
        filled: its rows of `fill`.
        buckets: m, how many it has.
        vocabulary: `value` and `count` of the values that have a row of their own.

    Returns:
        `buckets`, `used_buckets`, `expected_used_buckets`; `vocabulary_values`, `vocabulary_records`;
        `hashed_values`, `hashed_records`; of these the shares `sharing_values`, `sharing_records` that share
        their bucket with another value, `expected_sharing` of both; and `sharing_of_all_records`, among the
        records of the vocabulary too. Records are of the train split, missing values left out.
    """
    shared = filled.filter(pl.col("values") > 1)
    values, records = int(filled["values"].sum()), int(filled["records"].sum())
    own_records = int(vocabulary["count"].sum())
    sharing = int(shared["records"].sum())
    return {
        "buckets": buckets,
        "used_buckets": filled.height,
        "expected_used_buckets": expected_used(values, buckets),
        "vocabulary_values": vocabulary.height,
        "vocabulary_records": own_records,
        "hashed_values": values,
        "hashed_records": records,
        "sharing_values": _share(int(shared["values"].sum()), values),
        "sharing_records": _share(sharing, records),
        "expected_sharing": expected_sharing(values, buckets),
        "sharing_of_all_records": _share(sharing, records + own_records),
    }


def expected_used(values: int, buckets: int) -> float:
    """m (1 - (1 - 1/m)^n) for n values in m buckets."""
    return -buckets * math.expm1(_log_all_elsewhere(values, buckets))


def expected_sharing(values: int, buckets: int) -> float:
    """1 - (1 - 1/m)^(n - 1)."""
    return -math.expm1(_log_all_elsewhere(max(values - 1, 0), buckets))


def _log_all_elsewhere(values: int, buckets: int) -> float:
    """The logarithm of the chance that none of `values` is in a certain bucket."""
    if not values:
        return 0.0
    return values * math.log1p(-1 / buckets) if buckets > 1 else -math.inf


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
