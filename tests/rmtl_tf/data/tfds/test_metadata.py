from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow_datasets as tfds

from rmtl_tf.data.records import batch_of, shard_path, write_record_batches
from rmtl_tf.data.session_reader import SessionReader
from rmtl_tf.data.splits import SPLITS, split_dir
from rmtl_tf.data.tfds.metadata import dataset_name, raw_columns, transformed_columns, write_metadata
from rmtl_tf.files import digest_tree
from rmtl_tf.schema import DataSchema, Feature, Task, read_schema

CHECKOUT = Path(__file__).resolve().parents[4]
FEEDBACK = ("past_records",)
SCHEMA = DataSchema(
    features=(
        Feature("session_id", "key", context=True, required=True),
        Feature("user", "categorical", context=True, required=True),
        Feature("item", "categorical", required=True),
        Feature("age", "numeric", context=True),
        Feature("price", "numeric"),
        Feature("time", "timestamp", required=True),
        Feature("click", "label", required=True),
    ),
    tasks=(Task("click"),),
    labels=("click",),
    user="user",
    item="item",
    timestamp="time",
    session="session_id",
)


@pytest.fixture
def examples(tmp_path):
    """Three shards a split; the one in the middle is empty. Lengths 1 to 3, missing values among them."""
    for split in SPLITS:
        for shard in range(3):
            sessions = [] if shard == 1 else [1, 3, 2]
            columns = {
                "session_id": [[f"{split}{shard}{i}".encode()] for i in range(len(sessions))],
                "lookahead": [[i % 2] for i in range(len(sessions))],
                "user": [[b"u"]] * len(sessions),
                "age": [[float("nan") if i == 1 else 30.5] for i in range(len(sessions))],
                "item": [[b"a", b"", b"c"][:n] for n in sessions],
                "price": [[0.5, float("nan"), 2.5][:n] for n in sessions],
                "time": [[10, 11, 12][:n] for n in sessions],
                "click": [[1, 0, 1][:n] for n in sessions],
                "past_records": [[0.0, 1.0, 2.0][:n] for n in sessions],
            }
            batches = (
                [batch_of({name: pa.array(values) for name, values in columns.items()})] if sessions else []
            )
            write_record_batches(shard_path(split_dir(tmp_path, split), shard, 3), batches)
    write_metadata(tmp_path, "shop", raw_columns(SCHEMA, FEEDBACK), "a shop")
    return tmp_path


def test_tfds_reads_the_values_that_the_session_reader_reads(examples):
    reader = SessionReader(SCHEMA, FEEDBACK)
    for split in SPLITS:
        read = list(tfds.as_numpy(tfds.builder_from_directory(examples).as_dataset(split=split)))
        shards = sorted(split_dir(examples, split).glob("data-*.tfrecord"))
        expected = [records for shard in shards for records in reader.read(shard)]
        assert len(read) == sum(records.steps.size for records in expected) == 6
        ids = [value for records in expected for value in records.session_id.to_pylist()]
        assert [row["session_id"] for row in read] == ids
        assert [row["lookahead"] for row in read] == [int(v) for r in expected for v in r.lookahead]
        for name in ("user", "age", "item", "price", "time", "click", "past_records"):
            flat = np.concatenate([np.asarray(records.columns[name]) for records in expected])
            steps = [
                np.full(row["time"].size, row[name]) if name in ("user", "age") else row[name] for row in read
            ]
            np.testing.assert_array_equal(np.concatenate(steps), flat)


def test_the_splits_are_described_with_their_shards(examples):
    info = tfds.builder_from_directory(examples).info
    assert (info.name, info.description.strip()) == ("shop", "a shop")
    assert set(info.splits) == set(SPLITS)
    assert all(split.shard_lengths == [3, 0, 3] for split in info.splits.values())
    part = tfds.builder_from_directory(examples).as_dataset(split="train[3:]")
    assert [row["session_id"] for row in tfds.as_numpy(part)] == [b"train20", b"train21", b"train22"]


def test_the_same_records_have_the_same_metadata(examples):
    before = digest_tree(examples)
    write_metadata(examples, "shop", raw_columns(SCHEMA, FEEDBACK), "a shop")
    assert digest_tree(examples) == before
    assert {"dataset_info.json", "features.json"} <= before.keys()
    for name in ("dataset_info.json", "features.json"):
        assert str(examples) not in (examples / name).read_text()


def test_names_are_made_as_tfds_allows_them():
    assert [dataset_name(name) for name in ("My shop-2", "a.b", "__", "deskdrop")] == [
        "my_shop_2", "a_b", "sessions", "deskdrop",
    ]  # fmt: skip


def test_columns_of_the_pipeline_are_read_with_tfds(tmp_path):
    """ExampleGen and Transform write the metadata themselves."""
    from components.example_gen import ExampleGen, ExampleGenParameters
    from components.transform import Transform, TransformParameters
    from rmtl_tf.config import SimulatorConfig, TransformConfig, load_config
    from rmtl_tf.data.simulator import simulate
    from rmtl_tf.features.graph import TransformGraph

    schema_file = CHECKOUT / "data_schemas" / "simulator.pbtxt"
    keys = ("logs", "examples", "statistics", "transform_graph", "transformed")
    paths = {key: tmp_path / key for key in keys}
    for path in paths.values():
        path.mkdir()
    simulate(paths["logs"], SimulatorConfig(events=3000))
    data = load_config(CHECKOUT / "configs" / "simulator.yaml", [f"data.schema={schema_file}"]).data
    ExampleGen.execute({"logs": paths["logs"]}, paths, ExampleGenParameters.of(data))
    parameters = TransformParameters(
        transform=TransformConfig(), feedback=data.feedback, schema=str(schema_file)
    )
    Transform.execute({"examples": paths["examples"]}, paths, parameters)
    raw = next(iter(tfds.as_numpy(tfds.builder_from_directory(paths["examples"]).as_dataset(split="test"))))
    transformed = tfds.builder_from_directory(paths["transformed"])
    ids = next(iter(tfds.as_numpy(transformed.as_dataset(split="test"))))
    assert raw["session_id"] == ids["session_id"]
    assert raw["click"].tolist() == ids["click"].tolist()
    assert raw["item_id"].dtype == object
    assert (ids["item_id"].dtype, ids["price"].dtype) == (np.int64, np.float32)
    graph = TransformGraph.load(paths["transform_graph"])
    assert set(ids) == {name for name in transformed_columns(graph) if not name.startswith("#time:")}
    assert set(raw) - {"session_id", "lookahead"} >= {f.name for f in read_schema(schema_file).inputs}
