from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest

from rmtl_tf.config import DataConfig, SimulatorConfig, load_config
from rmtl_tf.data.datasets.base import SESSION
from rmtl_tf.data.feature_stats import write_feature_stats
from rmtl_tf.data.feedback import feedback_columns
from rmtl_tf.data.ingest import ingest
from rmtl_tf.data.sessions import STEP
from rmtl_tf.data.simulator import simulate
from rmtl_tf.data.splits import SPLITS, split_dir
from rmtl_tf.data.statistics import SPLIT, Statistics, tabulate
from rmtl_tf.data.validation import decode
from rmtl_tf.data.validation.anomaly import Anomaly
from rmtl_tf.data.validation.examples import Validation, validate_examples
from rmtl_tf.errors import UserError
from rmtl_tf.schema import DataSchema, read_schema

from .conftest import FEEDBACK, SCHEMA, read_text, session, windows, write_splits

CHECKOUT = Path(__file__).resolve().parents[4]
SHARD = "Split-train/data-00000-of-00001.tfrecord"


def write_statistics(directory: Path, schema: DataSchema, items: dict[str, list[str | None]]) -> Path:
    """FeatureStats.pb of every split from the items of its records; prices are 0, 1, 2, ..."""
    rows = [
        (number, f"{split}{i}", 0, "u", "phone", item, i, float(i), i % 2, 0, 0.0, "a,b")
        for number, split in enumerate(SPLITS)
        for i, item in enumerate(items.get(split, ["a", "b"]))
    ]
    columns = [
        SPLIT,
        SESSION,
        STEP,
        "user",
        "device",
        "item",
        "time",
        "price",
        "click",
        "buy",
        *FEEDBACK,
        "tags",
    ]
    records = pl.DataFrame(rows, schema=columns, orient="row")
    statistics = Statistics(tabulate(records, (1, 1, 1), schema, FEEDBACK), schema, FEEDBACK)
    for split in SPLITS:
        write_feature_stats(statistics, split, split_dir(directory, split) / "FeatureStats.pb")
    return directory


def check(tmp_path: Path, schema: DataSchema, severity: dict | None = None, **splits) -> Validation:
    examples = write_splits(tmp_path / "examples", **splits)
    statistics = write_statistics(tmp_path / "statistics", schema, {})
    return validate_examples(examples, statistics, schema, FEEDBACK, severity or {})


def only(found: Validation) -> Anomaly:
    (anomaly,) = found.anomalies
    return anomaly


def test_good_sessions_have_no_anomaly(tmp_path, schema):
    train = [session("a"), *windows("b"), session("c", 1), *windows("d")]
    found = check(tmp_path, schema, train=train)
    assert list(found.anomalies) == []
    assert found.examples == {"train": 6, "validation": 1, "test": 1}


@pytest.mark.parametrize(
    ("rule", "feature", "value", "broken"),
    [
        ("type", "price", "int64", {"price": [1, 2, 3]}),
        ("type", "item", "float", {"item": [0.5, 1.5, 2.5]}),
        ("too_few_values", "item", "2 of 3", {"item": [b"i0", b"i1"]}),
        ("too_few_values", "user", "0 of 1", {"user": None}),
        ("too_many_values", "price", "4 of 3", {"price": [1.0, 2.0, 3.0, 4.0]}),
        ("too_many_values", "device", "2 of 1", {"device": [b"phone", b"phone"]}),
        ("missing_value", "item", "''", {"item": [b"i0", b"", b"i2"]}),
        ("missing_value", "session_id", "''", {"session_id": [b""]}),
        ("value_not_allowed", "device", "'watch'", {"device": [b"watch"]}),
        ("invalid_utf8", "item", "'\\\\xff'", {"item": [b"i0", b"\xff", b"i2"]}),
        ("number_too_small", "price", "-1", {"price": [0.0, -1.0, 2.0]}),
        ("number_too_large", "price", "100.5", {"price": [0.0, 100.5, 2.0]}),
        ("infinite", "past_records", "inf", {"past_records": [0.0, math.inf, 2.0]}),
        ("bad_label", "click", "2", {"click": [1, 1, 2]}),
        ("bad_timestamp", "time", "1465413032000", {"time": [1_000_000, 1_000_001, 1_465_413_032_000]}),
        ("time_order", "time", "1000000 after 1000002", {"time": [1_000_001, 1_000_002, 1_000_000]}),
        ("parent_label", "buy", "1 where 'click' is 0", {"click": [0, 0, 1], "buy": [0, 1, 1]}),
        ("lookahead", "lookahead", "neither 0 nor 1", {"lookahead": [7]}),
        ("new_feature", "weather", "", {"weather": [b"rain"]}),
    ],
)
def test_a_broken_example_is_named_with_file_row_session_feature_value_and_rule(
    tmp_path, schema, rule, feature, value, broken
):
    train = [session("a"), session("b"), session("c", **broken), session("d")]
    anomaly = only(check(tmp_path, schema, train=train))
    assert (anomaly.rule, anomaly.feature, anomaly.value) == (rule, feature, value)
    assert (anomaly.split, anomaly.file) == ("train", SHARD)
    assert (anomaly.first_row, anomaly.last_row, anomaly.count) == (2, 2, 1)
    assert anomaly.session == ("" if feature == "session_id" else "c")
    assert anomaly.severity == ("WARNING" if rule == "new_feature" else "ERROR")
    assert all(part in anomaly.sentence for part in (SHARD, "Example 2", repr(feature), value, f"[{rule}]"))


