from __future__ import annotations

import zlib
from dataclasses import replace

import polars as pl
import pytest

from rmtl_tf.config import DataConfig
from rmtl_tf.data import partition
from rmtl_tf.data.datasets.base import FILE, LINE, SESSION
from rmtl_tf.data.partition import Plan, example_batches, make_records, partition_of
from rmtl_tf.errors import UserError
from rmtl_tf.schema import DataSchema, Feature, Task

SCHEMA = DataSchema(
    features=(
        Feature("visit", "key", context=True, required=True),
        Feature("user", "categorical", context=True, required=True),
        Feature("item", "categorical", required=True),
        Feature("time", "timestamp", required=True),
        Feature("price", "numeric"),
        Feature("click", "label", required=True),
    ),
    tasks=(Task("click"),),
    labels=("click",),
    user="user",
    item="item",
    timestamp="time",
    session="visit",
)


def _plan(schema: DataSchema = SCHEMA, **data) -> Plan:
    config = DataConfig.model_validate({"dataset": "table", "shards": 3, **data})
    return Plan(("a.csv", "b.csv"), ("a.csv", "b.csv"), config, schema, 1 << 20)


def _events(*rows: tuple) -> pl.DataFrame:
    """Events (file, line, visit, user, item, time, price, click)."""
    types = {
        FILE: pl.Int32, LINE: pl.Int64, "visit": pl.String, "user": pl.String,
        "item": pl.String, "time": pl.Int64, "price": pl.Float64, "click": pl.Int64,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=types, orient="row")


def test_a_key_always_goes_to_the_partition_its_checksum_names():
    events = _events(*((0, n + 2, f"visit é{n % 20}", "u", "a", n + 1, None, 0) for n in range(60)))
    expected = [zlib.crc32(f"visit é{n % 20}".encode()) % 3 for n in range(60)]
    assert partition_of(events, _plan()).tolist() == expected


def test_by_gap_the_key_is_the_user():
    events = _events((0, 2, "v1", "u", "a", 1, None, 0), (0, 3, "v2", "u", "a", 2, None, 0))
    assert partition_of(events, _plan(session={"by": "gap"})).tolist() == [zlib.crc32(b"u") % 3] * 2


def test_there_are_as_many_partitions_as_asked_for_or_as_the_size_of_the_logs_needs():
    assert _plan(shards=7).shards == 7
    assert [replace(_plan(shards=None), size=size).shards for size in (0, 40 << 20, 1200 << 20)] == [
        4,
        4,
        100,
    ]


def test_of_equal_rows_the_first_by_file_and_line_stays():
    row = ("v", "u", "a", 5, None, 1)
    records, bad = make_records(
        _events((1, 2, *row), (0, 9, *row), (0, 4, *row), (0, 5, "v", "u", "b", 5, 1.0, 1)), _plan()
    )
    assert records.select(FILE, LINE).rows() == [(0, 4), (0, 5)]
    assert bad.select(FILE, LINE, "reason", "excluded").rows() == [
        (0, 9, "duplicate row", False),
        (1, 2, "duplicate row", False),
    ]


def test_a_row_that_differs_in_any_column_read_is_no_duplicate():
    records, bad = make_records(
        _events(
            (0, 2, "v", "u", "a", 5, None, 1),
            (0, 3, "v", "u", "a", 5, 0.0, 1),
            (0, 4, "v", "u", "a", 5, None, 0),
        ),
        _plan(),
    )
    assert (records.height, bad.height) == (3, 0)


def test_a_second_user_in_a_session_is_quarantined_with_line_and_value():
    records, bad = make_records(
        _events((0, 2, "v", "u", "a", 9, None, 1), (0, 3, "v", "w", "a", 5, None, 1)), _plan()
    )
    assert records["user"].to_list() == ["w"]
    assert bad.rows() == [(0, 2, "second user in a session", "user", "u", False)]


