"""What a data set's reader is: which files, which columns of them, and how events become records."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from rmtl_tf.errors import UserError, nearest
from rmtl_tf.schema import DataSchema, Feature

if TYPE_CHECKING:
    import polars as pl

# Columns of events and records beside the data's own: where a row stands, and the session it belongs to.
FILE = "#file"
LINE = "#line"
SESSION = "session_id"

ColumnType = Literal["string", "float", "label", "timestamp"]


@dataclass(frozen=True)
class Column:
    """One column of a raw file.

    Attributes:
        name: its name among the events; a column that carries a feature has the feature's name.
        dtype: `string`, `float`, `label` (0 or 1) or `timestamp` (whole ticks since 1970, UTC).
        header: its name in the file; the same as `name` where empty.
        required: a row without it goes to quarantine.
        low, high: bounds of a number, inclusive; None where open.
        values: the only allowed values of a string; empty for any.
        per_second: ticks a second of a timestamp: 1000 for milliseconds. Events hold whole seconds.
        separator: divides the values in a string of several, each of which `values` bounds. Events hold the
            string.
    """

    name: str
    dtype: ColumnType
    header: str = ""
    required: bool = False
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] = ()
    per_second: int = 1
    separator: str = ""

    @property
    def source(self) -> str:
        return self.header or self.name


class Reader(ABC):
    """A data set's raw form. A new one is a schema, a reader, a configuration and a line in `READERS`.

    Attributes:
        header: the names of the columns of files that have no header line; empty: the first line has them.
        drop_repeated: whether a row equal to another one is that row once more, and goes to quarantine.
    """

    header: ClassVar[tuple[str, ...]] = ()
    drop_repeated: ClassVar[bool] = True

    @abstractmethod
    def files(self, path: Path) -> list[Path]:
        """The raw files with the events below `path`, in the order their rows count.

        Raises:
            UserError: there are none.
        """

    def side_files(self, path: Path, schema: DataSchema) -> list[Path]:
        """The files beside them that say more of users or items, as far as the schema needs them.

        Raises:
            UserError: the schema needs one that is not there.
        """
        return []

    def prepare(self, path: Path, side: Path, schema: DataSchema) -> None:  # noqa: B027 (not every one has any)
        """Writes tables from `side_files` into the folder `side`, once before the events are read.

        Workers read there what they need (`side_tables`); memory must not grow with the files.
        """

    @abstractmethod
    def columns(self, schema: DataSchema) -> tuple[Column, ...]:
        """The columns of the events to read.

        The session column is among them where the schema has one; else the user and the timestamp are.

        Raises:
            UserError: the schema asks for something this data set does not have.
        """

    @abstractmethod
    def to_records(
        self, events: pl.DataFrame, schema: DataSchema, side: Path
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Valid events of whole sessions -> one row per record.

        Args:
            events: a column for each of `columns`, and `FILE`, `LINE`, `SESSION`; sorted by file and line.
            side: what `prepare` filled.

        Returns:
            The records, with the schema's features, `FILE`, `LINE` and `SESSION`, and where a label can
            turn 1 after the record's timestamp also `label_time(label)`; and the events that are no part
            of a record though nothing is wrong with them: `FILE`, `LINE`, `reason`, `column`, `value`.
        """


def label_time(label: str) -> str:
    """The record column that says when (unix seconds) a label of 1 came to be; null: with the record."""
    return f"#time:{label}"


def column_of(feature: Feature, header: str = "") -> Column:
    """The column that carries a feature as it stands."""
    dtypes: dict[str, ColumnType] = {
        "categorical": "string",
        "key": "string",
        "numeric": "float",
        "label": "label",
        "timestamp": "timestamp",
    }
    return Column(
        name=feature.name,
        dtype=dtypes[feature.kind],
        header=header,
        required=feature.required,
        low=feature.low,
        high=feature.high,
        values=feature.values,
        separator=feature.separator,
        per_second=feature.per_second,
    )


def feature_in(dataset: str, feature: Feature, names: Sequence[str]) -> str:
    """The name of a feature or label that a data set has.

    Raises:
        UserError: it has none of this name.
    """
    if feature.name in names:
        return feature.name
    kind = "label" if feature.kind == "label" else "feature"
    raise UserError(
        f'data set {dataset}: the schema asks for {kind} "{feature.name}", which it does not have; '
        f"{nearest(feature.name, names)}"
    )


def role(schema: DataSchema, name: Literal["user", "item"]) -> str:
    """The feature with a role that a data set cannot do without.

    Raises:
        UserError: the schema has none.
    """
    feature = schema.user if name == "user" else schema.item
    if feature is None:
        raise UserError(f"schema: no feature has the tag {name!r}, which this data set needs. Tag one.")
    return feature


def find_files(path: Path, patterns: Sequence[str]) -> list[Path]:
    """The files of folder `path` that fit a pattern, sorted by name; `path` itself where it is a file.

    Raises:
        UserError: `path` does not exist, holds no such file, or something with such a name is no file.
    """
    wanted = " or ".join(patterns)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(
            f"raw logs: {path} does not exist. Give the folder that holds {wanted}: --set data.path=FOLDER."
        )
    if not os.access(path, os.R_OK | os.X_OK):
        raise UserError(
            f"raw logs: permission to read the folder {path} is denied. Change its permissions, or give "
            "another: --set data.path=FOLDER."
        )
    found = {file for pattern in patterns for file in path.glob(pattern)}
    for file in sorted(found):
        if not file.is_file():
            raise UserError(f"raw logs: expected a file {file}, but it is {_what(file)}")
    if not found:
        there = ", ".join(sorted(file.name for file in path.iterdir())[:5]) or "nothing"
        raise UserError(
            f"raw logs: {path} holds no {wanted}; found {there}. Give its folder: --set data.path=FOLDER."
        )
    return sorted(found, key=lambda file: file.name)


def _what(path: Path) -> str:
    """What stands at a path where a file was expected, and what to do."""
    if path.is_dir():
        return "a folder. If its files are the logs, give it: --set data.path=FOLDER; else rename it."
    if path.is_symlink():
        return f"a link to {os.readlink(path)}, which is not there. Mend or remove the link."
    return "no regular file. Give a copy of its content."


def no_exclusions(events: pl.DataFrame) -> pl.DataFrame:
    """The second result of `to_records` where every event is part of a record."""
    import polars as pl

    empty = pl.lit("", dtype=pl.String)
    return events.clear().select(FILE, LINE, reason=empty, column=empty, value=empty)
