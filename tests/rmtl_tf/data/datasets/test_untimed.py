from __future__ import annotations

from pathlib import Path

import polars as pl

from rmtl_tf.data.datasets.base import FILE, LINE, SESSION
from rmtl_tf.data.datasets.untimed import give_places
from rmtl_tf.schema import read_schema

SCHEMA = read_schema(Path(__file__).resolve().parents[4] / "data_schemas" / "aliexpress.pbtxt")


def test_a_session_has_the_place_of_its_first_row_and_another_in_another_file():
    records = pl.DataFrame(
        {FILE: [0, 0, 1, 0], LINE: [7, 2, 2, 4], SESSION: ["a", "b", "a", "a"]},
        schema_overrides={FILE: pl.Int32},
    )
    placed = give_places(records, SCHEMA)
    assert placed[SESSION].to_list() == ["0-a", "0-b", "1-a", "0-a"]
    assert placed["place"].to_list() == [4, 2, 1_000_000_002, 4]
