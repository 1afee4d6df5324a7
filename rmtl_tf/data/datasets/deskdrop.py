"""CI&T Deskdrop: what employees did with the articles of an internal platform, in given sessions.

`users_interactions.csv` has one event a row: VIEW, LIKE, BOOKMARK, COMMENT CREATED or FOLLOW of a person
on an article. A record is an article viewed in a session, at the time of its first event there;
`engage` is any action beyond VIEW on it in that session, `save` is LIKE or BOOKMARK (METHOD 10). An
article that was acted on but never viewed in a session would be a record whose label is 1 by the way it
is made: it is left out and counted as "action without a view" (672 articles, 1,014 events).

An action often comes after the next article was opened, so every label carries the time of its first
action: past feedback must not know it earlier.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    role,
)
from rmtl_tf.schema import DataSchema

if TYPE_CHECKING:
    import polars as pl

EVENTS_FILE = "users_interactions.csv"
ACTION_WITHOUT_VIEW = "action without a view"

_EVENT = "#event"
_ACTIONS = {"engage": ("LIKE", "BOOKMARK", "COMMENT CREATED", "FOLLOW"), "save": ("LIKE", "BOOKMARK")}
_FEATURES = {"region": "userRegion", "country": "userCountry"}


@dataclass(frozen=True)
class Deskdrop(Reader):
    """Reader of `users_interactions.csv`."""

    def files(self, path: Path) -> list[Path]:
        return find_files(path, (EVENTS_FILE,))

    def columns(self, schema: DataSchema) -> tuple[Column, ...]:
        headers = {
            schema.timestamp: "timestamp",
            role(schema, "user"): "personId",
            role(schema, "item"): "contentId",
            **({schema.session: "sessionId"} if schema.session else {}),
        }
        for feature in schema.features:
            if feature.kind == "label":
                feature_in("deskdrop", feature, tuple(_ACTIONS))
            elif feature.name not in headers:
                headers[feature.name] = _FEATURES[feature_in("deskdrop", feature, tuple(_FEATURES))]
        features = (column_of(schema.feature(name), header) for name, header in headers.items())
        event = Column(_EVENT, "string", "eventType", required=True, values=("VIEW", *_ACTIONS["engage"]))
        return (*features, event)

    def to_records(
        self, events: pl.DataFrame, schema: DataSchema, side: Path
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        import polars as pl

        record = [SESSION, role(schema, "item")]
        viewed = (pl.col(_EVENT) == "VIEW").any().over(record)
        events = events.sort(schema.timestamp, FILE, LINE).with_columns(viewed.alias("#viewed"))
        first = [name for name in events.columns if name not in (*record, _EVENT, "#viewed")]
        times = [
            pl.col(schema.timestamp)
            .filter(pl.col(_EVENT).is_in(_ACTIONS[label]))
            .first()
            .alias(label_time(label))
            for label in schema.labels
        ]
        records = (
            events.filter("#viewed")
            .group_by(record, maintain_order=True)
            .agg(pl.col(first).first(), *times)
            .with_columns(
                pl.col(label_time(label)).is_not_null().cast(pl.Int64).alias(label) for label in schema.labels
            )
        )
        excluded = events.filter(~pl.col("#viewed")).select(
            FILE, LINE, reason=pl.lit(ACTION_WITHOUT_VIEW), column=pl.lit("eventType"), value=pl.col(_EVENT)
        )
        return records, excluded


DESKDROP = Deskdrop()
