from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtl_tf.data.datasets.base import FILE, LINE, Column
from rmtl_tf.data.validate import EARLIEST, LATEST, validate

COLUMNS = (
    Column("user", "string", "userId", required=True),
    Column("device", "string", values=("phone", "desktop")),
    Column("time", "timestamp", required=True),
    Column("price", "float", low=0.0, high=100.0),
    Column("score", "float"),
    Column("click", "label", required=True),
)
GOOD = {"userId": "u", "device": "phone", "time": "1465413032", "price": "1.5", "score": "-2", "click": "1"}


def _validate(*rows: dict[str, str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    frame = pl.DataFrame([GOOD | row for row in rows], schema=dict.fromkeys(GOOD, pl.String))
    return validate(frame.with_columns(pl.Series(LINE, range(2, len(rows) + 2), dtype=pl.Int64)), COLUMNS, 7)


def test_a_good_row_is_typed_under_the_names_of_events():
    good, bad = _validate({})
    assert good.rows(named=True) == [
        {
            FILE: 7,
            LINE: 2,
            "user": "u",
            "device": "phone",
            "time": 1465413032,
            "price": 1.5,
            "score": -2.0,
            "click": 1,
        }
    ]
    assert bad.height == 0


def test_missing_values_that_may_be_missing_are_null():
    good, _ = _validate({"device": "", "price": "", "score": ""})
    assert good.select("device", "price", "score").row(0) == (None, None, None)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("userId", "", "missing value"),
        ("time", "", "missing value"),
        ("click", "", "missing value"),
        ("userId", "a\nb", "control character"),
        ("userId", "a\rb", "control character"),
        ("userId", "a\0b", "control character"),
        ("device", "toaster", "value not allowed"),
        ("device", "Phone", "value not allowed"),
        ("time", "yesterday", "not a timestamp"),
        ("time", "2016-03-14", "not a timestamp"),
        ("time", "1465413032.5", "not a timestamp"),
        ("time", "0", "timestamp out of range"),
        ("time", "-5", "timestamp out of range"),
        ("time", "1465413032000", "timestamp looks like milliseconds"),
        ("time", "1465413032000.0", "timestamp looks like milliseconds"),
        ("time", "1465413032000000", "timestamp looks like microseconds"),
        ("time", "1465413032000000000", "timestamp looks like nanoseconds"),
        ("time", "4102444800", "timestamp out of range"),
        ("time", "99999999999999999999999", "timestamp out of range"),
        ("time", "-99999999999999999999999", "timestamp out of range"),
        ("price", "cheap", "not a number"),
        ("price", " 1", "not a number"),
        ("price", "1,5", "not a number"),
        ("price", "nan", "number not finite"),
        ("price", "inf", "number not finite"),
        ("score", "-inf", "number not finite"),
        ("score", "1e999", "number not finite"),
        ("score", "1e39", "number out of range"),
        ("price", "-0.01", "number out of range"),
        ("price", "100.01", "number out of range"),
        ("click", "2", "unknown label value"),
        ("click", "yes", "unknown label value"),
        ("click", "true", "unknown label value"),
        ("click", "0.5", "unknown label value"),
    ],
)
def test_every_fault_is_quarantined_with_line_reason_column_and_value(column, value, reason):
    good, bad = _validate({}, {column: value}, {})
    assert good[LINE].to_list() == [2, 4]
    shown = value.replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\\0")
    assert bad.rows() == [(7, 3, reason, column, shown, False)]


@pytest.mark.parametrize(
    ("column", "value", "typed"),
    [
        ("click", "0.0", 0),
        ("click", "1.0", 1),
        ("time", "1465413032.0", 1465413032),
        ("time", str(EARLIEST), EARLIEST),
        ("time", str(LATEST), LATEST),
        ("price", "0", 0.0),
        ("price", "100", 100.0),
        ("score", "1e3", 1000.0),
    ],
)
def test_values_at_the_edge_are_good(column, value, typed):
    good, bad = _validate({column: value})
    assert bad.height == 0
    assert good[column].item() == typed


def test_a_row_with_several_faults_counts_once_with_the_first():
    _, bad = _validate({"click": "7", "price": "x", "userId": ""})
    assert bad.select("reason", "column").rows() == [("missing value", "userId")]


def _validate_times(per_second: int, *ticks: int | str) -> tuple[list, list[str]]:
    column = Column("time", "timestamp", required=True, per_second=per_second)
    rows = pl.DataFrame({LINE: range(2, len(ticks) + 2), "time": [str(tick) for tick in ticks]})
    good, bad = validate(rows, (column,), 0)
    return good["time"].to_list(), bad["reason"].to_list()


def test_timestamps_in_other_ticks_become_seconds():
    times = _validate_times(1000, "1465413032999", "999")
    assert times == ([1465413032], ["timestamp out of range"])


NAMES = {1: "seconds", 1_000: "milliseconds", 1_000_000: "microseconds", 1_000_000_000: "nanoseconds"}


