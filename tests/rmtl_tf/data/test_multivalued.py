from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtl_tf.config import DataConfig, TransformConfig
from rmtl_tf.data.analyzers import Analysis, fit, plan
from rmtl_tf.data.datasets.base import Column
from rmtl_tf.data.ingest import ingest
from rmtl_tf.data.multivalued import lengths_name, split_values
from rmtl_tf.data.records import read_record_batches
from rmtl_tf.data.session_reader import SessionReader
from rmtl_tf.data.validate import validate
from rmtl_tf.errors import UserError
from rmtl_tf.schema import DataSchema, Feature, Task

SCHEMA = DataSchema(
    features=(
        Feature("user", "categorical", context=True, required=True),
        Feature("likes", "categorical", context=True, max_values=2, separator="|"),
        Feature("item", "categorical", required=True),
        Feature("tag", "categorical", max_values=3, separator=","),
        Feature("time", "timestamp", required=True),
        Feature("click", "label", required=True),
    ),
    tasks=(Task("click"),),
    labels=("click",),
    user="user",
    item="item",
    timestamp="time",
)


def _split(text: str | None, separator: str, most: int | None) -> list[str]:
    """The oracle: plain Python."""
    values = [value.strip(" \t\n\r\x0b\x0c") for value in (text or "").split(separator)]
    return [value for value in values if value][:most]


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(st.none() | st.text("ab, |", max_size=12), min_size=1, max_size=5),
    most=st.none() | st.integers(1, 3),
)
def test_strings_are_split_as_plain_python_splits_them(texts, most):
    frame = pl.DataFrame({"x": pl.Series(texts, dtype=pl.String)})
    result = frame.select(split_values(pl.col("x"), ",", most))["x"].to_list()
    assert result == [_split(text, ",", most) for text in texts]


def test_each_of_several_values_must_be_allowed():
    rows = pl.DataFrame({"#line": [2, 3, 4], "tag": ["a,b", "a, c", ""]})
    good, bad = validate(rows, [Column("tag", "string", values=("a", "b"), separator=",")], 0)
    assert good["tag"].to_list() == ["a,b", None]
    assert bad.select("#line", "reason").rows() == [(3, "value not allowed")]


def _csv(tmp_path, rows):
    lines = ["user,likes,item,tag,time,click", *rows]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    for name in ("examples", "statistics"):
        (tmp_path / name).mkdir()
    config = DataConfig.model_validate({"dataset": "table", "session": {"by": "gap"}, "shards": 1})
    return ingest(tmp_path / "log.csv", tmp_path / "examples", tmp_path / "statistics", config, SCHEMA)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    """Three sessions a split of two records each; the first record of a session has no tag."""
    rows, tmp_path = [], tmp_path_factory.mktemp("ingested")
    for s in range(9):
        rows.append(f'u{s},x|y|z,i1,"",{100_000 * s + 10},{s % 2}')
        rows.append(f'u{s},,i2,"t{s},common, t{s},cut",{100_000 * s + 20},{(s + 1) % 2}')
    return tmp_path, _csv(tmp_path, rows)


def test_examples_hold_the_values_end_to_end_and_the_number_of_each_record(ingested):
    directory, _ = ingested
    kinds = {"user": "bytes", "tag": "bytes", "tag#lengths": "int", "likes": "bytes", "likes#lengths": "int"}
    batches = read_record_batches(directory / "examples" / "Split-train", kinds)  # type: ignore[arg-type]
    first = next(iter(batches)).to_pylist()[0]
    assert first["user"] == [b"u0"]
    assert (first["tag"], first["tag#lengths"]) == ([b"t0", b"common", b"t0"], [0, 3])
    assert (first["likes"], first["likes#lengths"]) == ([b"x", b"y"], [2])


def test_flat_records_have_a_list_each_and_the_context_in_every_one(ingested):
    directory, _ = ingested
    path = next((directory / "examples" / "Split-train").iterdir())
    records = next(SessionReader(SCHEMA, ()).read(path))
    assert records.columns["tag"].to_pylist()[:4] == [
        [],
        [b"t0", b"common", b"t0"],
        [],
        [b"t1", b"common", b"t1"],
    ]
    assert records.columns["likes"].to_pylist()[:3] == [[b"x", b"y"]] * 3


def test_a_vocabulary_counts_single_values(ingested):
    directory, _ = ingested
    path = next((directory / "examples" / "Split-train").iterdir())
    analysis = Analysis(plan(SCHEMA, ()))
    for records in SessionReader(SCHEMA, ()).read(path):
        analysis.add(records.without_lookahead())
    counts = analysis.values["tag"].table().to_pylist()
    assert counts[0] == {"value": b"common", "count": len(counts) - 1}
    assert counts[1] == {"value": b"t0", "count": 2}
    graph = fit(analysis, SCHEMA, TransformConfig())
    assert {f.name: f.vocabulary for f in graph.features if f.name == "likes"} == {"likes": ("x", "y")}  # type: ignore[union-attr]


def test_statistics_count_single_values_and_records_without_any(ingested):
    _, report = ingested
    tag = report["features"]["tag"]
    assert tag["top"][:2] == [["common", 9], ["t0", 2]]
    assert tag["missing"] == 9
    assert tag["unique"] == 10


def test_lengths_that_do_not_fit_the_values_are_refused(tmp_path):
    batch = pa.record_batch(
        {
            "session_id": pa.array([[b"s"]], pa.large_list(pa.large_binary())),
            "tag": pa.array([[b"a", b"b"]], pa.large_list(pa.large_binary())),
            lengths_name("tag"): pa.array([[1, 2]], pa.large_list(pa.int64())),
        }
    )
    from rmtl_tf.data.session_reader import _value_lists

    with pytest.raises(UserError, match=r"'tag'.*expected 3 values, received 2"):
        _value_lists(batch, "tag", np.array([2]), "file")


def test_a_feature_may_not_take_the_name_of_a_list_of_lengths(tmp_path):
    from dataclasses import replace

    from rmtl_tf.data.partition import Plan

    schema = replace(SCHEMA, features=(*SCHEMA.features, Feature("tag#lengths", "categorical")))
    config = DataConfig.model_validate({"dataset": "table", "session": {"by": "gap"}})
    with pytest.raises(UserError, match='"tag#lengths" is taken by ExampleGen'):
        Plan((), (), config, schema, 1).check()
