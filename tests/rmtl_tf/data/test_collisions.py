from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtl_tf.config import TransformConfig
from rmtl_tf.data.analyzers import Analysis, Plan, collisions, fit, frequent, rest
from rmtl_tf.data.collisions import expected_sharing, expected_used, fill, merge_buckets, statistics
from rmtl_tf.features.fingerprint import buckets_of
from rmtl_tf.schema import DataSchema, Feature, Task

SCHEMA = DataSchema(
    features=(
        Feature("ts", "timestamp"),
        Feature("user", "categorical", context=True),
        Feature("item", "categorical"),
        Feature("click", "label"),
    ),
    tasks=(Task("click"),),
    labels=("click",),
    user="user",
    item="item",
    timestamp="ts",
)
PLAN = Plan(("user", "item"), {}, {"click": "click"}, {})


def counted(values: dict[bytes, int], feature: str = "item") -> pl.DataFrame:
    return pl.DataFrame(
        {"feature": [feature] * len(values), "value": list(values), "count": list(values.values())},
        schema={"feature": pl.String, "value": pl.Binary, "count": pl.Int64},
    )


def bucket(value: bytes, buckets: int) -> int:
    return int(buckets_of(pa.array([value], pa.large_binary()), buckets)[0])


def by_loop(hashed: dict[bytes, int], own: dict[bytes, int], buckets: int) -> dict:
    """The oracle: a dictionary of buckets."""
    inside = defaultdict(list)
    for value, count in hashed.items():
        inside[bucket(value, buckets)].append(count)
    crowded = [counts for counts in inside.values() if len(counts) > 1]
    records, shared = sum(hashed.values()), sum(map(sum, crowded))
    return {
        "buckets": buckets,
        "used_buckets": len(inside),
        "vocabulary_values": len(own),
        "vocabulary_records": sum(own.values()),
        "hashed_values": len(hashed),
        "hashed_records": records,
        "sharing_values": sum(map(len, crowded)) / len(hashed) if hashed else 0,
        "sharing_records": shared / records if records else 0,
        "sharing_of_all_records": shared / (records + sum(own.values())) if records else 0,
    }


def analysis_of(users: list[bytes], items: list[bytes]) -> Analysis:
    analysis = Analysis(PLAN)
    columns = {"user": pa.array(users, pa.large_binary()), "item": pa.array(items, pa.large_binary())}
    analysis.add(columns | {"click": np.zeros(len(users), np.int64)})
    return analysis


@given(st.dictionaries(st.binary(min_size=1, max_size=6), st.integers(1, 9), max_size=60), st.integers(1, 40))
def test_statistics_are_those_of_a_dictionary_of_buckets(values, buckets):
    own = {b"a": 7, b"b": 5}
    found = statistics(fill(counted(values), {"item": buckets}), buckets, counted(own))
    expected = by_loop(values, own, buckets)
    assert {key: found[key] for key in expected} == pytest.approx(expected)


@pytest.mark.parametrize(("values", "buckets"), [(1, 1), (30, 10), (10, 1000), (500, 1000)])
def test_expectations_are_what_random_urns_give(values, buckets):
    random = np.random.default_rng(0)
    used, sharing = [], []
    for _ in range(2000):
        counts = np.bincount(random.integers(0, buckets, values), minlength=buckets)
        used.append((counts > 0).sum())
        sharing.append(counts[counts > 1].sum() / values)
    assert expected_used(values, buckets) == pytest.approx(np.mean(used), rel=0.01)
    assert expected_sharing(values, buckets) == pytest.approx(np.mean(sharing), abs=0.005)


def test_expectations_without_values_and_of_very_many_buckets():
    assert expected_used(0, 5) == expected_sharing(0, 5) == 0
    assert expected_sharing(2, 2**30) == pytest.approx(2**-30, rel=1e-6)


def test_fingerprints_collide_as_often_as_chance_gives():
    found = statistics(
        fill(counted({b"item %d" % i: 1 + i % 3 for i in range(20_000)}), {"item": 30_000}),
        30_000,
        counted({}),
    )
    assert found["used_buckets"] == pytest.approx(found["expected_used_buckets"], rel=0.01)
    assert found["sharing_values"] == pytest.approx(found["expected_sharing"], rel=0.02)
    assert found["sharing_records"] == pytest.approx(found["expected_sharing"], rel=0.03)


def test_one_value_in_several_rows_counts_once_and_the_missing_one_not_at_all():
    filled = fill(pl.concat([counted({b"a": 2, b"": 9}), counted({b"a": 3})]), {"item": 8})
    assert filled.rows() == [("item", bucket(b"a", 8), 1, 5)]
    twice = merge_buckets([filled, filled])
    assert twice.rows() == [("item", bucket(b"a", 8), 2, 10)]


def test_frequent_values_have_ids_of_their_own_and_the_others_a_bucket():
    items = [b"a"] * 5 + [b"b"] * 3 + [b"c"] * 2 + [b"d", b"", b""]
    config = TransformConfig(min_count=1, features={"item": {"top_k": 2, "hash_buckets": 4}})
    analysis = analysis_of([b"u"] * len(items), items)
    user, item = fit(analysis, SCHEMA, config).features[:2]
    assert (user.buckets, user.size) == (0, 3)
    assert (item.vocabulary, item.buckets, item.first_bucket, item.size) == (("a", "b"), 4, 4, 8)
    found = collisions(analysis, config)
    assert list(found) == ["item"]
    expected = by_loop({b"c": 2, b"d": 1}, {b"a": 5, b"b": 3}, 4)
    assert {key: found["item"][key] for key in expected} == expected


def test_no_vocabulary_at_all_hashes_every_value():
    config = TransformConfig(features={"item": {"top_k": 0, "hash_buckets": 3}})
    analysis = analysis_of([b"u"] * 4, [b"a", b"a", b"a", b"b"])
    assert fit(analysis, SCHEMA, config).features[1].vocabulary == ()
    assert collisions(analysis, config)["item"]["hashed_values"] == 2
    assert collisions(analysis, TransformConfig()) == {}


@pytest.mark.parametrize("top_k", [None, 0, 9])
def test_values_counted_in_parts_collide_as_the_whole(top_k):
    """As Beam does it: each part keeps what may be in a vocabulary and gives the buckets of the rest."""
    random = np.random.default_rng(3)
    items = [b"i%d" % value for value in random.zipf(1.3, 3000) % 500]
    users = [b"u%d" % value for value in random.integers(0, 90, 3000)]
    config = TransformConfig(
        min_count=3, hash_buckets=64, features={"item": {"top_k": top_k, "hash_buckets": 200}}
    )
    whole = analysis_of(users, items)
    expected = collisions(whole, config)
    counts = whole.take_values()
    odd = pl.col("value").bin.size() % 2 == 1
    for part in (counts.filter(odd), counts.filter(~odd)):
        kept = frequent(part, config)
        whole.add_values(kept)
        whole.add_buckets(rest(part, kept, config))
    assert collisions(whole, config) == expected
    times = Counter(items)
    own = sorted((v for v in times if times[v] >= 3), key=lambda v: (-times[v], v))[:top_k]
    rare = {value: count for value, count in times.items() if value not in own}
    oracle = by_loop(rare, {value: times[value] for value in own}, 200)
    assert {key: expected["item"][key] for key in oracle} == pytest.approx(oracle)
    assert expected["user"]["buckets"] == 64