@pytest.mark.parametrize("expected", NAMES)
@pytest.mark.parametrize("given_", NAMES)
@pytest.mark.parametrize("second", [978_307_200, 1_465_413_032, 4_102_444_799])
def test_the_unit_of_a_time_is_told_by_its_size(expected, given_, second):
    """Times from 2001 to 2099, in each unit where each is expected."""
    good, bad = _validate_times(expected, second * given_ + given_ - 1)
    same = expected == given_
    assert (good, bad) == (([second], []) if same else ([], [f"timestamp looks like {NAMES[given_]}"]))


@pytest.mark.parametrize(
    ("per_second", "ticks"),
    [(1, 1), (1, 1_000_000), (1, 978_307_199), (1000, 978_307_199), (1000, 4_102_444_800)],
)
def test_other_times_near_1970_stay_legal(per_second, ticks):
    """What is a time of our days in no unit is not judged."""
    assert _validate_times(per_second, ticks) == ([ticks // per_second], [])


def test_bad_rows_come_in_line_order():
    _, bad = _validate({"click": "x"}, {"userId": ""}, {"click": "x"}, {"price": "x"})
    assert bad[LINE].to_list() == [2, 3, 4, 5]


def test_no_rows_give_no_rows():
    good, bad = _validate()
    assert (good.height, bad.height) == (0, 0)
    assert good.schema["price"] == pl.Float64


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=8) | st.floats().map(str) | st.integers(-10, 200).map(str))
def test_a_number_is_good_exactly_if_python_and_the_bounds_say_so(text):
    good, bad = _validate({"price": text})
    assert good.height + bad.height == 1
    if good.height and text:
        assert 0 <= good["price"].item() <= 100
        assert good["price"].item() == pytest.approx(float(text))


def test_values_of_a_file_that_has_types_are_taken_as_they_are():
    rows = pl.DataFrame(
        {
            LINE: [1, 2],
            "userId": [7, 8],
            "device": ["phone", None],
            "time": [datetime(2016, 6, 8, 19, 10, 32), datetime(2016, 6, 8, 19, 10, 33)],
            "price": [2, None],
            "score": pl.Series([0.5, None], dtype=pl.Float32),
            "click": [True, False],
        }
    )
    good, bad = validate(rows, COLUMNS, 0)
    assert bad.height == 0
    assert good.rows() == [
        (0, 1, "7", "phone", 1465413032, 2.0, 0.5, 1),
        (0, 2, "8", None, 1465413033, None, None, 0),
    ]
    strings, _ = _validate({})
    assert good.schema == strings.schema


@pytest.mark.parametrize(
    ("column", "value", "reason", "shown"),
    [
        ("userId", None, "missing value", ""),
        ("time", datetime(1969, 1, 1), "timestamp out of range", "-31536000"),
        ("time", None, "missing value", ""),
        ("price", float("nan"), "number not finite", "NaN"),
        ("price", 100.5, "number out of range", "100.5"),
        ("click", 2, "unknown label value", "2"),
        ("click", 0.5, "unknown label value", "0.5"),
        ("device", "toaster", "value not allowed", "toaster"),
    ],
)
def test_faults_of_typed_values_are_those_of_strings(column, value, reason, shown):
    typed = {
        "userId": 7,
        "device": "phone",
        "time": datetime(2016, 6, 8),
        "price": 1.5,
        "score": 1.0,
        "click": 1,
    }
    rows = pl.DataFrame([{LINE: 5} | typed | {column: value}], infer_schema_length=None)
    good, bad = validate(rows, COLUMNS, 3)
    assert good.height == 0
    assert bad.rows() == [(3, 5, reason, column, shown, False)]


def test_whole_numbers_written_as_fractions_are_labels_and_times():
    rows = pl.DataFrame([{LINE: 5} | GOOD | {"time": 1465413032.0, "click": 1.0}])
    good, bad = validate(rows, COLUMNS, 0)
    assert (good["time"].item(), good["click"].item(), bad.height) == (1465413032, 1, 0)


def test_times_of_a_typed_file_are_seconds_whatever_the_ticks_of_the_column():
    column = Column("time", "timestamp", required=True, per_second=1000)
    rows = pl.DataFrame({LINE: [1], "time": [datetime(2016, 6, 8, 19, 10, 32, 999_000)]})
    assert validate(rows, (column,), 0)[0]["time"].to_list() == [1465413032]


_ODD = ("", "0", "1", "1.0", "x", "é\0", "nan")
_ROWS = st.fixed_dictionaries({name: st.sampled_from((value, *_ODD)) for name, value in GOOD.items()})


@settings(max_examples=200, deadline=None)
@given(st.lists(_ROWS, max_size=6))
def test_a_row_is_judged_the_same_beside_good_rows_and_alone(rows):
    """Rows in plain form take another way than the rest of their block."""
    good, bad = _validate(*rows)
    alone = [_validate(row) for row in rows]
    assert good.drop(LINE).rows() == [row for one, _ in alone for row in one.drop(LINE).rows()]
    assert bad.drop(LINE).rows() == [row for _, one in alone for row in one.drop(LINE).rows()]
