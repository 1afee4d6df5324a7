"""One set of Deskdrop events by every way a history goes: training, a client's lists, the raw records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from rmtl_tf.config import DataConfig, FeedbackConfig, HistoryConfig, TransformConfig
from rmtl_tf.data import session_reader
from rmtl_tf.data.datasets.base import FILE, LINE, label_time
from rmtl_tf.data.feedback import feedback_columns
from rmtl_tf.data.history import history_of, history_spec
from rmtl_tf.data.partition import Plan, example_batches, make_records
from rmtl_tf.data.records import shard_path, write_record_batches
from rmtl_tf.data.transform import analyze, transform
from rmtl_tf.export.raw_records import raw_records
from rmtl_tf.features.encoder import RawEncoder, signature
from rmtl_tf.inputs import Batcher, epoch_plan, read_table
from rmtl_tf.schema import read_schema

SCHEMA = read_schema(Path(__file__).resolve().parents[3] / "data_schemas" / "deskdrop.pbtxt")
FEEDBACK = FeedbackConfig(label_delay={"engage": 2, "save": 0})
HISTORY = history_spec(HistoryConfig(encoder="gru", length=4), FEEDBACK, SCHEMA)


def events(sessions=60, seed=0):
    """Views and actions on up to 9 articles within seconds, so that many times are equal and actions late."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(sessions):
        articles = random.choice(30, random.integers(1, 10), replace=False)
        for article in articles:
            viewed = 1_000 * number + int(random.integers(1, 12))
            row = (f"p{number % 7}", f"c{article}", f"s{number}", random.choice(["SP", "MG", None]), "BR")
            rows.append((viewed, *row, "VIEW"))
            for event in random.choice(
                ["LIKE", "FOLLOW", "COMMENT CREATED"], random.integers(0, 3), replace=False
            ):
                rows.append((viewed + int(random.integers(0, 9)), *row, event))
    types = {
        "timestamp": pl.Int64,
        **dict.fromkeys(["person_id", "content_id", "session_id", "region", "country", "#event"], pl.String),
    }
    frame = pl.DataFrame(rows, schema=types, orient="row")
    return frame.with_columns(pl.lit(0).alias(FILE), (pl.int_range(pl.len()) + 2).alias(LINE))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The records, and the directories that ExampleGen and Transform make of them; windows of 3 records."""
    root = tmp_path_factory.mktemp("history")
    config = DataConfig.model_validate(
        {"dataset": "deskdrop", "session": {"max_steps": 3}, "feedback": FEEDBACK.model_dump()}
    )
    plan = Plan(("e.csv",), ("e.csv",), config, SCHEMA, 1 << 20)
    records, _ = make_records(events(), plan)
    raw, transformed = root / "Split-train", root / "transformed"
    write_record_batches(shard_path(raw, 0, 1), example_batches(records, plan)[1])
    columns = feedback_columns(FEEDBACK, SCHEMA)
    graph = analyze(raw, SCHEMA, columns, TransformConfig(min_count=2), root / "graph")
    transform({raw: transformed}, SCHEMA, columns, root / "graph")
    return SimpleNamespace(records=records, raw=raw, transformed=transformed, graph=graph, root=root)


def clients_lists(records):
    """For every record what a client sends that learns of an action when it happens, and no earlier."""
    rows = records.to_dicts()
    answers = []
    for now in rows:
        second, so_far = now["timestamp"], []
        for row in rows:
            if row["session_id"] == now["session_id"] and row["timestamp"] <= second:
                record = {name: row[name] for name in ("timestamp", "content_id", "region", "country")}
                for label in SCHEMA.labels:
                    delay = FEEDBACK.label_delay[label]
                    happened = row[label] and max(row[label_time(label)], row["timestamp"]) + delay < second
                    record[label] = int(happened)
                so_far.append(record)
        answers.append(history_of(so_far, second + 0.5, FEEDBACK, SCHEMA))
    return answers


def padded(answers, name):
    length = max(len(lists[name]) for lists in answers)
    pad = 0 if name in ("history_engage", "history_save") else ""
    return [lists[name] + [pad] * (length - len(lists[name])) for lists in answers]


def test_the_records_are_hard_enough(made):
    times = made.records.group_by("session_id").agg(
        ties=pl.col("timestamp").is_duplicated().any(), n=pl.len()
    )
    assert times["ties"].sum() > 20
    assert (times["n"] > 2 * 3).sum() > 10  # three windows and more
    late = made.records.filter(pl.col(label_time("engage")) > pl.col("timestamp"))
    assert late.height > 50
    codes = {code for lists in clients_lists(made.records) for code in lists["history_engage"]}
    assert codes == {1, 2, 3}


def test_what_a_client_sends_is_encoded_to_what_training_saw(made):
    answers = clients_lists(made.records)
    spec = replace(made.graph.input_spec(), history=HISTORY)
    table = read_table(made.transformed, spec, made.graph.labels, made.graph.timestamp)
    (batch,) = Batcher(table).batches(epoch_plan(table, table.rows, None))
    types = {name: spec.dtype for name, spec in signature(made.graph, HISTORY).items()}
    now = {
        name: tf.constant([made.graph.defaults[name]] * len(answers), types[name]) for name in made.graph.raw
    }
    encoder = RawEncoder(made.graph, made.root / "graph", HISTORY)
    lists = {name: tf.constant(padded(answers, name), types[name]) for name in answers[0]}
    served = encoder({**now, **lists})
    compared = [name for name in served if name.startswith("history/")]
    assert len(compared) == 5
    for name in compared:
        trained = batch["features"][name].numpy()[table.records]
        np.testing.assert_array_equal(served[name], trained, err_msg=name)
        assert trained.any()


@pytest.mark.parametrize("windows_a_read", [2, 1024])
def test_raw_records_carry_a_clients_lists_whatever_is_read_at_once(made, monkeypatch, windows_a_read):
    monkeypatch.setattr(session_reader, "_BATCH", windows_a_read)
    batches = list(raw_records(made.raw, SCHEMA, FEEDBACK, HISTORY))
    answers = clients_lists(made.records)
    for name in answers[0]:
        values = np.concatenate([batch[name] for batch in batches])
        assert values.shape == (made.records.height, HISTORY.length)
        for row, lists in zip(values.tolist(), answers, strict=True):
            wanted = lists[name][-HISTORY.length :]
            wanted = [value.encode() if isinstance(value, str) else value for value in wanted]
            pad = b"" if isinstance(row[0], bytes) else 0
            assert row == wanted + [pad] * (HISTORY.length - len(wanted)), name


def test_without_a_history_they_are_the_columns_of_the_records(made):
    batches = list(raw_records(made.raw, SCHEMA, FEEDBACK))
    items = [item.decode() for batch in batches for item in batch["content_id"]]
    assert items == made.records["content_id"].to_list()
    assert not [name for name in batches[0] if name.startswith("history_")]
    assert {"past_records", "timestamp", "person_id"} <= set(batches[0])


def test_label_times_never_come_before_their_record(made):
    (batch,) = raw_records(made.raw, SCHEMA, FEEDBACK)
    for label in SCHEMA.labels:
        times = batch[label_time(label)]
        expected = made.records[label_time(label)].fill_null(0).to_numpy()
        np.testing.assert_array_equal(times, np.maximum(expected, batch["timestamp"]))
