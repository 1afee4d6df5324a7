"""KuaiRand-1K, -Pure and -27K: which videos a short video app showed to users, and what they did with them.

`log_standard_*.csv` and `log_random_*.csv` have one shown video a row; a record is such a row. Both kinds are
read where they are there: videos put in at random were shown between the others and belong to the same
sessions. There is no session id: a session is a user's rows without a long gap. A label of a task with a
parent is multiplied by the parent's (METHOD 10: long_view or is_like, times is_click).

`user_features_*.csv`, `video_features_basic_*.csv` and `video_features_statistic_*.csv` are joined as far
as the schema asks for their columns (the statistics' as `statistic_<column>`). They must be of the logs'
version, as their names say it (1k, pure, 27k): the versions number users and videos differently. These
tables have no times; the statistics count what happened over the whole time of the logs, test split
included, so a model with them knows some of the future.

Of the log itself only `tab`, `duration_ms` and `is_rand` may be features: everything else is known after the
record.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rmtl_tf.data.datasets.base import (
    Column,
    Reader,
    column_of,
    feature_in,
    find_files,
    no_exclusions,
    role,
)
from rmtl_tf.errors import UserError
from rmtl_tf.schema import DataSchema

if TYPE_CHECKING:
    import polars as pl

LABELS = (
    "is_click",
    "is_like",
    "is_follow",
    "is_comment",
    "is_forward",
    "is_hate",
    "long_view",
    "is_profile_enter",
)
LOG_FEATURES = ("tab", "duration_ms", "is_rand")
_COUNTS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
USER_FEATURES = (
    "user_active_degree",
    "is_lowactive_period",
    "is_live_streamer",
    "is_video_author",
    *_COUNTS,
    *(f"{name}_range" for name in _COUNTS),
    *(f"onehot_feat{number}" for number in range(18)),
)
VIDEO_FEATURES = (
    "author_id",
    "video_type",
    "upload_dt",
    "upload_type",
    "visible_status",
    "video_duration",
    "server_width",
    "server_height",
    "music_id",
    "music_type",
    "tag",
)
# A column of the statistics by `statistic_<column>`: a video's `follow_user_num` is not the user's.
_STATISTIC = re.compile(r"statistic_(.+)")
_VERSION = re.compile(r"_(1k|pure|27k)(?:_part\d+)?\.csv(?:\.gz)?$")


@dataclass(frozen=True)
class _Table:
    """A side table: how its files' names begin, its key, and the features it has; None: `_STATISTIC`."""

    name: str
    key: str
    features: tuple[str, ...] | None

    def wanted(self, schema: DataSchema) -> dict[str, str]:
        """Feature of the schema -> column of the table."""
        names = [feature.name for feature in schema.inputs]
        if self.features is None:
            return {name: match[1] for name in names if (match := _STATISTIC.fullmatch(name))}
        return {name: name for name in names if name in self.features}


_TABLES = (
    _Table("user_features", "user_id", USER_FEATURES),
    _Table("video_features_basic", "video_id", VIDEO_FEATURES),
    _Table("video_features_statistic", "video_id", None),
)


@dataclass(frozen=True)
class KuaiRand(Reader):
    """Reader of the logs and their tables, whichever version stands in the folder."""

    def files(self, path: Path) -> list[Path]:
        files = find_files(path, ("log_standard_*.csv", "log_random_*.csv"))
        versions = sorted({_version(file) for file in files})
        if len(versions) > 1:
            raise UserError(
                f"raw logs: {path} holds logs of KuaiRand {' and '.join(versions)}, which number users and "
                "videos differently. Give the folder of one of them: --set data.path=FOLDER."
            )
        return files

    def side_files(self, path: Path, schema: DataSchema) -> list[Path]:
        return [file for table in _TABLES for file in self._table_files(path, table, schema)]

    def prepare(self, path: Path, side: Path, schema: DataSchema) -> None:
        from rmtl_tf.data.side_tables import write_side_table

        for table in _TABLES:
            if files := self._table_files(path, table, schema):
                columns = (table.key, *table.wanted(schema).values())
                write_side_table(files, columns, table.key, side / table.name)

    def columns(self, schema: DataSchema) -> tuple[Column, ...]:
        headers = {role(schema, "user"): "user_id", role(schema, "item"): "video_id"}
        joined = {name for table in _TABLES for name in table.wanted(schema)}
        columns = [Column(schema.timestamp, "timestamp", "time_ms", required=True, per_second=1000)]
        for feature in schema.features:
            if feature.name in headers:
                columns.append(column_of(feature, headers[feature.name]))
            elif feature.kind == "label":
                feature_in("kuairand", feature, LABELS)
                columns.append(column_of(feature))
            elif feature in schema.inputs and feature.name not in joined:
                feature_in("kuairand", feature, (*LOG_FEATURES, *USER_FEATURES, *VIDEO_FEATURES))
                columns.append(column_of(feature))
        return tuple(columns)

    def to_records(
        self, events: pl.DataFrame, schema: DataSchema, side: Path
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        import polars as pl

        from rmtl_tf.data.side_tables import left_join

        labels = dict(zip(schema.task_names, schema.labels, strict=True))
        records = events
        for task in schema.tasks:
            if task.parent is not None:
                both = pl.col(labels[task.name]) * pl.col(labels[task.parent])
                records = records.with_columns(both.alias(labels[task.name]))
        keys = {"user_id": role(schema, "user"), "video_id": role(schema, "item")}
        numeric = [feature.name for feature in schema.inputs if feature.kind == "numeric"]
        for table in _TABLES:
            if wanted := table.wanted(schema):
                records = left_join(records, keys[table.key], side / table.name, table.key, wanted)
                numbers = [name for name in wanted if name in numeric]
                records = records.with_columns(pl.col(numbers).cast(pl.Float64, strict=False))
        return records, no_exclusions(events)

    def _table_files(self, path: Path, table: _Table, schema: DataSchema) -> list[Path]:
        """The files of a table, none where the schema does not need it."""
        if not table.wanted(schema):
            return []
        logs = self.files(path)
        version, folder = _version(logs[0]), logs[0].parent
        found = sorted(folder.glob(f"{table.name}_*.csv"))
        files = [file for file in found if _version(file) == version]
        if not files:
            others = ", ".join(file.name for file in found)
            raise UserError(
                f"data set kuairand: the schema asks for {', '.join(table.wanted(schema))}, but {folder} "
                f"holds no {table.name}_{version}.csv"
                + (f" ({others} is of another version: its ids do not fit these logs)" if others else "")
                + ". Put it beside the logs, or take a schema without them: "
                "--set data.schema=data_schemas/kuairand_log.pbtxt."
            )
        return files


KUAIRAND = KuaiRand()


def _version(file: Path) -> str:
    found = _VERSION.search(file.name)
    if found is None:
        raise UserError(
            f"raw logs: {file} should say its version at the end of its name, as published: "
            "..._1k.csv, ..._pure.csv, ..._27k.csv or ..._27k_part1.csv. Rename it."
        )
    return found[1]
