from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from rmtl_tf.data.datasets import READERS, get_reader
from rmtl_tf.errors import UserError
from rmtl_tf.schema import DataSchema, Feature, Task

SCHEMA = DataSchema(
    features=(
        Feature("user", "categorical", context=True, required=True),
        Feature("item", "categorical", required=True),
        Feature("time", "timestamp", required=True),
        Feature("price", "numeric", low=0.0),
        Feature("click", "label", required=True),
    ),
    tasks=(Task("click"),),
    labels=("click",),
    user="user",
    item="item",
    timestamp="time",
)


def test_an_unknown_data_set_names_the_nearest():
    with pytest.raises(UserError, match=r'data\.dataset: no "deskdorp"; did you mean "deskdrop"\?'):
        get_reader("deskdorp")
    assert get_reader("table") is READERS["table"]


def test_a_table_reads_csv_and_parquet_of_a_folder_and_the_simulator_its_events(tmp_path):
    names = ["events.csv", "more.csv.gz", "most.parquet"]
    for name in (*names, "notes.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in READERS["table"].files(tmp_path)] == names
    assert [p.name for p in READERS["simulator"].files(tmp_path)] == ["events.csv"]


def test_the_columns_of_a_table_are_the_schemas_features():
    columns = READERS["table"].columns(SCHEMA)
    assert [(c.source, c.name, c.dtype) for c in columns] == [
        ("user", "user", "string"),
        ("item", "item", "string"),
        ("time", "time", "timestamp"),
        ("price", "price", "float"),
        ("click", "click", "label"),
    ]
    assert columns[3].low == 0.0


def test_a_row_of_a_table_is_a_record():
    events = pl.DataFrame({"#file": [0, 0], "#line": [2, 3], "user": ["u", "v"]})
    records, excluded = READERS["table"].to_records(events, SCHEMA, Path())
    assert records.equals(events)
    assert excluded.height == 0
