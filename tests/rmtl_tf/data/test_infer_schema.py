from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline import main
from rmtl_tf.data.infer_schema import draft_schema
from rmtl_tf.errors import UserError
from rmtl_tf.schema import read_schema

CHECKOUT = Path(__file__).resolve().parents[3]
SHARED = CHECKOUT.parent / "shared" / "data"


def _shop(rows: int = 600) -> pl.DataFrame:
    """Records of a shop: clicks, purchases after clicks, a price, a device of the session, several tags."""
    rng = np.random.default_rng(0)
    session = np.sort(rng.integers(0, rows // 6, rows))
    click = rng.random(rows) < 0.3
    buy = click & (rng.random(rows) < 0.3)
    tags = ["red", "blue", "new", "sale"]
    return pl.DataFrame(
        {
            "session": [f"s{n}" for n in session],
            "customer_id": [f"c{n % 40}" for n in session],
            "product_id": rng.integers(10_000, 99_999, rows),
            "shown_at": 1_700_000_000_000 + 1_000 * np.arange(rows),
            "device": [("phone", "desktop")[n % 2] for n in session],
            "price": np.round(rng.lognormal(3, 2, rows), 2),
            "tags": ["|".join(rng.permutation(tags)[: rng.integers(1, 4)]) for _ in range(rows)],
            "read_seconds": np.where(click, 30 + 50 * rng.random(rows), 40 * rng.random(rows)),
            "country": ["SE"] * rows,
            "bought": buy.astype(int),
            "clicked": click.astype(int),
        }
    )


def _parsed(tmp_path: Path, text: str):
    path = tmp_path / "draft.pbtxt"
    path.write_text(text)
    return read_schema(path)


def _decisions(text: str) -> str:
    return " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#  "))


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet"])
def test_a_table_of_records_is_drafted_so_that_it_parses_as_it_stands(tmp_path, form):
    path = tmp_path / f"shop.{form}"
    table = _shop()
    if form == "parquet":
        table.with_columns(pl.col("tags").str.split("|")).write_parquet(path)
    elif form == "csv":
        table.write_csv(path)
    else:
        path.write_bytes(gzip.compress(table.write_csv().encode()))
    text = draft_schema(path)
    schema = _parsed(tmp_path, text)
    assert (schema.session, schema.user, schema.item) == ("session", "customer_id", "product_id")
    assert (schema.timestamp, schema.feature("shown_at").per_second) == ("shown_at", 1000)
    assert [(task.name, task.parent) for task in schema.tasks] == [("clicked", None), ("bought", "clicked")]
    price, tags = schema.feature("price"), schema.feature("tags")
    assert (price.kind, price.low, price.log) == ("numeric", 0.0, True)
    assert (tags.separator, tags.max_values) == ("|", 3)
    assert schema.feature("device").context
    assert not schema.feature("price").context
    assert "country" not in {feature.name for feature in schema.features}
    assert "Is read_seconds known before the record is shown?" in _decisions(text)
    assert 'string_domain { value: "desktop" value: "phone" }' in text


def test_the_real_kuairand_log_is_nearly_right(tmp_path):
    text = draft_schema(SHARED / "kuairand" / "log_standard_sample_27k.csv")
    schema = _parsed(tmp_path, text)
    assert (schema.user, schema.item, schema.timestamp) == ("user_id", "video_id", "time_ms")
    assert schema.feature("time_ms").per_second == 1000
    assert schema.feature("duration_ms").log
    # Left to decide: which labels are tasks, and that two columns are outcomes.
    assert set(schema.task_names) == {
        *("is_click", "is_like", "is_follow", "is_comment", "is_forward", "is_hate"),
        *("long_view", "is_profile_enter"),
    }
    assert "Is play_time_ms known before" in _decisions(text)
    assert "No session column: sessions are made from user and time" in _decisions(text)
    assert {feature.name for feature in schema.inputs} == {
        *("user_id", "video_id", "play_time_ms", "duration_ms", "comment_stay_time")
    }


def test_the_real_video_table_shows_its_several_tags():
    text = draft_schema(SHARED / "kuairand" / "video_features_basic_pure.csv")
    assert 'name: "tag" type: BYTES value_count { max: 3 } annotation { tag: "step" tag: "split:," }' in text
    assert "No column holds times since 1970" in _decisions(text)
    assert "No column seems to name users or sessions" in _decisions(text)


def test_the_real_deskdrop_events_have_roles_and_lack_labels(tmp_path):
    text = draft_schema(SHARED / "deskdrop" / "users_interactions.csv")
    assert "No column of 0 and 1 was found" in _decisions(text)
    decided = text + 'feature { name: "engage" type: INT annotation { tag: "label:engage" } }\n'
    schema = _parsed(tmp_path, decided)
    roles = (schema.session, schema.user, schema.item, schema.timestamp)
    assert roles == ("sessionId", "personId", "contentId", "timestamp")
    assert schema.feature("timestamp").per_second == 1
    assert {feature.name for feature in schema.inputs} >= {"userRegion", "userCountry", "eventType"}


def test_features_of_users_are_no_labels(tmp_path):
    text = draft_schema(SHARED / "kuairand" / "joined_sample_pure.csv")
    assert re.findall(r'tag: "label:(\w+)"', text) == ["is_click"]
    assert '"is_video_author" type: BYTES annotation { tag: "context" }' in text


@pytest.mark.parametrize(("content", "message"), [("a,b\n", "has no rows"), ("", "cannot be read as a CSV")])
def test_a_file_without_rows_is_refused(tmp_path, content, message):
    path = tmp_path / "x.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        draft_schema(path)


def test_the_command_writes_once_and_says_how_much_is_to_decide(tmp_path, capsys):
    table, out = tmp_path / "shop.csv", tmp_path / "shop.pbtxt"
    _shop().write_csv(table)
    assert main(["infer-schema", str(table)]) == 0
    printed = capsys.readouterr().out
    assert main(["infer-schema", str(table), "-o", str(out)]) == 0
    assert out.read_text() == printed
    decisions = len(re.findall(r"^#  \d+\. ", printed, re.MULTILINE))
    assert f"{decisions} decisions stand at its top" in capsys.readouterr().out
    assert main(["infer-schema", str(table), "-o", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["infer-schema", str(tmp_path / "absent.csv")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_help_of_the_command_teaches_the_way_to_a_run(capsys):
    with pytest.raises(SystemExit):
        main(["infer-schema", "--help"])
    text = capsys.readouterr().out
    for part in (
        "infer-schema day1.csv -o data_schemas/shop.pbtxt",
        "must not stay an input",
        "--config configs/",
    ):
        assert part in text
