from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from rmtl_tf.config import DataConfig
from rmtl_tf.data.datasets.base import FILE, LINE, SESSION
from rmtl_tf.data.datasets.kuairand import KUAIRAND
from rmtl_tf.data.ingest import ingest
from rmtl_tf.data.records import read_record_batches
from rmtl_tf.errors import UserError
from rmtl_tf.schema import Feature, read_schema

CHECKOUT = Path(__file__).resolve().parents[4]
SHARED = CHECKOUT.parent / "shared" / "data" / "kuairand"
FULL = read_schema(CHECKOUT / "data_schemas" / "kuairand.pbtxt")
LOG = read_schema(CHECKOUT / "data_schemas" / "kuairand_log.pbtxt")


def _events(*rows: tuple[str, str, int, int]) -> pl.DataFrame:
    """Events (user, video, click, long_view), on lines from 2."""
    columns = {
        FILE: [0] * len(rows),
        LINE: list(range(2, len(rows) + 2)),
        SESSION: [row[0] for row in rows],
        "time": list(range(100, 100 + len(rows))),
        "user_id": [row[0] for row in rows],
        "video_id": [row[1] for row in rows],
        "is_click": [row[2] for row in rows],
        "long_view": [row[3] for row in rows],
    }
    return pl.DataFrame(columns)


def _folder(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("version", "logs", "tables"),
    [
        (
            "1k",
            [
                "log_random_4_22_to_5_08_1k.csv",
                "log_standard_4_08_to_4_21_1k.csv",
                "log_standard_4_22_to_5_08_1k.csv",
            ],
            ["user_features_1k.csv", "video_features_basic_1k.csv"],
        ),
        (
            "27k",
            [
                "log_random_4_22_to_5_08_27k.csv",
                "log_standard_4_08_to_4_21_27k_part1.csv",
                "log_standard_4_08_to_4_21_27k_part2.csv",
            ],
            ["user_features_27k.csv", "video_features_basic_27k.csv"],
        ),
        (
            "pure",
            ["log_standard_4_08_to_4_21_pure.csv"],
            ["user_features_pure.csv", "video_features_basic_pure.csv"],
        ),
    ],
)
def test_the_published_files_of_every_version_are_found(tmp_path, version, logs, tables):
    folder = _folder(tmp_path, *logs, *tables, f"video_features_statistic_{version}.csv", "load_data.py")
    assert [file.name for file in KUAIRAND.files(folder)] == logs
    assert [file.name for file in KUAIRAND.side_files(folder, FULL)] == tables
    assert KUAIRAND.side_files(folder, LOG) == []


def test_a_statistic_has_a_prefix_of_its_own_and_may_come_in_parts(tmp_path):
    names = ["video_features_statistic_27k_part1.csv", "video_features_statistic_27k_part2.csv"]
    folder = _folder(tmp_path, "log_standard_4_08_to_4_21_27k_part1.csv", *names)
    for part, name in enumerate(names):
        (folder / name).write_text(f"video_id,follow_user_num,play_cnt\nv{part},{part}.5,{part}\n")
    extra = (Feature("statistic_follow_user_num", "numeric"), Feature("statistic_play_cnt", "categorical"))
    schema = replace(LOG, features=(*LOG.features, *extra))
    assert [file.name for file in KUAIRAND.side_files(folder, schema)] == names
    side = tmp_path / "side"
    KUAIRAND.prepare(folder, side, schema)
    records, _ = KUAIRAND.to_records(
        _events(("u", "v1", 1, 1), ("u", "v0", 1, 1), ("u", "v9", 1, 1)), schema, side
    )
    assert records["statistic_follow_user_num"].to_list() == [1.5, 0.5, None]
    assert records["statistic_play_cnt"].to_list() == ["1", "0", None]


def test_tables_of_another_version_are_refused_because_their_ids_do_not_fit(tmp_path):
    folder = _folder(tmp_path, "log_standard_sample_27k.csv", "user_features_pure.csv")
    with pytest.raises(
        UserError, match=r"holds no user_features_27k\.csv \(user_features_pure\.csv is of another"
    ):
        KUAIRAND.side_files(folder, FULL)


def test_logs_of_two_versions_in_one_folder_are_refused(tmp_path):
    folder = _folder(tmp_path, "log_standard_4_08_to_4_21_1k.csv", "log_standard_4_08_to_4_21_pure.csv")
    with pytest.raises(UserError, match="holds logs of KuaiRand 1k and pure"):
        KUAIRAND.files(folder)