def test_missing_values_that_may_be_missing_are_no_anomaly(tmp_path, schema):
    train = [session("a", device=[b""], price=[math.nan, 1.0, math.nan])]
    assert list(check(tmp_path, schema, train=train).anomalies) == []


def test_a_feature_in_no_example_of_a_file_is_one_anomaly(tmp_path, schema):
    anomaly = only(check(tmp_path, schema, train=[session("a", price=None), session("b", price=None)]))
    assert (anomaly.rule, anomaly.feature, anomaly.count) == ("missing_feature", "price", 2)


def test_an_example_without_records_is_an_anomaly(tmp_path, schema):
    lists = ("item", "time", "price", "click", "buy", *FEEDBACK)
    anomaly = only(
        check(tmp_path, schema, train=[session("a"), session("b", **{name: [] for name in lists})])
    )
    assert (anomaly.rule, anomaly.value, anomaly.first_row) == ("too_few_values", "no record", 1)


def test_bytes_that_are_no_example_are_an_anomaly(tmp_path, schema):
    anomaly = only(check(tmp_path, schema, train=[session("a"), b"garbage"]))
    assert (anomaly.rule, anomaly.value, anomaly.first_row) == ("type", "no tf.train.Example", 1)


def test_equal_anomalies_of_a_file_are_counted_with_their_range(tmp_path, schema):
    train = [session(f"s{i}", device=[b"watch"] if i % 3 == 1 else [b"phone"]) for i in range(10)]
    anomaly = only(check(tmp_path, schema, train=train))
    assert (anomaly.first_row, anomaly.last_row, anomaly.count, anomaly.session) == (1, 7, 3, "s1")
    assert "Examples 1 to 7, 3 times" in anomaly.sentence


class TestSeveralValues:
    """A feature with several values: all of them end to end, and how many each record has."""

    TEXT = (
        SCHEMA
        + """feature {
      name: "tags" type: BYTES value_count { max: 3 } annotation { tag: "step" tag: "split:," }
    }"""
    )

    def _check(self, tmp_path, tags, lengths) -> Validation:
        changed = {"tags": tags, "tags#lengths": lengths}
        good = {"tags": [b"a", b"b"], "tags#lengths": [2, 0, 0]}
        splits = {split: [session(f"{split}-good", **good)] for split in SPLITS[1:]}
        train = [session("a", **good), session("b", **changed)]
        return check(tmp_path, read_text(self.TEXT), train=train, **splits)

    @pytest.mark.parametrize("tags", [([b"a", b"b", b"c"], [0, 3, 0]), ([], [0, 0, 0])])
    def test_as_many_values_as_the_lengths_say_are_right(self, tmp_path, tags):
        assert list(self._check(tmp_path, *tags).anomalies) == []

    @pytest.mark.parametrize(
        ("tags", "lengths", "rule", "feature", "value"),
        [
            ([b"a"], [1, 1, 0], "too_few_values", "tags", "1 of 2"),
            ([b"a", b"b"], [1, 0, 0], "too_many_values", "tags", "2 of 1"),
            ([b"a"], [1, 0], "too_few_values", "tags#lengths", "2 of 3"),
            ([b"\xff"], [1, 0, 0], "invalid_utf8", "tags", "'\\\\xff'"),
        ],
    )
    def test_other_numbers_are_not(self, tmp_path, tags, lengths, rule, feature, value):
        anomaly = only(self._check(tmp_path, tags, lengths))
        assert (anomaly.rule, anomaly.feature, anomaly.value, anomaly.first_row) == (rule, feature, value, 1)


