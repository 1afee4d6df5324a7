from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtl_tf.errors import UserError
from rmtl_tf.features.graph import (
    Categorical,
    Numeric,
    Rate,
    TimePart,
    TransformGraph,
    facts,
    vocabulary_path,
)
from rmtl_tf.features.vocabulary import decode_value, encode_value
from rmtl_tf.schema import Task


def graph(*features, labels=("click", "buy")) -> TransformGraph:
    return TransformGraph(tuple(features), (Task("click"), Task("conversion", "click")), labels, "time")


FULL = graph(
    Categorical("user", ("u2", "u1"), is_id=True),
    Numeric("price", 0.1, 1 / 3, log=True),
    Categorical("tag", (" lead", "trail ", "a,b", "ünï", "日本", "\u2028", "\x85", "\x0b", "\udcff")),
    Categorical("nothing", ()),
    Numeric("past_records", 1.0, 2.0, log=True, missing=0.0),
    Rate("past_click_rate", "past_click_positive", "past_click_known", 0.1, 2.0, 0.12, 0.03),
    TimePart("hour", "time"),
    TimePart("weekday", "time"),
)


def test_input_spec_has_time_parts_among_the_ids_and_rates_among_the_numbers():
    spec = FULL.input_spec()
    assert spec.categorical == (("user", 4), ("tag", 11), ("nothing", 2), ("hour", 26), ("weekday", 9))
    assert spec.numeric == ("price", "past_records", "past_click_rate")
    assert spec.ids == ("user",)


def test_buckets_stand_behind_the_vocabulary():
    feature = Categorical("item", ("a", "b"), buckets=5)
    assert (feature.first_bucket, feature.size) == (4, 9)
    assert graph(feature).input_spec().categorical == (("item", 9),)


def test_buckets_are_saved_and_a_graph_without_them_is_described_as_before(tmp_path):
    hashed = graph(Categorical("item", ("a",), buckets=5), Categorical("all", (), buckets=3))
    hashed.save(tmp_path)
    assert TransformGraph.load(tmp_path) == hashed
    assert facts(Categorical("item", ("a",))) == {
        "name": "item",
        "vocabulary": ("a",),
        "is_id": False,
        "max_values": 1,
    }
    assert facts(hashed.features[0])["buckets"] == 5


def test_raw_inputs_stand_once_in_feature_order_with_their_types():
    assert list(FULL.raw.items()) == [
        ("user", "string"),
        ("price", "float"),
        ("tag", "string"),
        ("nothing", "string"),
        ("past_records", "float"),
        ("past_click_known", "float"),
        ("past_click_positive", "float"),
        ("time", "int"),
    ]


def test_defaults_are_missing_values_and_no_history_is_zero():
    defaults = dict(FULL.defaults)
    assert math.isnan(defaults.pop("price"))
    assert defaults == {
        "user": "",
        "tag": "",
        "nothing": "",
        "past_records": 0.0,
        "past_click_known": 0.0,
        "past_click_positive": 0.0,
        "time": -1,
    }


def test_saved_graph_loads_equal_with_every_character_and_every_bit(tmp_path):
    FULL.save(tmp_path)
    assert TransformGraph.load(tmp_path) == FULL


def test_vocabulary_file_has_one_value_per_line_in_id_order(tmp_path):
    FULL.save(tmp_path)
    assert vocabulary_path(tmp_path, "user").read_bytes() == b"u2\nu1\n"
    assert vocabulary_path(tmp_path, "nothing").read_bytes() == b""


def test_saving_twice_gives_the_same_bytes(tmp_path):
    FULL.save(tmp_path / "a")
    FULL.save(tmp_path / "b")
    for path in sorted((tmp_path / "a").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_feature_name_with_a_slash_stays_inside_the_vocabulary_folder(tmp_path):
    odd = graph(Categorical("a/../b", ("x",)))
    odd.save(tmp_path)
    assert vocabulary_path(tmp_path, "a/../b").parent == tmp_path / "vocabulary"
    assert TransformGraph.load(tmp_path) == odd


@pytest.mark.parametrize("value", ["two\nlines", "carriage\r", ""])
def test_value_that_a_file_of_lines_cannot_carry_is_refused_by_name(tmp_path, value):
    with pytest.raises(UserError, match="'tag'"):
        graph(Categorical("tag", (value,))).save(tmp_path)


@pytest.mark.parametrize("name", ["time", "click", "session_id", "lookahead", "hour"])
def test_two_columns_of_one_name_are_refused(name):
    with pytest.raises(UserError, match=f"'{name}'"):
        graph(Numeric(name, 0.0, 1.0), TimePart("hour", "time"))


def test_missing_graph_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="Run the pipeline again"):
        TransformGraph.load(tmp_path)


def test_shortened_vocabulary_is_detected(tmp_path):
    FULL.save(tmp_path)
    vocabulary_path(tmp_path, "user").write_bytes(b"u2\n")
    with pytest.raises(UserError, match="2 values of 'user' expected, 1 found"):
        TransformGraph.load(tmp_path)


@pytest.mark.parametrize(
    "change", [{"version": 9}, {"features": [{"kind": "odd", "name": "x"}]}, {"tasks": 3}]
)
def test_foreign_description_is_a_user_error(tmp_path, change):
    FULL.save(tmp_path)
    path = tmp_path / "transform_graph.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError):
        TransformGraph.load(tmp_path)


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_survive_as_a_vocabulary_value(data):
    assert encode_value(decode_value(data)) == data


def test_module_needs_neither_tensorflow_nor_arrow():
    code = (
        "import sys, rmtl_tf.features.graph\n"
        "print([m for m in ('tensorflow', 'polars', 'pyarrow', 'apache_beam', 'numpy') if m in sys.modules])"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
