"""RetailRocket: what visitors of a shop viewed, put into the cart and bought, and what the items were then.

`events.csv` has one event a row, in no order of time. A record is an item that a visitor touched in a session
(user and inactivity gap), at the time of the first touch, be it a view or not; `click` is addtocart or
transaction on it in that session, `pay` is transaction, so pay implies click (METHOD 10). A label carries the
time of its first action: past feedback must not know it earlier.

`item_properties_part1.csv` and `..._part2.csv` say what the properties of an item were at some times. A
record gets the last value at or before its own time, never a later one; a snapshot in the middle of a second
is known from the next second on. Values are kept as published: a number is `n12.000`, several stand between
blanks; a numeric feature reads such a number. `category_tree.csv` has no times: it gives the path from the
root.

Features a schema may have: `visitorid`, `itemid`; any property by `property_<name>`, hashed ones too;
`category_level_<n>`, the category's ancestor (or itself) on level n, the root being level 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rmtl_tf.data.datasets.base import (
    FILE,
    LINE,
    SESSION,
    Column,
    Reader,
    column_of,
    feature_in,
    find_files,
    label_time,
    no_exclusions,
    role,
)
from rmtl_tf.errors import UserError
from rmtl_tf.schema import DataSchema, Feature

if TYPE_CHECKING:
    import polars as pl

EVENTS_FILE = "events.csv"
PROPERTY_FILES = ("item_properties_part1.csv", "item_properties_part2.csv")
TREE_FILE = "category_tree.csv"

_EVENT = "#event"
_ACTIONS = {"click": ("addtocart", "transaction"), "pay": ("transaction",)}
_KINDS = ("view", "addtocart", "transaction")
_PROPERTY = re.compile(r"property_(.+)")
_LEVEL = re.compile(r"category_level_([1-9])")
_CATEGORY = "categoryid"
_NUMBER = r"^n?(-?\d+(?:\.\d+)?)$"


@dataclass(frozen=True)
class RetailRocket(Reader):
    """Reader of the four files."""

    def files(self, path: Path) -> list[Path]:
        return find_files(path, (EVENTS_FILE,))

    def side_files(self, path: Path, schema: DataSchema) -> list[Path]:
        names = [*(PROPERTY_FILES if _properties(schema) else ()), *([TREE_FILE] if _levels(schema) else [])]
        folder = path if path.is_dir() else path.parent
        for name in names:
            if not (folder / name).is_file():
                raise UserError(
                    f"data set retailrocket: {folder} holds no {name}, where features of the schema are. "
                    "Put it beside events.csv, or remove the features property_* and category_level_*."
                )
        return [folder / name for name in names]

    def prepare(self, path: Path, side: Path, schema: DataSchema) -> None:
        import polars as pl

        from rmtl_tf.data.side_tables import write_side_table

        files = self.side_files(path, schema)
        if wanted := _properties(schema):
            parts = [file for file in files if file.name != TREE_FILE]
            columns = ("timestamp", "itemid", "property", "value")
            keep = partial(_snapshots, wanted)
            write_side_table(parts, columns, "itemid", side / "properties", keep, sort=("property", "known"))
        if _levels(schema):
            paths = category_paths(pl.read_csv(files[-1], infer_schema=False))
            paths.write_parquet(side / "tree.parquet")

    def columns(self, schema: DataSchema) -> tuple[Column, ...]:
        headers = {role(schema, "user"): "visitorid", role(schema, "item"): "itemid"}
        for feature in schema.features:
            if feature.kind == "label":
                feature_in("retailrocket", feature, tuple(_ACTIONS))
            elif feature in schema.inputs and not (
                feature.name in headers or _PROPERTY.fullmatch(feature.name) or _LEVEL.fullmatch(feature.name)
            ):
                feature_in("retailrocket", feature, ("property_<name>", "category_level_<n>"))
        features = (column_of(schema.feature(name), header) for name, header in headers.items())
        return (
            Column(schema.timestamp, "timestamp", "timestamp", required=True, per_second=1000),
            *features,
            Column(_EVENT, "string", "event", required=True, values=_KINDS),
        )

    def to_records(
        self, events: pl.DataFrame, schema: DataSchema, side: Path
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        import polars as pl

        item = role(schema, "item")
        events = events.sort(schema.timestamp, FILE, LINE)
        first = [name for name in events.columns if name not in (SESSION, item, _EVENT)]
        times = [
            pl.col(schema.timestamp)
            .filter(pl.col(_EVENT).is_in(_ACTIONS[label]))
            .first()
            .alias(label_time(label))
            for label in schema.labels
        ]
        records = events.group_by(SESSION, item, maintain_order=True).agg(pl.col(first).first(), *times)
        happened = [
            pl.col(label_time(label)).is_not_null().cast(pl.Int64).alias(label) for label in schema.labels
        ]
        records = records.with_columns(happened)
        records = _join_properties(records, schema, side)
        return _join_path(records, schema, side), no_exclusions(events)


RETAILROCKET = RetailRocket()


def properties_as_of(
    records: pl.DataFrame, snapshots: pl.DataFrame, item: str, time: str, names: list[str]
) -> pl.DataFrame:
    """Adds a column for each property: its last value at or before a record's time, null where there is none.

    Args:
        records: columns `item` and `time` (unix seconds), any order.
        snapshots: `itemid`, `property`, `known` (unix seconds), `value`; of equal times the last row counts.
    """
    import polars as pl

    order = records.with_row_index("#row").sort(item, time)
    for name in names:
        # The last of equal times: an as-of join may take any of them.
        known = snapshots.filter(pl.col("property") == name).unique(["itemid", "known"], keep="last")
        known = known.sort("itemid", "known").select(
            pl.col("itemid").alias(item), "known", pl.col("value").alias(name)
        )
        order = order.join_asof(
            known, left_on=time, right_on="known", by=item, strategy="backward", check_sortedness=False
        ).drop("known", strict=False)
    return order.sort("#row").drop("#row")


def category_paths(tree: pl.DataFrame) -> pl.DataFrame:
    """`categoryid` and its `path`, the list of categories from its root to itself.

    Args:
        tree: `categoryid`, `parentid` (null or "" for a root), strings.

    Raises:
        UserError: categories are each other's ancestors.
    """
    import polars as pl

    parent = {child: above or "" for child, above in tree.select("categoryid", "parentid").iter_rows()}
    paths = {}
    for category in parent:
        path = list(_ancestors(category, parent))
        paths[category] = path[::-1]
    return pl.DataFrame(
        {"categoryid": list(paths), "path": list(paths.values())},
        schema={"categoryid": pl.String, "path": pl.List(pl.String)},
    )


def _ancestors(category: str, parent: dict[str, str]) -> Iterator[str]:
    for _ in range(len(parent) + 1):
        yield category
        category = parent.get(category, "")
        if not category:
            return
    raise UserError(f"{TREE_FILE}: category {category} is its own ancestor. Mend the parents.")


def _snapshots(wanted: list[str], rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of a property file -> `itemid`, `property`, `known`, `value` of the wanted properties."""
    import polars as pl

    rows = rows.filter(pl.col("property").is_in(wanted))
    # Up to the next whole second: an event's time is cut to its second, which lies before.
    seconds = -((-pl.col("timestamp").cast(pl.Int64, strict=False)).floordiv(1000))
    known = rows.select("itemid", "property", seconds.alias("known"), "value")
    if known["known"].null_count():
        wrong = rows.filter(known["known"].is_null()).row(0)
        raise UserError(
            f"data set retailrocket: an item property has no time in milliseconds: {wrong}. Are the "
            f"columns of {' and '.join(PROPERTY_FILES)} those published: timestamp,itemid,property,value?"
        )
    return known