def test_a_file_that_does_not_say_its_version_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"log_standard_mine\.csv should say its version"):
        KUAIRAND.files(_folder(tmp_path, "log_standard_mine.csv"))


@pytest.mark.parametrize("name", ["play_time_ms", "profile_stay_time", "hour"])
def test_what_is_known_only_after_the_record_is_no_feature(name):
    schema = replace(LOG, features=(*LOG.features, Feature(name, "categorical")))
    with pytest.raises(UserError, match=f'asks for feature "{name}", which it does not have'):
        KUAIRAND.columns(schema)


def test_the_second_task_is_any_label_and_counts_only_with_its_parent(tmp_path):
    events = _events(("u", "a", 1, 1), ("u", "b", 0, 1), ("u", "c", 1, 0), ("u", "d", 0, 0))
    records, excluded = KUAIRAND.to_records(events, LOG, tmp_path)
    assert records["long_view"].to_list() == [1, 0, 0, 0]
    assert records["is_click"].to_list() == [1, 0, 1, 0]
    assert excluded.height == 0
    features = (*LOG.features[:-1], Feature("is_like", "label", required=True))
    like = replace(LOG, features=features, labels=("is_click", "is_like"))
    assert [column.source for column in KUAIRAND.columns(like)][-2:] == ["is_click", "is_like"]


def test_milliseconds_become_seconds():
    time = next(column for column in KUAIRAND.columns(LOG) if column.name == "time")
    assert (time.source, time.per_second) == ("time_ms", 1000)


def test_real_user_features_join_as_in_the_published_joined_rows(tmp_path):
    """200 rows of KuaiRand-Pure that were joined elsewhere; ranges are numbered there and left out here."""
    for name in ("user_features_pure.csv", "video_features_basic_pure.csv"):
        shutil.copy(SHARED / name, tmp_path / name)
    (tmp_path / "log_standard_x_pure.csv").touch()
    with (SHARED / "joined_sample_pure.csv").open() as stream:
        joined = list(csv.DictReader(stream))
    side = tmp_path / "side"
    KUAIRAND.prepare(tmp_path, side, FULL)
    events = _events(*((row["user_id"], row["video_id"], 1, 1) for row in joined))
    records, _ = KUAIRAND.to_records(events, FULL, side)
    compared = 0
    for name in (
        "follow_user_num",
        "register_days",
        "is_live_streamer",
        *(f"onehot_feat{i}" for i in range(18)),
    ):
        for ours, theirs in zip(records[name].to_list(), (row[name] for row in joined), strict=True):
            if ours is not None:  # where it is missing, the other join put a number in
                assert float(ours) == float(theirs), name
                compared += 1
    assert 200 * 20 < compared <= 200 * 21
    for row, ours in zip(joined, records["server_width"].to_list(), strict=True):
        assert ours == float(row["server_width"])


def test_the_real_sample_becomes_sessions_with_several_tags(tmp_path):
    """41,828 real rows and real tables. Those are of another version, renamed here: noise as features."""
    folder = tmp_path / "logs"
    folder.mkdir()
    shutil.copy(SHARED / "log_standard_sample_27k.csv", folder / "log_standard_sample_pure.csv")
    for name in ("user_features_pure.csv", "video_features_basic_pure.csv"):
        shutil.copy(SHARED / name, folder / name)
    for name in ("examples", "statistics"):
        (tmp_path / name).mkdir()
    config = DataConfig.model_validate({"dataset": "kuairand", "session": {"by": "gap"}})
    report = ingest(folder, tmp_path / "examples", tmp_path / "statistics", config, FULL)
    assert report["rows_read"] == 41_828
    # 124 are repeated to the millisecond, 4 within a second.
    assert report["reasons"] == {"duplicate row": 128}
    assert report["features"]["user_active_degree"]["missing"] == 0
    tags = report["features"]["tag"]
    assert 0 < tags["missing"] < report["records"]
    kinds = {"time": "int", "tag": "bytes", "tag#lengths": "int"}
    longest = 0
    for batch in read_record_batches(tmp_path / "examples" / "Split-train", kinds):  # type: ignore[arg-type]
        for row in batch.to_pylist():
            assert len(row["tag#lengths"]) == len(row["time"])
            assert sum(row["tag#lengths"]) == len(row["tag"] or [])
            longest = max(longest, *row["tag#lengths"])
    assert 1 < longest <= 4
