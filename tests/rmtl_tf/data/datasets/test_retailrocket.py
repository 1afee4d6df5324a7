from __future__ import annotations

import itertools
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtl_tf.config import DataConfig
from rmtl_tf.data.datasets.base import FILE, LINE, SESSION, label_time
from rmtl_tf.data.datasets.retailrocket import RETAILROCKET, category_paths, properties_as_of
from rmtl_tf.data.ingest import ingest
from rmtl_tf.data.multivalued import lengths_name
from rmtl_tf.data.records import read_record_batches
from rmtl_tf.data.splits import SPLITS
from rmtl_tf.errors import UserError
from rmtl_tf.schema import from_proto, read_schema

CHECKOUT = Path(__file__).resolve().parents[4]
SCHEMA = read_schema(CHECKOUT / "data_schemas" / "retailrocket.pbtxt")
REAL_TREE = CHECKOUT.parent / "shared" / "data" / "retailrocket" / "category_tree.csv"


def _schema(*features: str):
    """visitor, item, time and both labels, and these features: `name` is BYTES, `name:FLOAT` a number."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    lines = [
        'feature { name: "timestamp" type: INT annotation { tag: "timestamp" } }',
        'feature { name: "visitorid" type: BYTES annotation { tag: "user" tag: "context" } }',
        'feature { name: "itemid" type: BYTES annotation { tag: "item" tag: "step" } }',
        'feature { name: "click" type: INT annotation { tag: "label:click" } }',
        'feature { name: "pay" type: INT annotation { tag: "label:pay" tag: "parent:click" } }',
    ]
    for feature in features:
        name, _, kind = feature.partition(":")
        lines.append(f'feature {{ name: "{name}" type: {kind or "BYTES"} annotation {{ tag: "step" }} }}')
    return from_proto(text_format.Parse("\n".join(lines), schema_pb2.Schema()))


def _events(*rows: tuple[int, str, str]) -> pl.DataFrame:
    """Events (time, item, what) of one session, on lines from 2."""
    return pl.DataFrame(
        {
            FILE: [0] * len(rows),
            LINE: list(range(2, len(rows) + 2)),
            SESSION: ["s"] * len(rows),
            "visitorid": ["v"] * len(rows),
            "timestamp": [row[0] for row in rows],
            "itemid": [row[1] for row in rows],
            "#event": [row[2] for row in rows],
        }
    )


def _write(folder: Path, properties: list[str], tree: str = "categoryid,parentid\n1,\n") -> Path:
    (folder / "item_properties_part1.csv").write_text(
        "timestamp,itemid,property,value\n" + "".join(properties)
    )
    (folder / "item_properties_part2.csv").write_text("timestamp,itemid,property,value\n")
    (folder / "category_tree.csv").write_text(tree)
    (folder / "events.csv").write_text("timestamp,visitorid,event,itemid,transactionid\n")
    return folder


def _records(folder: Path, events: pl.DataFrame, schema) -> pl.DataFrame:
    side = folder / "side"
    side.mkdir()
    RETAILROCKET.prepare(folder, side, schema)
    records, excluded = RETAILROCKET.to_records(events, schema, side)
    assert excluded.height == 0
    return records


def test_events_of_an_item_in_a_session_are_one_record_at_the_first_touch(tmp_path):
    events = _events((30, "b", "addtocart"), (10, "a", "view"), (40, "b", "transaction"), (20, "a", "view"))
    records, _ = RETAILROCKET.to_records(events, _schema(), tmp_path)
    rows = records.select("itemid", "timestamp", LINE, "click", "pay").rows()
    assert rows == [("a", 10, 3, 0, 0), ("b", 30, 2, 1, 1)]
    assert records[label_time("click")].to_list() == [None, 30]
    assert records[label_time("pay")].to_list() == [None, 40]


def test_a_transaction_alone_is_a_click_too(tmp_path):
    records, _ = RETAILROCKET.to_records(_events((5, "a", "transaction")), _schema(), tmp_path)
    assert records.select("click", "pay").row(0) == (1, 1)


def test_the_columns_read_milliseconds_and_know_the_three_events():
    columns = {column.source: column for column in RETAILROCKET.columns(SCHEMA)}
    assert set(columns) == {"timestamp", "visitorid", "event", "itemid"}
    assert columns["timestamp"].per_second == 1000
    assert columns["event"].values == ("view", "addtocart", "transaction")


@pytest.mark.parametrize("name", ["price", "property_", "category_level_0"])
def test_a_feature_retailrocket_does_not_have_is_refused(name):
    with pytest.raises(UserError, match=rf'feature "{name}", which it does not have; (did you|known)'):
        RETAILROCKET.columns(_schema(name))


def test_a_missing_property_file_is_named_and_not_asked_for_without_need(tmp_path):
    (tmp_path / "events.csv").touch()
    assert RETAILROCKET.side_files(tmp_path, _schema()) == []
    with pytest.raises(UserError, match=r"holds no item_properties_part1\.csv.*Put it beside"):
        RETAILROCKET.side_files(tmp_path, SCHEMA)


def test_a_property_is_that_of_the_records_time(tmp_path):
    rows = [
        "5000,a,x,old\n",
        "9000,a,x,new\n",
        "20000,a,x,future\n",
        "1000,b,x,other\n",
        "1000,a,y,unwanted\n",
    ]
    events = _events((4, "a", "view"), (9, "b", "view"), (19, "c", "view"))
    records = _records(_write(tmp_path, rows), events, _schema("property_x"))
    assert records["property_x"].to_list() == [None, "other", None]


@pytest.mark.parametrize(("time", "value"), [(4, None), (5, "old"), (8, "old"), (9, "new"), (20, "future")])
def test_the_last_value_at_or_before_the_record_counts(tmp_path, time, value):
    rows = ["9000,a,x,new\n", "5000,a,x,old\n", "20000,a,x,future\n"]
    records = _records(_write(tmp_path, rows), _events((time, "a", "view")), _schema("property_x"))
    assert records["property_x"].to_list() == [value]


def test_a_snapshot_within_a_second_is_not_known_to_records_cut_to_that_second(tmp_path):
    rows = ["5001,a,x,late\n"]
    events = _events((5, "a", "view"))
    folder = _write(tmp_path, rows)
    assert _records(folder, events, _schema("property_x"))["property_x"].to_list() == [None]
    later, _ = RETAILROCKET.to_records(_events((6, "a", "view")), _schema("property_x"), folder / "side")
    assert later["property_x"].to_list() == ["late"]


def test_a_snapshot_without_a_time_stops_the_run_and_is_shown(tmp_path):
    folder = _write(tmp_path, ["1000,a,x,1\n", "noon,b,x,2\n"])
    with pytest.raises(UserError, match=r"no time in milliseconds: \('noon', 'b', 'x', '2'\)"):
        RETAILROCKET.prepare(folder, tmp_path / "side", _schema("property_x"))


def test_numbers_are_read_and_a_value_that_is_none_is_missing(tmp_path):
    rows = ["1000,a,x,n12.500\n", "1000,b,x,n-3.000\n", "1000,c,x,7 n2.000\n"]
    events = _events((2, "a", "view"), (3, "b", "view"), (4, "c", "view"))
    records = _records(_write(tmp_path, rows), events, _schema("property_x:FLOAT"))
    assert records["property_x"].to_list() == [12.5, -3.0, None]


def test_the_category_path_goes_from_the_root_and_follows_the_time(tmp_path):
    rows = ["1000,a,categoryid,3\n", "9000,a,categoryid,1\n"]
    tree = "categoryid,parentid\n3,2\n2,1\n1,\n"
    schema = _schema("category_level_1", "category_level_3", "category_level_4")
    folder = _write(tmp_path, rows, tree)
    before = _records(folder, _events((2, "a", "view"), (3, "q", "view")), schema)
    assert before.select(f.name for f in schema.inputs[2:]).rows() == [("1", "3", None), (None, None, None)]
    after, _ = RETAILROCKET.to_records(_events((9, "a", "view")), schema, folder / "side")
    assert after.select(f.name for f in schema.inputs[2:]).rows() == [("1", None, None)]


def test_every_category_of_the_published_tree_has_a_path_that_ends_with_itself():
    tree = pl.read_csv(REAL_TREE, infer_schema=False)
    paths = dict(category_paths(tree).iter_rows())
    parent = dict(tree.iter_rows())
    assert len(paths) == 1669
    for category, path in paths.items():
        assert path[-1] == category
        assert parent[path[0]] is None
        assert [parent[child] for child in path[1:]] == path[:-1]


def test_categories_in_a_circle_are_refused():
    with pytest.raises(UserError, match=r"category \d is its own ancestor"):
        category_paths(pl.DataFrame({"categoryid": ["1", "2"], "parentid": ["2", "1"]}))


_TOUCH = st.tuples(st.sampled_from("abc"), st.integers(0, 12))
_SNAPSHOT = st.tuples(
    st.sampled_from("abcd"), st.sampled_from("xy"), st.integers(0, 12), st.sampled_from("12345")
)


@settings(max_examples=150, deadline=None)
@given(touches=st.lists(_TOUCH, min_size=1, max_size=12), snapshots=st.lists(_SNAPSHOT, max_size=25))
def test_the_point_in_time_join_equals_a_search_through_all_snapshots(touches, snapshots):
    records = pl.DataFrame(touches, schema=["itemid", "time"], orient="row")
    kinds = {"itemid": pl.String, "property": pl.String, "known": pl.Int64, "value": pl.String}
    table = pl.DataFrame(snapshots, schema=kinds, orient="row")
    joined = properties_as_of(records, table, "itemid", "time", ["x", "y"])
    assert joined.select("itemid", "time").rows() == touches
    for name in "xy":
        expected = []
        for item, time in touches:
            known = [(s[2], place, s[3]) for place, s in enumerate(snapshots) if s[:2] == (item, name)]
            known = [entry for entry in known if entry[0] <= time]
            expected.append(max(known)[2] if known else None)
        assert joined[name].to_list() == expected


def _run(folder: Path, out: Path) -> dict[str, list[dict]]:
    for name in ("examples", "statistics"):
        (out / name).mkdir(parents=True)
    config = DataConfig.model_validate(
        {"dataset": "retailrocket", "session": {"by": "gap"}, "shards": 2, "max_bad_fraction": 0}
    )
    ingest(folder, out / "examples", out / "statistics", config, SCHEMA)
    kinds = dict.fromkeys((f.name for f in SCHEMA.inputs), "bytes")
    kinds |= {
        "session_id": "bytes",
        "timestamp": "int",
        "click": "int",
        "pay": "int",
        "past_records": "float",
    }
    several = [feature.name for feature in SCHEMA.inputs if feature.multivalued]
    kinds |= dict.fromkeys(map(lengths_name, several), "int")
    rows = {}
    for split in SPLITS:
        batches = read_record_batches(out / "examples" / f"Split-{split}", kinds)  # type: ignore[arg-type]
        rows[split] = [row for batch in batches for row in batch.to_pylist()]
        for row in rows[split]:
            for name in several:  # the list of each record
                ends = list(itertools.accumulate(row.pop(lengths_name(name)), initial=0))
                row[name] = [(row[name] or [])[a:b] for a, b in itertools.pairwise(ends)]
    return rows


def test_nothing_after_a_record_changes_it(tmp_path):
    """The whole ExampleGen on simulated files, once as they are and once with all later rows altered.

    Only its labels may change, as they say what came after.
    """
    from rmtl_tf.data.retailrocket_simulator import simulate_retailrocket

    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        simulate_retailrocket(folder, 4_000, properties=40_000, category_tree=REAL_TREE)
    middle = 1_436_000_000_000
    for part in ("item_properties_part1.csv", "item_properties_part2.csv"):
        rows = pl.read_csv(second / part, infer_schema=False)
        late = pl.col("timestamp").cast(pl.Int64) > middle
        changed = rows.with_columns(
            itemid=pl.when(late).then(pl.col("itemid").shuffle(seed=1)).otherwise("itemid"),
            value=pl.when(late).then(pl.lit("altered")).otherwise("value"),
        )
        changed.sample(fraction=1, shuffle=True, seed=2).write_csv(second / part)
    events = pl.read_csv(second / "events.csv", infer_schema=False)
    late = pl.col("timestamp").cast(pl.Int64) > middle
    shuffled = [
        pl.when(late)
        .then(pl.col(name).filter(late).shuffle(seed=3).gather(late.cum_sum().clip(1) - 1))
        .otherwise(name)
        for name in ("itemid", "event")
    ]
    events.with_columns(shuffled).write_csv(second / "events.csv")
    before, after = _run(first, tmp_path / "out1"), _run(second, tmp_path / "out2")
    compared = different = 0
    for split in SPLITS:
        for one, other in zip(before[split], after[split], strict=True):
            early = [place for place, time in enumerate(one["timestamp"]) if time * 1000 <= middle]
            compared += len(early)
            for name in one.keys() - {"click", "pay"}:
                if name in ("session_id", "visitorid"):
                    assert one[name] == other[name]
                    continue
                assert [one[name][i] for i in early] == [other[name][i] for i in early], name
            different += one["property_available"] != other["property_available"]
    assert compared > 500
    assert different > 100