def test_blocks_may_come_in_any_order():
    rows = [
        (n % 2, n + 2, f"v{n % 3}", f"u{n % 3}", f"i{n}", 50 - n // 2, float(n), n % 2) for n in range(30)
    ]
    events = _events(*rows)
    first, _ = make_records(events, _plan())
    second, _ = make_records(events.sample(fraction=1, shuffle=True, seed=3), _plan())
    assert first.equals(second)


def test_batches_hold_every_feature_of_the_contract_with_lists_of_one_length():
    events = _events(
        (0, 2, "v", "u", "a", 5, None, 1), (0, 3, "v", "u", "b", 7, 2.5, 0), (0, 4, "w", "x", "c", 9, 1.0, 0)
    )
    plan = _plan()
    windows, batches = example_batches(make_records(events, plan)[0], plan)
    (batch,) = batches
    rows = batch.to_pylist()
    assert windows == len(rows) == 2
    assert {name: value for name, value in rows[0].items() if name != "price"} == {
        "session_id": [b"v"],
        "lookahead": [0],
        "user": [b"u"],
        "item": [b"a", b"b"],
        "time": [5, 7],
        "click": [1, 0],
        "past_records": [0.0, 1.0],
        "past_click_known": [0.0, 1.0],
        "past_click_positive": [0.0, 1.0],
    }
    assert rows[0]["price"][0] != rows[0]["price"][0]
    assert rows[0]["price"][1] == 2.5


def test_feedback_of_a_window_knows_the_windows_before_it():
    events = _events(*((0, n + 2, "v", "u", "a", n + 1, None, 1) for n in range(5)))
    plan = _plan(session={"max_steps": 2})
    windows, batches = example_batches(make_records(events, plan)[0], plan)
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert windows == 3
    assert [(row["lookahead"], row["past_records"]) for row in rows] == [
        ([1], [0.0, 1.0, 2.0]),
        ([1], [2.0, 3.0, 4.0]),
        ([0], [4.0]),
    ]


def test_many_windows_come_in_batches_that_join_to_the_whole(monkeypatch):
    monkeypatch.setattr(partition, "_BATCH", 4096)
    events = _events(*((0, n + 2, f"v{n:05d}", "u", f"i{n}", n + 1, None, 1) for n in range(9000)))
    plan = _plan()
    windows, batches = example_batches(make_records(events, plan)[0], plan)
    parts = list(batches)
    assert windows == 9000
    assert len(parts) == 3
    assert [item for part in parts for (item,) in part.column("item").to_pylist()] == [
        f"i{n}".encode() for n in range(9000)
    ]


def test_no_records_are_no_batches():
    plan = _plan()
    records, _ = make_records(_events((0, 2, "v", "u", "a", 5, None, 1)), plan)
    windows, batches = example_batches(records.clear(), plan)
    assert (windows, list(batches)) == (0, [])


def test_a_session_column_is_not_read_where_sessions_are_made_by_gap():
    assert "visit" not in {column.name for column in _plan(session={"by": "gap"}).columns}
    assert "visit" in {column.name for column in _plan().columns}


def test_the_session_id_is_named_so_whatever_the_schema_calls_it():
    records, _ = make_records(_events((0, 2, "v", "u", "a", 5, None, 1)), _plan())
    assert records[SESSION].to_list() == ["v"]


@pytest.mark.parametrize(
    ("change", "data", "message"),
    [
        (
            {"session": None},
            {},
            r"data\.session\.by is column, but no feature .* --set data\.session\.by=gap",
        ),
        (
            {"features": (*SCHEMA.features, Feature("lookahead", "numeric"))},
            {},
            '"lookahead" is taken by ExampleGen',
        ),
        ({"features": (*SCHEMA.features, Feature("past_records", "numeric"))}, {}, '"past_records" is taken'),
        ({}, {"feedback": {"exclude": ["clack"]}}, 'no task "clack"'),
        ({}, {"dataset": "tabel"}, r'data\.dataset: no "tabel"; did you mean "table"'),
    ],
)
def test_a_plan_that_cannot_work_is_refused_before_the_work(change, data, message):
    with pytest.raises(UserError, match=message):
        _plan(replace(SCHEMA, **change), **data).check()


def test_a_plan_by_gap_needs_no_session_column():
    _plan(replace(SCHEMA, session=None), session={"by": "gap"}).check()


def test_sessions_by_gap_need_a_user():
    with pytest.raises(UserError, match=r"data\.session\.by is gap, but no feature .* tag 'user'"):
        _plan(replace(SCHEMA, user=None), session={"by": "gap"}).check()


def test_logs_that_name_no_users_have_none_too_many_in_a_session():
    events = _events((0, 2, "v", "u", "a", 1, None, 0), (0, 3, "v", "w", "b", 2, None, 0))
    schema = replace(SCHEMA, user=None, features=tuple(f for f in SCHEMA.features if f.name != "user"))
    records, bad = make_records(events.drop("user"), _plan(schema))
    assert (records["item"].to_list(), bad.height) == (["a", "b"], 0)
    assert make_records(events, _plan())[1]["reason"].to_list() == ["second user in a session"]
