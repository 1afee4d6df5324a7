"""Logs that grow: every span is read once, and the spans together are what one reading of all would give."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from components.example_gen import example_gen
from components.runner import run
from components.span_example_gen import span_steps
from rmtl_tf import storage
from rmtl_tf.config import DataConfig, SpansConfig
from rmtl_tf.data.feedback import feedback_columns
from rmtl_tf.data.growing import find_spans, split_of_spans
from rmtl_tf.data.records import read_record_batches
from rmtl_tf.data.validation.examples import validate_examples
from rmtl_tf.errors import UserError
from rmtl_tf.files import read_json
from rmtl_tf.places import place
from rmtl_tf.schema import read_schema

SCHEMA = """
feature { name: "session" type: BYTES annotation { tag: "session" } }
feature { name: "user" type: BYTES annotation { tag: "user" tag: "context" } }
feature { name: "item" type: BYTES annotation { tag: "item" tag: "step" } }
feature { name: "time" type: INT annotation { tag: "timestamp" } }
feature { name: "price" type: FLOAT annotation { tag: "step" } }
feature { name: "click" type: INT annotation { tag: "label:click" } }
"""
TYPES = {"session_id": "bytes", "item": "bytes", "time": "int", "price": "float", "click": "int"}
HEADER = "session,user,item,time,price,click"


def day(folder: Path, number: int, bad: int = 0) -> None:
    """Logs of one day: 12 sessions of 3 records. Session "late" stands in every day."""
    lines = [
        f"{'late' if s == 11 else f's{number}-{s}'},u{s % 5},i{(s + t + number) % 7},"
        f"{number * 86_400 + s * 1000 + t},{s + 0.5},{(s + t) % 2}"
        for s in range(12)
        for t in range(3)
    ]
    lines += [f"x{number},u,i,never,1,0"] * bad
    folder.mkdir(parents=True)
    (folder / "logs.csv").write_text("\n".join([HEADER, *lines]) + "\n")


def config(tmp_path: Path, **settings) -> DataConfig:
    schema = tmp_path / "schema.pbtxt"
    schema.write_text(SCHEMA)
    values = {"dataset": "table", "schema": str(schema), "shards": 2, "max_bad_fraction": 0.1}
    return DataConfig.model_validate({**values, "path": str(tmp_path / "day-{SPAN}"), **settings})


def sessions(examples: Path, split: str) -> list[dict]:
    rows = [
        row for batch in read_record_batches(examples / f"Split-{split}", TYPES) for row in batch.to_pylist()
    ]
    return sorted(rows, key=lambda row: row["session_id"])


def run_spans(data: DataConfig, root: Path):
    steps, join = span_steps(data)
    results = {result.name: result for result in run([*steps, join], root)}
    return results, results["ExampleGen"].outputs


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """(folder, results before the fourth day came, results after)."""
    folder = tmp_path_factory.mktemp("grown")
    for number in (1, 2, 3):
        day(folder / f"day-{number}", number, bad=number == 2)
    data = config(folder)
    before, _ = run_spans(data, folder / "root")
    day(folder / "day-4", 4)
    after, outputs = run_spans(data, folder / "root")
    return folder, before, after, outputs


def test_a_new_day_is_read_and_the_old_ones_are_not_read_again(grown):
    _, before, after, _ = grown
    assert {name: result.state for name, result in before.items()} == {
        "ExampleGen-1": "ran",
        "ExampleGen-2": "ran",
        "ExampleGen-3": "ran",
        "ExampleGen": "ran",
    }
    cached = {name: result.state for name, result in after.items() if name != "ExampleGen"}
    assert cached == dict.fromkeys(("ExampleGen-1", "ExampleGen-2", "ExampleGen-3"), "cached") | {
        "ExampleGen-4": "ran"
    }


def test_the_newest_spans_test_and_validate_and_no_session_is_in_two_splits(grown):
    _, _, _, outputs = grown
    days = {
        split: {time // 86_400 for row in sessions(outputs["examples"], split) for time in row["time"]}
        for split in ("train", "validation", "test")
    }
    assert days == {"train": {1, 2}, "validation": {3}, "test": {4}}
    names = [row["session_id"][0] for split in days for row in sessions(outputs["examples"], split)]
    assert len(names) == len(set(names)) == 4 * 12
    assert {b"late@1", b"late@2", b"late@3", b"late@4"} <= set(names)


def test_the_records_are_those_of_one_reading_of_all_logs(grown, tmp_path):
    folder, _, _, outputs = grown
    everything = tmp_path / "all"
    everything.mkdir()
    for number in (1, 2, 3, 4):
        text = (folder / f"day-{number}" / "logs.csv").read_text().replace("late,", f"late{number},")
        (everything / f"{number}.csv").write_text(text)
    whole = example_gen(config(tmp_path, path=str(everything)))
    (result,) = run([whole], tmp_path / "root")
    rows = [
        sorted(
            tuple(row[name][0] if name == "session_id" else tuple(row[name]) for name in TYPES)[1:]
            for split in ("train", "validation", "test")
            for row in sessions(examples, split)
        )
        for examples in (outputs["examples"], result.outputs["examples"])
    ]
    assert rows[0] == rows[1]
    joined, read = (read_json(o["statistics"] / "statistics.json") for o in (outputs, result.outputs))
    for key in ("rows_read", "bad_rows", "excluded_rows", "reasons", "records", "sessions", "session_length"):
        assert joined[key] == read[key], key
    assert joined["features"]["item"] == read["features"]["item"]
    assert joined["features"]["price"]["mean"] == pytest.approx(read["features"]["price"]["mean"])


def test_statistics_and_quarantine_name_the_span_of_a_file(grown):
    _, _, _, outputs = grown
    report = read_json(outputs["statistics"] / "statistics.json")
    assert list(report["files"]) == [f"{number}/logs.csv" for number in (1, 2, 3, 4)]
    assert report["split_times"] == [3 * 86_400, 4 * 86_400]
    with (outputs["statistics"] / "quarantine.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["file"], row["reason"]) for row in rows] == [("2/logs.csv", "not a timestamp")]


def test_drift_of_the_newest_span_from_the_one_before_it_is_a_warning_that_names_both(grown, tmp_path):
    _, _, _, outputs = grown
    text = SCHEMA.replace(
        'name: "price"', 'name: "price" drift_comparator { jensen_shannon_divergence { threshold: 0.1 } }'
    ).replace('name: "item"', 'name: "item" drift_comparator { infinity_norm { threshold: 0.001 } }')
    (tmp_path / "schema.pbtxt").write_text(text)
    schema = read_schema(tmp_path / "schema.pbtxt")
    feedback = feedback_columns(DataConfig().feedback, schema)
    found = validate_examples(outputs["examples"], outputs["statistics"], schema, feedback, {})
    drift = [anomaly for anomaly in found.anomalies if anomaly.rule == "drift"]
    # Prices are the same every day; an item moves on by one a day, and seven items do not divide 36 records.
    assert [(anomaly.feature, anomaly.severity, anomaly.split) for anomaly in drift] == [
        ("item", "WARNING", "test")
    ]
    assert "span 3 against span 4: infinity_norm" in drift[0].sentence
    counts = [Counter((s + t + number) % 7 for s in range(12) for t in range(3)) for number in (3, 4)]
    largest = max(abs(counts[0][item] - counts[1][item]) / 36 for item in range(7))
    assert float(drift[0].value) == pytest.approx(largest, abs=1e-4)
    price = next(c for c in found.comparisons if c.feature == "price" and c.kind == "drift")
    assert (price.before, price.after, price.distance) == ("span 3", "span 4", 0)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["9", "10", "2", "11"], ["2", "9", "10", "11"]),
        (["2024-02-01", "2024-01-31", "2023-12-31"], ["2023-12-31", "2024-01-31", "2024-02-01"]),
    ],
)
def test_spans_come_in_the_order_of_numbers_or_dates(tmp_path, names, order):
    for name in names:
        (tmp_path / f"day-{name}").mkdir()
    (tmp_path / "day-1.bak").mkdir()
    assert [span.name for span in find_spans(f"{tmp_path}/day-{{SPAN}}", SpansConfig())] == order


def test_a_span_may_be_a_file_and_only_the_newest_of_a_window_count(tmp_path):
    for number in range(6):
        (tmp_path / f"log{number}.csv").touch()
    found = find_spans(f"{tmp_path}/log{{SPAN}}.csv", SpansConfig(window=4, validation=2))
    assert [span.path.name for span in found] == [f"log{number}.csv" for number in (2, 3, 4, 5)]
    assert split_of_spans(4, SpansConfig(validation=2)) == ["train", "validation", "validation", "test"]


def test_spans_on_an_object_store_are_found(bucket):
    for number in (9, 10, 11):
        (bucket / "logs" / f"day-{number}" / "events.csv").write_text("x")
    found = find_spans(f"{bucket / 'logs'}/day-{{SPAN}}", SpansConfig())
    assert [span.name for span in found] == ["9", "10", "11"]
    assert storage.local(place(str(found[0].path))).joinpath("events.csv").read_text() == "x"


def test_too_few_spans_are_an_error_that_names_those_there(tmp_path):
    for number in (1, 2):
        (tmp_path / f"day-{number}").mkdir()
    with pytest.raises(UserError, match=r"at least 3 spans like .*found 1, 2"):
        find_spans(f"{tmp_path}/day-{{SPAN}}", SpansConfig())
    with pytest.raises(UserError, match=r"found none"):
        find_spans(f"{tmp_path}/nowhere/{{SPAN}}", SpansConfig())


def test_a_window_must_leave_spans_to_train_on():
    with pytest.raises(ValueError, match="leave none for training"):
        SpansConfig(window=3, validation=1, test=2)