def _properties(schema: DataSchema) -> list[str]:
    """The properties to read: those of the schema, and the category where its path is asked for."""
    found = [match[1] for feature in schema.inputs if (match := _PROPERTY.fullmatch(feature.name))]
    return [*found, _CATEGORY] if _levels(schema) and _CATEGORY not in found else found


def _levels(schema: DataSchema) -> list[tuple[Feature, int]]:
    return [(f, int(match[1])) for f in schema.inputs if (match := _LEVEL.fullmatch(f.name))]


def _join_properties(records: pl.DataFrame, schema: DataSchema, side: Path) -> pl.DataFrame:
    import polars as pl

    from rmtl_tf.data.side_tables import read_side_table

    names = _properties(schema)
    if not names:
        return records
    item = role(schema, "item")
    snapshots = read_side_table(side / "properties", records[item].alias("itemid"))
    if not snapshots.width:
        snapshots = pl.DataFrame(
            schema={"itemid": pl.String, "property": pl.String, "known": pl.Int64, "value": pl.String}
        )
    records = properties_as_of(records, snapshots, item, schema.timestamp, names)
    features = {f.name: f for f in schema.inputs}
    values = {f"property_{name}": pl.col(name) for name in names}
    numbers = [
        value.str.extract(_NUMBER).cast(pl.Float64)
        if name in features and features[name].kind == "numeric"
        else value
        for name, value in values.items()
    ]
    return records.with_columns(
        number.alias(name) for name, number in zip(values, numbers, strict=True)
    ).drop(names)


def _join_path(records: pl.DataFrame, schema: DataSchema, side: Path) -> pl.DataFrame:
    import polars as pl

    levels = _levels(schema)
    if not levels:
        return records
    tree = pl.read_parquet(side / "tree.parquet").rename({"categoryid": f"property_{_CATEGORY}"})
    records = records.join(tree, on=f"property_{_CATEGORY}", how="left", maintain_order="left")
    path = [pl.col("path").list.get(level - 1, null_on_oob=True).alias(f.name) for f, level in levels]
    return records.with_columns(path).drop("path")
