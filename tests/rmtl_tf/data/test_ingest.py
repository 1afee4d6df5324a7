from __future__ import annotations

import csv
import gzip
import itertools
import json
import logging
from pathlib import Path

import polars as pl
import pytest

from rmtl_tf.config import DataConfig
from rmtl_tf.data.ingest import ingest
from rmtl_tf.data.records import read_record_batches
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_file, digest_tree
from rmtl_tf.schema import DataSchema, Feature, Task, read_schema

CHECKOUT = Path(__file__).resolve().parents[3]
DESKDROP = CHECKOUT.parent / "shared" / "data" / "deskdrop"

SCHEMA = DataSchema(
    features=(
        Feature("session_id", "key", context=True, required=True),
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
    session="session_id",
)
HEADER = "session_id,user,item,time,price,click"
FEATURES = {
    "session_id": "bytes",
    "lookahead": "int",
    "user": "bytes",
    "item": "bytes",
    "time": "int",
    "price": "float",
    "click": "int",
    "past_click_positive": "float",
}


def _lines(sessions: int = 40, steps: int = 3) -> list[str]:
    """Rows of sessions that start 1,000 s apart, in the order of a log."""
    return [
        f"s{s},u{s % 7},i{(s * steps + t) % 11},{1_000_000 + 1000 * s + t},"
        f"{'' if (s + t) % 5 == 0 else t + 0.5},{(s + t) % 2}"
        for s in range(sessions)
        for t in range(steps)
    ]


def _write(path: Path, lines: list[str], header: str = HEADER) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join([header, *lines]) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def _ingest(
    source: Path, out: Path, schema: DataSchema = SCHEMA, block_size: int = 1 << 20, how=None, **data
) -> dict:
    """Runs `ingest`, with the options `how` for the way it is done."""
    for name in ("examples", "statistics"):
        (out / name).mkdir(parents=True)
    config = DataConfig.model_validate({"dataset": "table", **data})
    how = how or {}
    return ingest(source, out / "examples", out / "statistics", config, schema, block_size=block_size, **how)


def _examples(out: Path, split: str, features: dict[str, str] = FEATURES) -> list[dict]:
    directory = out / "examples" / f"Split-{split}"
    return [row for batch in read_record_batches(directory, features) for row in batch.to_pylist()]  # type: ignore[arg-type]


def _quarantine(out: Path) -> list[dict[str, str]]:
    with (out / "statistics" / "quarantine.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> tuple[Path, dict]:
    """The output of a run on good logs, and its report."""
    root = tmp_path_factory.mktemp("good")
    _write(root / "logs" / "events.csv", _lines())
    return root / "out", _ingest(root / "logs", root / "out")


def test_sessions_are_divided_by_the_time_they_start_and_none_stands_twice(good):
    out, _ = good
    sessions = {
        split: [row["session_id"][0] for row in _examples(out, split)]
        for split in ("train", "validation", "test")
    }
    assert sorted(sessions["train"]) == sorted(f"s{n}".encode() for n in range(24))
    assert sorted(sessions["validation"]) == sorted(f"s{n}".encode() for n in range(24, 32))
    assert sorted(sessions["test"]) == sorted(f"s{n}".encode() for n in range(32, 40))


def test_an_example_holds_its_session_in_order(good):
    out, _ = good
    (row,) = [row for row in _examples(out, "train") if row["session_id"] == [b"s3"]]
    assert (row["user"], row["item"], row["time"]) == (
        [b"u3"],
        [b"i9", b"i10", b"i0"],
        [1_003_000, 1_003_001, 1_003_002],
    )
    assert (row["click"], row["past_click_positive"], row["lookahead"]) == ([1, 0, 1], [0, 1, 1], [0])
    assert row["price"][:2] == [0.5, 1.5]
    assert row["price"][2] != row["price"][2]


def test_every_split_has_a_file_for_every_shard_sorted_by_start(good):
    out, _ = good
    for split in ("train", "validation", "test"):
        names = sorted(path.name for path in (out / "examples" / f"Split-{split}").iterdir())
        assert names == [f"data-{shard:05d}-of-00004.tfrecord" for shard in range(4)]
    starts = [row["time"][0] for row in _examples(out, "train")]
    assert sum(later < earlier for earlier, later in itertools.pairwise(starts)) <= 3


def test_the_statistics_say_what_was_read(good, tmp_path):
    out, report = good
    assert json.loads((out / "statistics" / "statistics.json").read_text()) == report
    expected = {
        "rows_read": 120,
        "bad_rows": 0,
        "excluded_rows": 0,
        "reasons": {},
        "records": 120,
        "sessions": 40,
    }
    assert {key: report[key] for key in expected} == expected
    assert report["files"] == {
        "events.csv": {"rows": 120, "bad": 0, "sha256": digest_file(out.parent / "logs" / "events.csv")}
    }
    assert report["split_times"] == [1_024_000, 1_032_000]
    assert report["splits"]["validation"] == {
        "records": 24, "sessions": 8, "windows": 8,
        "start": 1_024_000, "end": 1_031_002, "rates": {"click": 0.5},
    }  # fmt: skip
    assert report["session_length"] == {"edges": [1, 2, 3, 4], "counts": [0, 0, 40]}
    assert set(report["features"]) == {
        "user", "item", "price", "past_records", "past_click_known", "past_click_positive",
    }  # fmt: skip
    for split in ("train", "validation", "test"):
        assert (out / "statistics" / f"Split-{split}" / "FeatureStats.pb").stat().st_size > 0
    assert not list((out / "statistics").glob(".work*"))


def test_block_size_does_not_change_a_byte(good, tmp_path):
    out, _ = good
    _ingest(out.parent / "logs", tmp_path / "out", block_size=100)
    assert digest_tree(tmp_path / "out") == digest_tree(out)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_neither_workers_nor_parts_of_files_change_a_byte(good, tmp_path, workers):
    out, _ = good
    options = [f"direct_num_workers={workers}"]
    _ingest(out.parent / "logs", tmp_path / "out", how={"span_size": 900, "options": options})
    assert digest_tree(tmp_path / "out") == digest_tree(out)


def test_parquet_gives_the_examples_that_csv_gives(good, tmp_path):
    """Typed columns; an id that is a number in one file is the same text in the other."""
    out, _ = good
    frame = pl.read_csv(out.parent / "logs" / "events.csv")
    (tmp_path / "logs").mkdir()
    frame[:70].write_parquet(tmp_path / "logs" / "a.parquet", row_group_size=25)
    times = pl.from_epoch(pl.col("time"), time_unit="s")
    frame[70:].with_columns(times, pl.col("click") == 1).write_parquet(tmp_path / "logs" / "b.parquet")
    report = _ingest(tmp_path / "logs", tmp_path / "out")
    assert digest_tree(tmp_path / "out" / "examples") == digest_tree(out / "examples")
    assert [file["rows"] for file in report["files"].values()] == [70, 50]


def test_a_bad_row_of_parquet_is_quarantined_with_its_number(good, tmp_path):
    out, _ = good
    frame = pl.read_csv(out.parent / "logs" / "events.csv")
    price = pl.when(pl.int_range(pl.len()) == 40).then(-2.5).otherwise("price")
    (tmp_path / "logs").mkdir()
    frame.with_columns(price.alias("price")).write_parquet(tmp_path / "logs" / "a.parquet", row_group_size=25)
    _ingest(tmp_path / "logs", tmp_path / "out")
    assert _quarantine(tmp_path / "out") == [
        {
            "file": "a.parquet",
            "line": "41",
            "reason": "number out of range",
            "column": "price",
            "value": "-2.5",
        }
    ]


def test_where_rows_stand_does_not_change_the_examples(good, tmp_path):
    """The same rows over three files, one of them compressed, not in the order of time."""
    out, _ = good
    lines = _lines()
    _write(tmp_path / "logs" / "b.csv", lines[70:])
    _write(tmp_path / "logs" / "a.csv.gz", lines[30:70])
    _write(tmp_path / "logs" / "c.csv", lines[:30])
    report = _ingest(tmp_path / "logs", tmp_path / "out", block_size=500)
    assert digest_tree(tmp_path / "out" / "examples") == digest_tree(out / "examples")
    assert {name: file["rows"] for name, file in report["files"].items()} == {
        "a.csv.gz": 40,
        "b.csv": 50,
        "c.csv": 30,
    }


def test_columns_are_found_by_name_in_every_file(good, tmp_path):
    out, _ = good
    lines = _lines()
    _write(tmp_path / "logs" / "a.csv", lines[:60])
    turned = [",".join(["note", *reversed(line.split(","))]) for line in lines[60:]]
    _write(tmp_path / "logs" / "b.csv", turned, "remark,click,price,time,item,user,session_id")
    _ingest(tmp_path / "logs", tmp_path / "out")
    assert digest_tree(tmp_path / "out" / "examples") == digest_tree(out / "examples")


BAD = {
    5: ("s1,u1,i1", "wrong number of fields", "", "s1,u1,i1"),
    9: ('s1,u1,"i1,5,1,0', "unclosed quote", "", 's1,u1,"i1,5,1,0'),
    12: ("s1,,i1,1001005,1,0", "missing value", "user", ""),
    15: (",u1,i1,1001005,1,0", "missing value", "session_id", ""),
    20: ("s1,u1,i1,1001006,1,2", "unknown label value", "click", "2"),
    25: ("s1,u1,i1,1001007,nan,1", "number not finite", "price", "nan"),
    30: ("s1,u1,i1,1001008,-1,1", "number out of range", "price", "-1"),
    35: ("s1,u1,i1,1001009,dear,1", "not a number", "price", "dear"),
    40: ("s1,u1,i1,noon,1,1", "not a timestamp", "time", "noon"),
    45: ("s1,u1,i1,1001009000000,1,1", "timestamp looks like milliseconds", "time", "1001009000000"),
    50: ("s0,u0,i0,1000000,,0", "duplicate row", "", ""),
    55: ("s1,u6,i1,1001009,1,1", "second user in a session", "user", "u6"),
}


def _bad_lines() -> list[str]:
    """Good rows with each row of `BAD` put in so that it stands on its line (the header is line 1)."""
    lines = _lines()
    for line, (text, *_) in BAD.items():
        lines.insert(line - 2, text)
    return lines


@pytest.mark.parametrize("block_size", [64, 1 << 20])
def test_every_kind_of_bad_row_is_quarantined_with_its_line(good, tmp_path, caplog, block_size):
    out, _ = good
    _write(tmp_path / "logs" / "events.csv", _bad_lines())
    with caplog.at_level(logging.INFO, logger="rmtl_tf.data.ingest"):
        report = _ingest(tmp_path / "logs", tmp_path / "out", block_size=block_size, max_bad_fraction=0.2)
    assert _quarantine(tmp_path / "out") == [
        {"file": "events.csv", "line": str(line), "reason": reason, "column": column, "value": value}
        for line, (_, reason, column, value) in BAD.items()
    ]
    assert (report["rows_read"], report["bad_rows"], report["records"]) == (132, 12, 120)
    assert report["reasons"]["missing value"] == 2
    assert report["files"]["events.csv"]["bad"] == 12
    assert digest_tree(tmp_path / "out" / "examples") == digest_tree(out / "examples")
    (message,) = [record.getMessage() for record in caplog.records if record.name == "rmtl_tf.data.ingest"]
    assert message.startswith("132 rows: 12 bad, 0 excluded (missing value 2, duplicate row 1, ")
    assert message.endswith("40 sessions; records: train 72, validation 24, test 24")


def test_too_many_bad_rows_stop_the_run_and_the_quarantine_is_kept(tmp_path):
    _write(tmp_path / "logs" / "events.csv", _bad_lines())
    with pytest.raises(UserError) as caught:
        _ingest(tmp_path / "logs", tmp_path / "out")
    text = str(caught.value)
    assert "12 of 132 rows are bad (9.09%), more than data.max_bad_fraction allows (1.00%)" in text
    assert "events.csv, line 5: wrong number of fields, value 's1,u1,i1'" in text
    (kept,) = caught.value.keep
    assert len(kept.read_text().splitlines()) == 13


def test_a_missing_column_is_named_with_file_and_the_nearest(tmp_path):
    _write(tmp_path / "logs" / "events.csv", _lines(), "session_id,user,item,time,prise,click")
    with pytest.raises(
        UserError, match=r'events\.csv: column "price" is missing; did you mean "prise"\? The file has:'
    ):
        _ingest(tmp_path / "logs", tmp_path / "out")


def test_a_column_that_stands_twice_is_named(tmp_path):
    _write(tmp_path / "logs" / "events.csv", [f"{line},x" for line in _lines()], HEADER + ",user")
    with pytest.raises(UserError, match=r'events\.csv: column "user" stands twice in the header'):
        _ingest(tmp_path / "logs", tmp_path / "out")


def test_a_task_with_one_class_names_task_split_and_counts(tmp_path):
    lines = [line if "s3" in line[:2] or n < 72 else line[:-1] + "0" for n, line in enumerate(_lines())]
    lines = [line[:-1] + "0" if n >= 96 else line for n, line in enumerate(lines)]
    _write(tmp_path / "logs" / "events.csv", lines)
    with pytest.raises(
        UserError, match=r"task click: every label in split (validation|test) is 0 \(0 of 24 records are 1\)"
    ):
        _ingest(tmp_path / "logs", tmp_path / "out")


def test_an_empty_split_is_an_error_that_names_it(tmp_path):
    _write(tmp_path / "logs" / "events.csv", _lines(sessions=2))
    with pytest.raises(UserError, match="split validation has no sessions"):
        _ingest(tmp_path / "logs", tmp_path / "out")


def test_files_without_rows_are_an_error(tmp_path):
    _write(tmp_path / "logs" / "events.csv", [])
    with pytest.raises(UserError, match=r"no rows after the header in events\.csv"):
        _ingest(tmp_path / "logs", tmp_path / "out")


def test_logs_of_bad_rows_alone_are_an_error_even_where_all_may_be_bad(tmp_path):
    _write(tmp_path / "logs" / "events.csv", ["s,u,i,noon,1,1"] * 3)
    with pytest.raises(UserError, match="none of 3 rows is part of a record: not a timestamp 3"):
        _ingest(tmp_path / "logs", tmp_path / "out", max_bad_fraction=1.0)


def test_a_torn_compressed_file_is_named(tmp_path):
    path = tmp_path / "logs" / "events.csv.gz"
    _write(path, _lines())
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(
        UserError, match=r"events\.csv\.gz: cannot be read to its end .* Is the file complete\?$"
    ):
        _ingest(tmp_path / "logs", tmp_path / "out")


def test_sessions_by_gap_and_windows(tmp_path):
    """Users return after an hour; a session of 3 records is cut after 2."""
    lines = [
        f"x,u{u},i{t},{1_000_000 + 5000 * v + 60 * t + u},1,{(u + t + v) % 2}"
        for v in range(8)
        for u in range(5)
        for t in range(3)
    ]
    _write(tmp_path / "logs" / "events.csv", lines)
    report = _ingest(
        tmp_path / "logs", tmp_path / "out", session={"by": "gap", "gap_minutes": 30, "max_steps": 2}
    )
    assert (report["sessions"], report["records"]) == (40, 120)
    assert sum(split["windows"] for split in report["splits"].values()) == 80
    rows = [row for row in _examples(tmp_path / "out", "train") if row["session_id"] == [b"u1-1000001"]]
    assert [(row["time"], row["lookahead"]) for row in rows] == [
        ([1_000_001, 1_000_061, 1_000_121], [1]),
        ([1_000_121], [0]),
    ]


@pytest.fixture(scope="module")
def deskdrop(tmp_path_factory) -> tuple[Path, dict]:
    if not DESKDROP.is_dir():
        pytest.fail(f"the real Deskdrop logs are missing: expected users_interactions.csv in {DESKDROP}")
    out = tmp_path_factory.mktemp("deskdrop") / "out"
    schema = read_schema(CHECKOUT / "data_schemas" / "deskdrop.pbtxt")
    return out, _ingest(DESKDROP, out, schema, dataset="deskdrop")


def test_real_logs_give_the_counts_that_are_published(deskdrop):
    _, report = deskdrop
    assert report["rows_read"] == 72_312
    assert report["reasons"] == {"action without a view": 1014, "duplicate row": 11}
    assert (report["bad_rows"], report["excluded_rows"]) == (11, 1014)
    assert (report["records"], report["sessions"]) == (45_510, 28_516)
    assert report["features"]["person_id"]["unique"] <= 1895
    assert report["features"]["content_id"]["unique"] <= 2987


def test_real_logs_are_divided_six_two_two_with_believable_rates(deskdrop):
    _, report = deskdrop
    shares = [
        report["splits"][split]["sessions"] / report["sessions"] for split in ("train", "validation", "test")
    ]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=1e-3)
    for split in report["splits"].values():
        assert 0.1 < split["rates"]["save"] < split["rates"]["engage"] < 0.2


def test_real_labels_equal_a_plain_count_over_the_raw_file(deskdrop):
    """An independent count in Python: (session, article) pairs that were viewed, and acted on."""
    out, report = deskdrop
    events: dict[tuple[str, str], set[str]] = {}
    with (DESKDROP / "users_interactions.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            events.setdefault((row["sessionId"], row["contentId"]), set()).add(row["eventType"])
    viewed = {pair: kinds - {"VIEW"} for pair, kinds in events.items() if "VIEW" in kinds}
    engaged = {pair for pair, kinds in viewed.items() if kinds}
    features = {"session_id": "bytes", "content_id": "bytes", "engage": "int"}
    found = {
        (row["session_id"][0].decode(), item.decode()): label
        for split in report["splits"]
        for row in _examples(out, split, features)
        for item, label in zip(row["content_id"], row["engage"], strict=True)
    }
    assert set(found) == set(viewed)
    assert {pair for pair, label in found.items() if label} == engaged


@pytest.mark.parametrize("step", ["gather", "read_frame"])
def test_rows_that_a_runner_loses_do_not_go_unnoticed(tmp_path, monkeypatch, step):
    """The first partition comes without its last row, on the way in or on the way out."""
    from rmtl_tf.data import shuffle

    whole, lost = getattr(shuffle, step), []

    def lossy(source, *arguments):
        frame = whole(source, *arguments)
        if not lost and ("#start" in frame.columns) == (step == "read_frame") and frame.width > 2:
            lost.append(frame.height)
            return frame[:-1]
        return frame

    monkeypatch.setattr(shuffle, step, lossy)
    _write(tmp_path / "logs" / "events.csv", _lines())
    with pytest.raises(RuntimeError, match="the Beam runner lost rows: 120 valid events"):
        _ingest(tmp_path / "logs", tmp_path / "out")
    assert lost
