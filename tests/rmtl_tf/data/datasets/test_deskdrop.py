from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from rmtl_tf.data.datasets.base import FILE, LINE, SESSION, label_time
from rmtl_tf.data.datasets.deskdrop import Deskdrop
from rmtl_tf.errors import UserError
from rmtl_tf.schema import Feature, read_schema

SCHEMA = read_schema(Path(__file__).resolve().parents[4] / "data_schemas" / "deskdrop.pbtxt")


def _events(*rows: tuple[str, str, int, str], region: list[str | None] | None = None) -> pl.DataFrame:
    """Events (session, article, time, what), on lines from 2."""
    count = len(rows)
    return pl.DataFrame(
        {
            FILE: [0] * count,
            LINE: list(range(2, count + 2)),
            SESSION: [row[0] for row in rows],
            "session_id": [row[0] for row in rows],
            "content_id": [row[1] for row in rows],
            "timestamp": [row[2] for row in rows],
            "#event": [row[3] for row in rows],
            "person_id": ["p"] * count,
            "region": pl.Series(region or [None] * count, dtype=pl.String),
            "country": pl.Series([None] * count, dtype=pl.String),
        }
    )


def _records(*rows, **options) -> dict[tuple[str, str], dict]:
    records, _ = Deskdrop().to_records(_events(*rows, **options), SCHEMA, Path())
    return {(row[SESSION], row["content_id"]): row for row in records.iter_rows(named=True)}


def test_events_of_an_article_in_a_session_are_one_record_at_the_first_of_them():
    records = _records(
        ("s", "a", 30, "VIEW"), ("s", "a", 20, "VIEW"), ("t", "a", 10, "VIEW"), ("s", "b", 5, "VIEW")
    )
    assert {key: (row["timestamp"], row[LINE]) for key, row in records.items()} == {
        ("s", "a"): (20, 3),
        ("t", "a"): (10, 4),
        ("s", "b"): (5, 5),
    }


@pytest.mark.parametrize(
    ("action", "engage", "save"),
    [("VIEW", 0, 0), ("LIKE", 1, 1), ("BOOKMARK", 1, 1), ("COMMENT CREATED", 1, 0), ("FOLLOW", 1, 0)],
)
def test_labels_follow_from_the_actions(action, engage, save):
    row = _records(("s", "a", 10, "VIEW"), ("s", "a", 20, action))["s", "a"]
    assert (row["engage"], row["save"]) == (engage, save)
    assert row[label_time("engage")] == (20 if engage else None)
    assert row[label_time("save")] == (20 if save else None)


def test_a_label_came_to_be_with_its_first_action_not_with_the_view():
    row = _records(
        ("s", "a", 10, "VIEW"), ("s", "a", 50, "LIKE"), ("s", "a", 40, "FOLLOW"), ("s", "a", 60, "LIKE")
    )["s", "a"]
    assert (row["timestamp"], row[label_time("engage")], row[label_time("save")]) == (10, 40, 50)


def test_an_action_before_the_view_makes_the_records_time():
    row = _records(("s", "a", 10, "LIKE"), ("s", "a", 20, "VIEW"))["s", "a"]
    assert (row["timestamp"], row["engage"]) == (10, 1)


def test_an_action_in_another_session_does_not_count():
    records = _records(("s", "a", 10, "VIEW"), ("t", "a", 20, "VIEW"), ("t", "a", 21, "LIKE"))
    assert (records["s", "a"]["engage"], records["t", "a"]["engage"]) == (0, 1)


def test_region_is_that_of_the_first_event():
    records = _records(("s", "a", 20, "VIEW"), ("s", "a", 10, "VIEW"), region=["late", "early"])
    assert records["s", "a"]["region"] == "early"


def test_actions_without_a_view_are_left_out_and_reported_with_their_lines():
    events = _events(
        ("s", "a", 10, "VIEW"), ("s", "b", 11, "LIKE"), ("s", "b", 12, "FOLLOW"), ("t", "a", 13, "LIKE")
    )
    records, excluded = Deskdrop().to_records(events, SCHEMA, Path())
    assert records.height == 1
    assert excluded.sort(LINE).rows() == [
        (0, 3, "action without a view", "eventType", "LIKE"),
        (0, 4, "action without a view", "eventType", "FOLLOW"),
        (0, 5, "action without a view", "eventType", "LIKE"),
    ]


def test_columns_carry_the_raw_names_and_rules():
    columns = {column.name: column for column in Deskdrop().columns(SCHEMA)}
    assert {name: column.source for name, column in columns.items()} == {
        "timestamp": "timestamp",
        "person_id": "personId",
        "content_id": "contentId",
        "session_id": "sessionId",
        "region": "userRegion",
        "country": "userCountry",
        "#event": "eventType",
    }
    assert columns["#event"].values == ("VIEW", "LIKE", "BOOKMARK", "COMMENT CREATED", "FOLLOW")
    assert columns["person_id"].required
    assert not columns["region"].required


def test_a_feature_or_label_deskdrop_does_not_have_is_named():
    extra = replace(SCHEMA, features=(*SCHEMA.features, Feature("contry", "categorical")))
    with pytest.raises(UserError, match=r'asks for feature "contry", .* did you mean "country"\?'):
        Deskdrop().columns(extra)
    extra = replace(SCHEMA, features=(*SCHEMA.features, Feature("saved", "label")))
    with pytest.raises(UserError, match=r'asks for label "saved", .* did you mean "save"\?'):
        Deskdrop().columns(extra)


def test_a_schema_may_leave_features_and_tasks_out():
    less = replace(
        SCHEMA,
        features=tuple(f for f in SCHEMA.features if f.name not in ("region", "save")),
        tasks=SCHEMA.tasks[:1],
        labels=("engage",),
    )
    assert "region" not in {column.name for column in Deskdrop().columns(less)}
    records, _ = Deskdrop().to_records(_events(("s", "a", 1, "VIEW")).drop("region"), less, Path())
    assert records["engage"].to_list() == [0]
    assert "save" not in records.columns
