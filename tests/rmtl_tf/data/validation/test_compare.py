from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import jensenshannon

from rmtl_tf.data.datasets.base import SESSION
from rmtl_tf.data.feature_stats import RANKS, feature_stats
from rmtl_tf.data.sessions import STEP
from rmtl_tf.data.statistics import SPLIT, Statistics, tabulate
from rmtl_tf.data.validation.compare import Comparison, compare
from rmtl_tf.data.validation.distribution import read_dataset
from rmtl_tf.errors import UserError
from rmtl_tf.schema import Comparator, DataSchema

from .conftest import read_text


def _schema(**comparators: Comparator) -> DataSchema:
    """The test schema with `drift` for the named features."""
    schema = read_text()
    features = tuple(replace(f, drift=comparators.get(f.name)) for f in schema.features)
    return replace(schema, features=features)


def _dataset(items=("a",), prices=None, clicks=None, schema=None):
    size = len(items)
    records = pl.DataFrame(
        {
            SPLIT: pl.Series([0] * size, dtype=pl.Int64),
            SESSION: [str(i) for i in range(size)],
            STEP: [0] * size,
            "user": ["u"] * size,
            "device": ["phone"] * size,
            "item": pl.Series(items, dtype=pl.String),
            "time": list(range(1, size + 1)),
            "price": pl.Series([0.0] * size if prices is None else prices, dtype=pl.Float64),
            "click": [0] * size if clicks is None else clicks,
            "buy": [0] * size,
        }
    )
    schema = schema or read_text()
    (dataset,) = feature_stats(
        Statistics(tabulate(records, (1, 0, 0), schema, ()), schema, ()), "train"
    ).datasets
    return dataset


def _one(before, after, **comparators: Comparator) -> Comparison:
    (comparison,) = compare(before, after, _schema(**comparators))
    return comparison


def test_a_categorical_feature_by_l_infinity():
    before, after = ["a"] * 6 + ["b"] * 3 + [None], ["a"] * 2 + ["b"] * 1 + ["c"] * 2
    found = _one(_dataset(before), _dataset(after), item=Comparator(infinity_norm=0.3))
    values = ["a", "b", "c", None]
    gaps = [abs(before.count(v) / len(before) - after.count(v) / len(after)) for v in values]
    assert found.distance == pytest.approx(max(gaps)) == pytest.approx(0.4)
    assert (found.value, found.share_before, found.share_after) == ("c", 0, 0.4)
    assert not found.passed


def test_missing_values_count_as_a_value():
    found = _one(_dataset(["a", "a"]), _dataset(["a", None]), item=Comparator(infinity_norm=0.5))
    assert (found.distance, found.passed) == (0.5, True)


def test_many_rare_values_together_are_no_value():
    rare = [f"i{n}" for n in range(3 * RANKS)]
    found = _one(_dataset(["a"] * 3 * RANKS), _dataset(rare), item=Comparator(infinity_norm=0.9))
    assert (found.value, found.distance) == ("a", 1.0)


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_a_numeric_feature_by_jensen_shannon_over_common_buckets(scale):
    rng = np.random.default_rng(0)
    prices = [rng.lognormal(1.0, 0.5, 2000), scale * rng.lognormal(1.3, 0.8, 1500)]
    sides = [_dataset(["a"] * len(p), p) for p in prices]
    found = _one(*sides, price=Comparator(jensen_shannon=0.05))
    # The finest grid, found by trial: at most 32 buckets of a power of two in log(1 + x).
    both = np.log1p(np.concatenate(prices))
    exponent = next(k for k in range(-40, 40) if np.ptp(np.floor(both / 2.0**k)) < 32)
    places = [np.floor(np.log1p(p) / 2.0**exponent).astype(int) for p in prices]
    last = max(place.max() for place in places) + 1
    p, q = (np.bincount(place, minlength=last) for place in places)
    assert found.distance == pytest.approx(jensenshannon(p, q, base=2) ** 2, rel=1e-9)
    assert not found.passed


def test_numbers_alike_are_alike_and_missing_ones_are_not():
    prices = np.random.default_rng(1).lognormal(1, 1, (2, 3000))
    alike = _one(*(_dataset(["a"] * 3000, p) for p in prices), price=Comparator(jensen_shannon=0.05))
    assert alike.distance < 0.02
    gone = [_dataset(["a"] * 4, [1.0] * 4), _dataset(["a"] * 4, [None] * 4)]
    missing = _one(*gone, price=Comparator(jensen_shannon=0.05))
    assert missing.distance == 1.0


def test_the_rate_of_a_label_may_drift():
    sides = [_dataset(["a"] * 4, clicks=clicks) for clicks in ([0, 0, 0, 1], [0, 1, 1, 1])]
    assert _one(*sides, click=Comparator(infinity_norm=0.1)).distance == 0.5


def test_only_features_with_a_threshold_of_the_kind_are_compared():
    schema = _schema(item=Comparator(0.1, 0.2))
    assert compare(_dataset(), _dataset(), schema, "skew") == []
    found = compare(_dataset(), _dataset(), schema, "drift", ("monday", "tuesday"))
    assert [(c.measure, c.threshold, c.before, c.after) for c in found] == [
        ("infinity_norm", 0.1, "monday", "tuesday"),
        ("jensen_shannon", 0.2, "monday", "tuesday"),
    ]


def test_a_side_without_the_feature_does_not_pass():
    before = _dataset()
    del before.features[:]
    found = _one(before, _dataset(), item=Comparator(infinity_norm=1.0))
    assert (found.distance, found.passed) == (None, False)
    assert "one side lacks the feature" in found.sentence


def test_numbers_counted_in_another_way_are_not_compared():
    schema = read_text()
    plain = replace(schema, features=tuple(replace(f, log=False) for f in schema.features))
    found = _one(_dataset(schema=plain), _dataset(), price=Comparator(jensen_shannon=1.0))
    assert found.distance is None


def test_what_holds_no_statistics_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"absent\.pb: expected statistics"):
        read_dataset(tmp_path / "absent.pb")
    (tmp_path / "empty.pb").write_bytes(b"")
    with pytest.raises(UserError, match="received 0"):
        read_dataset(tmp_path / "empty.pb")