def test_times_of_labels_are_expected_where_a_data_set_has_them(tmp_path, schema):
    times = {"#time:click": [1_000_000] * 3}
    assert list(check(tmp_path / "a", schema, train=[session("a", **times)]).anomalies) == []
    anomaly = only(check(tmp_path / "b", schema, train=[session("a", **{"#time:click": [1_000_000]})]))
    assert (anomaly.rule, anomaly.feature) == ("too_few_values", "#time:click")


class TestWindows:
    def _rows(self, tmp_path, schema, train) -> list[tuple[str, str, int | None]]:
        found = check(tmp_path, schema, train=train)
        return [(anomaly.rule, anomaly.feature, anomaly.first_row) for anomaly in found.anomalies]

    def test_a_window_that_goes_on_without_saying_so(self, tmp_path, schema):
        first, second = windows("a")
        assert self._rows(tmp_path, schema, [first | {"lookahead": [0]}, second]) == [
            ("lookahead", "lookahead", 1)
        ]

    def test_a_window_that_says_it_goes_on_before_another_session(self, tmp_path, schema):
        train = [windows("a")[0], session("b")]
        assert self._rows(tmp_path, schema, train) == [("lookahead", "lookahead", 1)]

    def test_a_window_that_says_it_goes_on_at_the_end_of_the_file(self, tmp_path, schema):
        train = [session("b"), windows("a")[0]]
        assert self._rows(tmp_path, schema, train) == [("lookahead", "lookahead", 1)]

    def test_a_lookahead_record_that_is_not_the_next_record(self, tmp_path, schema):
        first, second = windows("a")
        train = [first | {"price": [0.0, 1.0, 2.0, 99.0]}, second]
        assert self._rows(tmp_path, schema, train) == [("lookahead", "price", 1)]

    def test_a_missing_number_equals_a_missing_number(self, tmp_path, schema):
        first, second = windows("a")
        train = [first | {"price": [0.0, 1.0, 2.0, math.nan]}, second | {"price": [math.nan, 4.0]}]
        assert self._rows(tmp_path, schema, train) == []

    def test_batches_do_not_hide_what_lies_between_them(self, tmp_path, schema, monkeypatch):
        monkeypatch.setattr(decode, "BATCH", 2)
        first, second = windows("c")
        train = [session("a"), first | {"lookahead": [0]}, second, session("d"), session("e")]
        assert self._rows(tmp_path, schema, train) == [("lookahead", "lookahead", 2)]

    def test_batches_count_no_example_twice(self, tmp_path, schema, monkeypatch):
        monkeypatch.setattr(decode, "BATCH", 2)
        train = [session("a"), session("b", device=[b"x"]), *windows("c"), session("d", device=[b"y"])]
        anomaly = only(check(tmp_path, schema, train=train))
        assert (anomaly.first_row, anomaly.last_row, anomaly.count, anomaly.value) == (1, 4, 2, "'x'")


class TestSessions:
    def test_a_session_in_two_splits(self, tmp_path, schema):
        found = check(tmp_path, schema, train=[session("a"), session("b")], test=[session("b")])
        anomaly = only(found)
        assert (anomaly.rule, anomaly.split, anomaly.session) == ("session_in_two_splits", "test", "b")
        assert f"also Example 1 of {SHARD}" in anomaly.sentence

    def test_a_session_twice_in_a_split(self, tmp_path, schema):
        anomaly = only(check(tmp_path, schema, train=[*windows("a"), session("b"), session("a")]))
        assert (anomaly.rule, anomaly.first_row, anomaly.session) == ("session_twice", 3, "a")

    def test_equal_hashes_of_other_sessions_are_no_anomaly(self, tmp_path, schema, monkeypatch):
        monkeypatch.setattr(pl.Series, "hash", lambda self: pl.Series([7] * len(self), dtype=pl.UInt64))
        assert list(check(tmp_path, schema, train=[session("a"), session("b")]).anomalies) == []


class TestPolicy:
    def test_a_rule_can_warn_stop_or_be_ignored(self, tmp_path, schema):
        train = [session("a", device=[b"watch"], weather=[1])]
        severity = {"value_not_allowed": "WARNING", "new_feature": "ERROR"}
        found = check(tmp_path / "a", schema, severity, train=train)
        assert [(a.rule, a.severity) for a in found.anomalies] == [
            ("new_feature", "ERROR"),
            ("value_not_allowed", "WARNING"),
        ]
        assert [a.rule for a in found.errors] == ["new_feature"]
        found = check(tmp_path / "b", schema, dict.fromkeys(severity, "IGNORE"), train=train)
        assert list(found.anomalies) == []


