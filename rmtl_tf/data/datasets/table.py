"""Any CSV or Parquet that already holds one record a row: its columns are the schema's features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rmtl_tf.data.datasets.base import Column, Reader, column_of, find_files, no_exclusions
from rmtl_tf.schema import DataSchema

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Table(Reader):
    """Rows as records.

    Args:
        patterns: the names of the files in the folder.
    """

    patterns: tuple[str, ...]

    def files(self, path: Path) -> list[Path]:
        return find_files(path, self.patterns)

    def columns(self, schema: DataSchema) -> tuple[Column, ...]:
        return tuple(column_of(feature) for feature in schema.features)

    def to_records(
        self, events: pl.DataFrame, schema: DataSchema, side: Path
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        return events, no_exclusions(events)


ANY_TABLE = Table(("*.csv", "*.csv.gz", "*.parquet"))
SIMULATED = Table(("events.csv",))
