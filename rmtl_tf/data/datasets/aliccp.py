r"""Ali-CCP, Alibaba Click and Conversion Prediction: recommendations of Taobao (Ma et al., SIGIR 2018).

Tianchi data set 408: `sample_skeleton_{train,test}.csv` without a header: sample id, click, conversion,
common feature index, number of features, features; and `common_features_{train,test}.csv`: index, number of
features, features, which all samples with the index share. Features stand between \x01, each as field \x02
feature \x03 value. So they are read in published code (xidongbo/AITM, process_public_dataset.py), as is
what is left out here too: a conversion without a click (counted as such).

A session is what shares a common feature index: one user in one state. There are no times; training rows come
before test rows (`untimed`). Features a schema may have: `field_<id>` for every field (101 the user, 205 the
item, ...): a categorical one is the feature, of several the first, or all where the schema gives several
values; a numeric one is the value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rmtl_tf.data.datasets.base import FILE, LINE, Column, Reader, column_of, feature_in
from rmtl_tf.data.datasets.untimed import give_places
from rmtl_tf.errors import UserError
from rmtl_tf.schema import DataSchema, Feature

if TYPE_CHECKING:
    import polars as pl

SPLITS = ("train", "test")
COMMON = (
    "101",
    "121",
    "122",
    "124",
    "125",
    "126",
    "127",
    "128",
    "129",
    "109_14",
    "110_14",
    "127_14",
    "150_14",
)
SKELETON = ("205", "206", "207", "210", "216", "301", "508", "509", "702", "853")
LABELS = ("click", "conversion")
WITHOUT_CLICK = "conversion without a click"

_INDEX = "common_feature_index"
_FEATURES = "features"
_COMMON_HEADER = (_INDEX, "feature_num", _FEATURES)
_FIELD = re.compile(r"field_(.+)")


@dataclass(frozen=True)
class AliCCP(Reader):
    """Reader of the skeletons, in a folder or as unpacked in `sample_train` and `sample_test` below it."""

    header: ClassVar[tuple[str, ...]] = ("sample_id", *LABELS, _INDEX, "feature_num", _FEATURES)

    def files(self, path: Path) -> list[Path]:
        if path.is_file():
            return [path]
        found = [file for split in SPLITS if (file := _find(path, split, "sample_skeleton")) is not None]
        if not found:
            raise UserError(
                f"raw logs: {path} holds no sample_skeleton_train.csv or sample_skeleton_test.csv, nor do "
                "sample_train and sample_test in it. Give their folder: --set data.path=FOLDER."
            )
        return found

    def side_files(self, path: Path, schema: DataSchema) -> list[Path]:
        if not _fields(schema, COMMON):
            return []
        files = []
        for skeleton in self.files(path):
            file = skeleton.with_name(skeleton.name.replace("sample_skeleton", "common_features"))
            if not file.is_file() or file == skeleton:
                raise UserError(
                    f"data set aliccp: {skeleton.parent} holds no {file.name}, where some features are. "
                    f"Put it beside {skeleton.name}."
                )
            files.append(file)
        return files

    def prepare(self, path: Path, side: Path, schema: DataSchema) -> None:
        from rmtl_tf.data.side_tables import write_side_table

        keep = partial(_keep_fields, _fields(schema, COMMON))
        for number, file in enumerate(self.side_files(path, schema)):
            columns = (_INDEX, _FEATURES)
            write_side_table([file], columns, _INDEX, side / str(number), keep, header=_COMMON_HEADER)

    def columns(self, schema: DataSchema) -> tuple[Column, ...]:
        columns = [Column("#sample", "string", "sample_id", required=True)]
        for feature in schema.features:
            if feature.name == schema.session:
                columns.append(column_of(feature, _INDEX))
            elif feature.kind == "label":
                feature_in("aliccp", feature, LABELS)
                columns.append(column_of(feature))
            elif feature.name != schema.timestamp:
                feature_in("aliccp", feature, [f"field_{field}" for field in (*COMMON, *SKELETON)])
        return (*columns, Column(f"#{_FEATURES}", "string", _FEATURES))

    def to_records(
        self, events: pl.DataFrame, schema: DataSchema, side: Path
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        import polars as pl

        from rmtl_tf.data.side_tables import left_join

        records = events
        alone = pl.lit(False)
        if set(LABELS) <= set(schema.labels):
            alone = (pl.col("conversion") == 1) & (pl.col("click") == 0)
        excluded = records.filter(alone).select(
            FILE, LINE, reason=pl.lit(WITHOUT_CLICK), column=pl.lit("conversion"), value=pl.lit("1")
        )
        records = records.filter(~alone)
        text = pl.col(f"#{_FEATURES}").fill_null("")
        records = records.with_columns(_extract(text, feature) for feature in _fields(schema, SKELETON))
        if common := _fields(schema, COMMON):
            assert schema.session is not None  # Plan.check
            columns = {feature.name: feature.name for feature in common}
            parts = [
                left_join(part, schema.session, side / str(number), _INDEX, columns)
                for (number,), part in records.partition_by(FILE, as_dict=True, maintain_order=True).items()
            ]
            records = pl.concat(parts, how="vertical_relaxed") if parts else records
        return give_places(records.drop("#sample", f"#{_FEATURES}"), schema), excluded


ALICCP = AliCCP()


def _find(path: Path, split: str, name: str) -> Path | None:
    for folder in (path, path / f"sample_{split}"):
        if (file := folder / f"{name}_{split}.csv").is_file():
            return file
    return None


def _fields(schema: DataSchema, fields: tuple[str, ...]) -> list[Feature]:
    """The schema's features that are among these fields."""
    return [f for f in schema.inputs if (match := _FIELD.fullmatch(f.name)) and match[1] in fields]


def _keep_fields(features: list[Feature], rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    text = pl.col(_FEATURES).fill_null("")
    return rows.select(_INDEX, *(_extract(text, feature) for feature in features))


def _extract(text: pl.Expr, feature: Feature) -> pl.Expr:
    """A feature of a row of features: see the module."""
    import polars as pl

    field = rf"(?:^|\x01){feature.name.removeprefix('field_')}\x02"
    if feature.kind == "numeric":
        value = text.str.extract(rf"{field}[^\x03]*\x03([^\x01]*)").cast(pl.Float64, strict=False)
    elif feature.multivalued:
        # A match takes the \x01 before it, never the one after: neighbours are found too.
        found = text.str.extract_all(rf"{field}[^\x03]*\x03")
        value = found.list.eval(pl.element().str.extract(r"\x02([^\x03]*)\x03")).list.join(feature.separator)
    else:
        value = text.str.extract(rf"{field}([^\x03]*)\x03")
    return value.alias(feature.name)