class TestStatistics:
    def _validate(self, tmp_path, text, items, earlier=None) -> Validation:
        schema = read_text(text)
        statistics = write_statistics(tmp_path / "statistics", schema, items)
        if earlier is not None:
            write_statistics(tmp_path / "earlier", schema, earlier)
        return validate_examples(
            write_splits(tmp_path / "examples"),
            statistics,
            schema,
            FEEDBACK,
            {},
            tmp_path / "earlier" if earlier is not None else None,
        )

    def test_presence_below_the_least_fraction(self, tmp_path):
        text = SCHEMA.replace('name: "device"', 'name: "device" presence { min_fraction: 0.75 }')
        assert list(self._validate(tmp_path / "a", text, {}).anomalies) == []
        text = SCHEMA.replace('name: "item"', 'name: "item" presence { min_fraction: 0.75 }')
        found = self._validate(tmp_path / "b", text, {"validation": ["a", None, "b", None]})
        anomaly = only(found)
        assert (anomaly.rule, anomaly.split, anomaly.feature) == ("low_presence", "validation", "item")
        assert "present in 50.00% of records, expected 75.00%" in anomaly.sentence

    def test_skew_between_splits_is_a_warning_with_the_value_that_changed_most(self, tmp_path):
        text = SCHEMA.replace(
            'name: "item"', 'name: "item" skew_comparator { infinity_norm { threshold: 0.2 } }'
        )
        found = self._validate(tmp_path, text, {"train": ["a", "b"] * 5, "test": ["a"] * 8 + ["b"] * 2})
        anomaly = only(found)
        assert (anomaly.rule, anomaly.severity, anomaly.split) == ("skew", "WARNING", "test")
        assert (anomaly.reason, anomaly.value) == ("COMPARATOR_L_INFTY_HIGH", "0.3000")
        assert "'a': 50.00% became 80.00%" in anomaly.sentence
        assert [(c.after, c.passed) for c in found.comparisons] == [("validation", True), ("test", False)]

    def test_drift_from_an_earlier_run(self, tmp_path):
        comparator = "drift_comparator { jensen_shannon_divergence { threshold: 0.1 } }"
        text = SCHEMA.replace('name: "item"', f'name: "item" {comparator}')
        found = self._validate(tmp_path, text, {}, earlier={"train": ["c", "d"]})
        anomaly = only(found)
        assert (anomaly.rule, anomaly.reason) == ("drift", "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH")
        assert anomaly.value == "1.0000"
        assert "earlier train against train" in anomaly.sentence

    def test_two_measures_of_a_feature_are_two_anomalies(self, tmp_path):
        both = "infinity_norm { threshold: 0.1 } jensen_shannon_divergence { threshold: 0.1 }"
        text = SCHEMA.replace('name: "item"', f'name: "item" skew_comparator {{ {both} }}')
        found = self._validate(tmp_path, text, {"test": ["c", "d"]})
        assert [anomaly.value for anomaly in found.anomalies] == ["0.5000", "1.0000"]


def test_a_split_without_files_is_refused(tmp_path, schema):
    with pytest.raises(UserError, match=r"Split-train: expected session Examples"):
        validate_examples(tmp_path, tmp_path, schema, FEEDBACK, {})


def _ingested(root: Path, source: Path, data: DataConfig, feedback: bool = True) -> Validation:
    for name in ("examples", "statistics"):
        (root / name).mkdir(parents=True)
    schema = read_schema(CHECKOUT / data.data_schema)
    ingest(source, root / "examples", root / "statistics", data, schema)
    columns = feedback_columns(data.feedback, schema)
    return validate_examples(root / "examples", root / "statistics", schema, columns, {})


def test_simulated_logs_have_no_anomaly(tmp_path):
    (tmp_path / "logs").mkdir()
    simulate(tmp_path / "logs", SimulatorConfig(events=20_000))
    data = load_config(CHECKOUT / "configs" / "simulator.yaml", ["data.session.max_steps=4"]).data
    found = _ingested(tmp_path, tmp_path / "logs", data)
    assert list(found.anomalies) == []
    assert sum(found.examples.values()) > 3000
    assert all(comparison.passed for comparison in found.comparisons)
    assert len(found.comparisons) == 4


@pytest.mark.parametrize(("name", "schema"), [("deskdrop", "deskdrop"), ("kuairand", "kuairand_log")])
def test_real_logs_have_no_anomaly(tmp_path, name, schema):
    logs = CHECKOUT.parent / "shared" / "data" / name
    if not logs.is_dir():
        pytest.fail(f"real logs are expected in {logs}")
    settings = [f"data.schema=data_schemas/{schema}.pbtxt"]
    found = _ingested(tmp_path, logs, load_config(CHECKOUT / "configs" / f"{name}.yaml", settings).data)
    assert list(found.anomalies) == []
