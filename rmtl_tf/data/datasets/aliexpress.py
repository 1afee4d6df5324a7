"""AliExpress search logs of one country (NL, ES, FR or US), as multi-task recommendation uses them.

`train.csv` and `test.csv` in a folder AliExpress_<country>: `search_id`, `categorical_1` to `_16`,
`numerical_1` to `_63`, `click`, `conversion`; an item on a page of results a row. This is not the form of
the owner (user and item files without a header, Tianchi data set 74690) but the one that MTReclib
(github.com/easezyc/Multitask-Recommendation-Library) distributes; its columns are explained by the script
that makes them (NoahRSChallenge/Multi-Task-Multi-Expert, process_aliexpress.py): `categorical_1` to `_9`
and `numerical_1` to `_23` describe user and query, the others the item.

A session is a page of results. Neither user nor item has an identity. There are no times: training rows are
earlier than test rows, the order inside a file is that of the owner's files and not documented further
(`untimed`). Rows may be equal without being the same item, so none is taken for a repetition.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rmtl_tf.data.datasets.base import Column, Reader, column_of, feature_in, find_files, no_exclusions
from rmtl_tf.data.datasets.untimed import give_places
from rmtl_tf.schema import DataSchema

if TYPE_CHECKING:
    import polars as pl

FILES = ("train.csv", "test.csv")
LABELS = ("click", "conversion")
FEATURES = (*(f"categorical_{i}" for i in range(1, 17)), *(f"numerical_{i}" for i in range(1, 64)))

_SESSION = "search_id"


@dataclass(frozen=True)
class AliExpress(Reader):
    """Reader of `train.csv` and `test.csv`, in this order."""

    drop_repeated: ClassVar[bool] = False

    def files(self, path: Path) -> list[Path]:
        return sorted(find_files(path, FILES), key=lambda file: file.name != FILES[0])

    def columns(self, schema: DataSchema) -> tuple[Column, ...]:
        columns = []
        for feature in schema.features:
            if feature.name == schema.session:
                columns.append(column_of(feature, _SESSION))
            elif feature.name != schema.timestamp:
                feature_in("aliexpress", feature, LABELS if feature.kind == "label" else FEATURES)
                columns.append(column_of(feature))
        return tuple(columns)

    def to_records(
        self, events: pl.DataFrame, schema: DataSchema, side: Path
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        return give_places(events, schema), no_exclusions(events)


ALIEXPRESS = AliExpress()
