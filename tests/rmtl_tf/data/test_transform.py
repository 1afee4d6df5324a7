from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rmtl_tf.config import TransformConfig
from rmtl_tf.data.collisions import COLLISIONS_FILE
from rmtl_tf.data.datasets.base import label_time
from rmtl_tf.data.records import read_record_batches, shard_path, write_record_batches
from rmtl_tf.data.session_reader import SessionReader
from rmtl_tf.data.transform import analyze, transform
from rmtl_tf.errors import UserError
from rmtl_tf.features.graph import TransformGraph
from rmtl_tf.files import digest_tree, read_json
from rmtl_tf.schema import DataSchema, Feature, Task

SCHEMA = DataSchema(
    features=(
        Feature("ts", "timestamp"),
        Feature("user", "categorical", context=True),
        Feature("income", "numeric", context=True),
        Feature("item", "categorical"),
        Feature("price", "numeric", log=True),
        Feature("clicked", "label"),
    ),
    tasks=(Task("click"),),
    labels=("clicked",),
    user="user",
    item="item",
    timestamp="ts",
)
FEEDBACK = ("past_records", "past_click_known", "past_click_positive")
KEEP_ALL = TransformConfig(min_count=1)
CONTEXT = {"session_id", "lookahead", "user", "income"}


def session(
    key: str, items: str, user: str = "u1", lookahead: int = 0, price=None, income=1.0, clicked=None
) -> dict:
    steps = len(items)
    return {
        "session_id": [key.encode()],
        "lookahead": [lookahead],
        "user": [user.encode()],
        "income": [income],
        "item": [item.encode() if item != "_" else b"" for item in items],
        "price": price or [float(step) for step in range(steps)],
        "ts": [3600 * step for step in range(steps)],
        "clicked": clicked or [step % 2 for step in range(steps)],
        "past_records": [float(step) for step in range(steps)],
        "past_click_known": [float(step) for step in range(steps)],
        "past_click_positive": [float(step // 2) for step in range(steps)],
    }


TYPES = {
    name: pa.large_list(
        pa.large_binary()
        if name in ("session_id", "user", "item")
        else pa.int64()
        if name in ("lookahead", "ts", "clicked")
        else pa.float32()
    )
    for name in session("s", "a")
}


def write(split: Path, *shards: list[dict]) -> Path:
    """Writes one TFRecord shard for each list of sessions."""
    for place, sessions in enumerate(shards):
        batch = pa.RecordBatch.from_pylist(sessions, schema=pa.schema(list(TYPES.items())))
        write_record_batches(shard_path(split, place, len(shards)), [batch])
    return split


def fit(tmp_path: Path, *shards: list[dict], config: TransformConfig = KEEP_ALL) -> TransformGraph:
    return analyze(write(tmp_path / "train", *shards), SCHEMA, FEEDBACK, config, tmp_path / "graph")


def read(split: Path, graph: TransformGraph) -> list[dict]:
    """The transformed Examples as plain lists."""
    spec = graph.input_spec()
    types = dict.fromkeys(["lookahead", "ts", "clicked", *(name for name, _ in spec.categorical)], "int")
    types |= {"session_id": "bytes"} | dict.fromkeys(spec.numeric, "float")
    return [row for batch in read_record_batches(split, types) for row in batch.to_pylist()]


def test_reader_lays_sessions_end_to_end_and_repeats_context(tmp_path):
    split = write(tmp_path, [session("s1", "ab", "u1", income=3.0), session("s2", "cde", "u2", lookahead=1)])
    (records,) = SessionReader(SCHEMA, FEEDBACK).read(shard_path(split, 0, 1))
    assert records.session_id.to_pylist() == [b"s1", b"s2"]
    assert records.lookahead.tolist() == [0, 1]
    assert records.steps.tolist() == [2, 3]
    assert records.columns["user"].to_pylist() == [b"u1"] * 2 + [b"u2"] * 3
    assert records.columns["income"].tolist() == [3, 3, 1, 1, 1]
    assert records.columns["item"].to_pylist() == [b"a", b"b", b"c", b"d", b"e"]
    assert records.columns["ts"].tolist() == [0, 3600, 0, 3600, 7200]
    kept = records.without_lookahead()
    assert kept["item"].to_pylist() == [b"a", b"b", b"c", b"d"]
    assert kept["user"].to_pylist() == [b"u1"] * 2 + [b"u2"] * 2
    assert kept["ts"].tolist() == [0, 3600, 0, 3600]


def test_frequencies_count_records_without_the_lookahead_record(tmp_path):
    # Window 1 shows "z" as the next state; window 2 begins with it. Counted twice, "z" would lead.
    graph = fit(tmp_path, [session("s", "yyyz", lookahead=1), session("s", "zzx", "u2")])
    assert graph.features[2].vocabulary == ("y", "z", "x")
    assert graph.features[0].vocabulary == ("u1", "u2")
    counted = fit(
        tmp_path / "min", [session("s", "yz", lookahead=1), session("s", "zy")], config=TransformConfig()
    )
    assert counted.features[2].vocabulary == ("y",)


def test_context_weighs_as_many_records_as_its_session_has(tmp_path):
    graph = fit(tmp_path, [session("1", "abcde", "long", income=9), *[session("s", "a", "short")] * 3])
    assert graph.features[0].vocabulary == ("long", "short")
    assert graph.features[1].mean == (5 * 9 + 3 * 1) / 8


def test_label_rate_leaves_the_lookahead_record_out(tmp_path):
    graph = fit(tmp_path, [session("s", "abc", lookahead=1, clicked=[1, 0, 1])])
    assert next(f for f in graph.features if f.name == "past_click_rate").prior == 0.5


def test_hashed_features_leave_their_collisions_beside_the_graph(tmp_path):
    hashing = TransformConfig(min_count=1, features={"item": {"top_k": 1, "hash_buckets": 3}})
    graph = fit(tmp_path, [session("s", "aab")], [session("t", "c_"), session("u", "dd")], config=hashing)
    assert (graph.features[2].vocabulary, graph.features[2].buckets) == (("a",), 3)
    found = read_json(tmp_path / "graph" / COLLISIONS_FILE)["item"]
    assert (found["hashed_values"], found["hashed_records"], found["vocabulary_records"]) == (3, 4, 2)
    transform({tmp_path / "train": tmp_path / "new"}, SCHEMA, FEEDBACK, tmp_path / "graph")
    ids = [id for row in read(tmp_path / "new", graph) for id in row["item"]]
    assert ids[:2] == [2, 2]
    assert set(ids) <= {1, 2, 3, 4, 5}
    assert ids.count(1) == 1  # the missing one


def test_nothing_is_said_of_collisions_where_nothing_is_hashed(tmp_path):
    fit(tmp_path, [session("s", "ab")])
    assert not (tmp_path / "graph" / COLLISIONS_FILE).exists()


def test_saved_graph_is_what_analyze_returns(tmp_path):
    graph = fit(tmp_path, [session("s", "abc")])
    assert TransformGraph.load(tmp_path / "graph") == graph


def test_value_seen_only_in_test_is_unknown(tmp_path):
    graph = fit(tmp_path, [session("s", "aab", "u1")])
    test = write(tmp_path / "test", [session("t", "abq_", "u9")])
    transform({test: tmp_path / "out"}, SCHEMA, FEEDBACK, tmp_path / "graph")
    (row,) = read(tmp_path / "out", graph)
    assert row["item"] == [2, 3, 1, 1]
    assert row["user"] == [1, 1, 1, 1]


def test_transformed_examples_hold_every_input_with_one_value_per_record(tmp_path):
    sessions = [session("s1", "ab"), session("s2", "cab", "u2", lookahead=1, price=[5.0, float("nan"), 1.0])]
    graph = fit(tmp_path, sessions)
    transform({tmp_path / "train": tmp_path / "out"}, SCHEMA, FEEDBACK, tmp_path / "graph")
    rows = read(tmp_path / "out", graph)
    spec = graph.input_spec()
    assert [row["session_id"] for row in rows] == [[b"s1"], [b"s2"]]
    assert [row["lookahead"] for row in rows] == [[0], [1]]
    assert [row["clicked"] for row in rows] == [[0, 1], [0, 1, 0]]
    assert [row["ts"] for row in rows] == [[0, 3600], [0, 3600, 7200]]
    assert rows[1]["hour"] == [2, 3, 4]
    assert rows[1]["weekday"] == [2 + 3] * 3
    for row, steps in zip(rows, (2, 3), strict=True):
        for name in [*(name for name, _ in spec.categorical), *spec.numeric]:
            assert len(row[name]) == steps, name
            assert np.isfinite(row[name]).all()
    # Train rows are a, b, c, a: the look-ahead b of s2 is left to its own window.
    assert rows[1]["item"] == [4, 2, 3]
    price = np.log1p([0.0, 1.0, 5.0])
    assert rows[1]["price"] == pytest.approx(
        [(price[2] - price.mean()) / price.std(), 0, (price[1] - price.mean()) / price.std()], rel=1e-5
    )


def test_shards_keep_their_names_and_bytes_are_repeatable(tmp_path):
    shards = [[session("s1", "ab")], [session("s2", "ba"), session("s3", "cc")], []]
    fit(tmp_path, *shards)
    for out in ("first", "second"):
        transform({tmp_path / "train": tmp_path / out}, SCHEMA, FEEDBACK, tmp_path / "graph")
    names = [f"data-0000{place}-of-00003.tfrecord" for place in range(3)]
    assert list(digest_tree(tmp_path / "first")) == names
    assert digest_tree(tmp_path / "first") == digest_tree(tmp_path / "second")
    assert (tmp_path / "first" / names[2]).stat().st_size == 0


def test_graph_does_not_depend_on_the_shards(tmp_path):
    rng = np.random.default_rng(0)
    sessions = [
        session(
            f"s{n}",
            "".join(rng.choice(list("abcdefg_"), 5)),
            f"u{n % 7}",
            price=rng.lognormal(3, 2, 5).tolist(),
        )
        for n in range(40)
    ]
    one = fit(tmp_path / "one", sessions)
    many = fit(tmp_path / "many", sessions[25:], sessions[:3], sessions[3:25])
    assert many == one
    assert digest_tree(tmp_path / "one" / "graph") == digest_tree(tmp_path / "many" / "graph")


def test_more_windows_than_one_batch_come_out_in_order(tmp_path):
    graph = fit(tmp_path, [session(f"s{n}", "ab"[: 1 + n % 2]) for n in range(2500)])
    transform({tmp_path / "train": tmp_path / "out"}, SCHEMA, FEEDBACK, tmp_path / "graph")
    rows = read(tmp_path / "out", graph)
    assert [row["session_id"] for row in rows] == [[b"s%d" % n] for n in range(2500)]
    assert [len(row["item"]) for row in rows] == [1 + n % 2 for n in range(2500)]
    assert graph.features[2].vocabulary == ("a", "b")


@pytest.mark.parametrize(("column", "values"), [("item", [b"a"]), ("user", [b"u", b"v"]), ("price", None)])
def test_list_of_another_length_stops_and_names_file_feature_and_session(tmp_path, column, values):
    split = write(tmp_path / "train", [session("good", "ab"), session("odd", "ab") | {column: values}])
    with pytest.raises(
        UserError, match=rf"data-00000-of-00001.*'{column}'.*odd.*expected [12] values, received [012]"
    ):
        analyze(split, SCHEMA, FEEDBACK, KEEP_ALL, tmp_path / "graph")


def test_split_without_shards_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="Run ExampleGen again"):
        analyze(tmp_path, SCHEMA, FEEDBACK, KEEP_ALL, tmp_path / "graph")


def test_times_of_labels_are_passed_on_where_the_data_set_gives_them(tmp_path):
    time = label_time("clicked")
    given = [session(f"s{n}", "abc") | {time: [0, 9000 + n, 7200]} for n in range(3)]
    schema = pa.schema([*TYPES.items(), (time, pa.large_list(pa.int64()))])
    batch = pa.RecordBatch.from_pylist(given, schema=schema)
    write_record_batches(shard_path(tmp_path / "train", 0, 1), [batch])
    analyze(tmp_path / "train", SCHEMA, FEEDBACK, KEEP_ALL, tmp_path / "graph")
    transform({tmp_path / "train": tmp_path / "out"}, SCHEMA, FEEDBACK, tmp_path / "graph")
    (read_back,) = read_record_batches(tmp_path / "out", {time: "int"})
    assert read_back[time].to_pylist() == [[0, 9000 + n, 7200] for n in range(3)]
    write(tmp_path / "without", [session("s", "ab")])
    transform({tmp_path / "without": tmp_path / "out2"}, SCHEMA, FEEDBACK, tmp_path / "graph")
    (read_back,) = read_record_batches(tmp_path / "out2", {time: "int"})
    assert read_back[time].to_pylist() == [None]


def test_counts_or_shards_that_a_runner_loses_do_not_go_unnoticed(tmp_path, monkeypatch):
    from rmtl_tf.data import shuffle

    shards = [[session("s1", "ab")], [session("s2", "ba")]]
    whole = shuffle.gather
    monkeypatch.setattr(shuffle, "gather", lambda pieces: whole(list(pieces)[:1]))
    with pytest.raises(RuntimeError, match="the Beam runner lost results"):
        fit(tmp_path, *shards)
    monkeypatch.undo()
    fit(tmp_path, *shards)
    monkeypatch.setattr("rmtl_tf.data.transform.write_record_batches", lambda *_: 0)
    with pytest.raises(RuntimeError, match="the Beam runner lost 2 shards"):
        transform({tmp_path / "train": tmp_path / "out"}, SCHEMA, FEEDBACK, tmp_path / "graph")
