from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from rmtl_tf.backbones import BACKBONES, build_backbone
from rmtl_tf.config import CompressionConfig, ModelConfig, TrainingConfig
from rmtl_tf.errors import UserError
from rmtl_tf.features.apply import GraphApplier
from rmtl_tf.features.compression import compression_of
from rmtl_tf.features.graph import Categorical, Numeric, Rate, TimePart, TransformGraph
from rmtl_tf.files import read_json
from rmtl_tf.schema import Task
from rmtl_tf.training.checkpoint import assign
from rmtl_tf.training.networks import build, weights_of
from rmtl_tf.training.predict import Predictor
from rmtl_tf.training.problem import Problem
from rmtl_tf.training.run import load_actor, run_training
from rmtl_tf.training.validation import validation_metrics
from rmtl_tf.training.warm_start import transfer
from tests.conftest import make_table

TASKS = (Task("click"), Task("buy", parent="click"))
MODEL = ModelConfig(embedding_dim=3, bottom=(6,), tower=(4,), experts=2, shared_experts=1, task_experts=1)


def graph(users, items, mean=2.0, std=0.5, rate=(0.1, 0.05)) -> TransformGraph:
    return TransformGraph(
        features=(
            Categorical("user", tuple(users), is_id=True),
            Categorical("item", tuple(items), is_id=True),
            Numeric("price", mean, std, log=True),
            Numeric("age", 30 * mean, 9 * std),
            Rate("past_click_rate", "positive", "known", 0.1, 2.0, *rate),
            TimePart("hour", "time"),
        ),
        tasks=TASKS,
        labels=("click", "buy"),
        timestamp="time",
    )


OLD = graph("abc", "pqrs")
NEW = graph("cdab", "sptuq", mean=2.4, std=0.7, rate=(0.2, 0.08))


def records(users, items) -> dict:
    rng = np.random.default_rng(0)
    count = len(users)
    return {
        "user": pa.array([value.encode() for value in users], pa.large_binary()),
        "item": pa.array([value.encode() for value in items], pa.large_binary()),
        "price": rng.uniform(2, 20, count).astype(np.float32),
        "age": rng.uniform(40, 80, count).astype(np.float32),
        "positive": rng.integers(0, 3, count).astype(np.float32),
        "known": rng.integers(2, 9, count).astype(np.float32),
        "time": rng.integers(0, 10**9, count),
    }


def model(name: str, described: TransformGraph, seed: int, **settings):
    config = MODEL.model_copy(update={"backbone": name, **settings})
    backbone = build_backbone(config, described.input_spec(), TASKS, seed)
    build(backbone, described.input_spec())
    return backbone


def answers(backbone, described: TransformGraph, raw: dict) -> np.ndarray:
    return np.array(backbone(GraphApplier(described)(raw)))


@pytest.mark.parametrize("name", BACKBONES)
def test_the_new_model_answers_as_the_old_one_for_known_unknown_and_forgotten_values(name):
    # "d", "t", "u" are new, "r" is forgotten: the old model knew it, the new one cannot.
    raw = records("abcdzcab", "pqspzstu")
    old, new = model(name, OLD, 0), model(name, NEW, 1)
    assert np.abs(answers(new, NEW, raw) - answers(old, OLD, raw)).max() > 1e-3
    transfer(old, OLD, new, NEW)
    np.testing.assert_allclose(answers(new, NEW, raw), answers(old, OLD, raw), rtol=1e-4, atol=1e-5)


def test_it_says_how_much_of_each_vocabulary_was_known():
    known = transfer(model("mmoe", OLD, 0), OLD, model("mmoe", NEW, 1), NEW)
    assert known == {"user": 3 / 4, "item": 3 / 5}


def test_a_value_the_old_model_did_not_know_learns_apart_from_the_unknown_one():
    old, new = model("mmoe", OLD, 0), model("mmoe", NEW, 1)
    transfer(old, OLD, new, NEW)
    table = np.array(new.embedding.table)[new.embedding.field_rows("user")]
    np.testing.assert_array_equal(table[3], table[1])  # "d" starts as unknown, in a row of its own
    assert len(table) == 6


def hashed(users, items, users_in=0, items_in=0) -> TransformGraph:
    features = (
        Categorical("user", tuple(users), is_id=True, buckets=users_in),
        Categorical("item", tuple(items), is_id=True, buckets=items_in),
    )
    return TransformGraph(features, TASKS, ("click", "buy"), "time")


def test_hashed_values_are_answered_as_by_the_old_model_where_they_get_rows_or_more_buckets():
    # "d" gets a row, "c" loses none, the items' buckets are doubled, users' buckets are new.
    before, after = hashed("abc", "pq", items_in=3), hashed("abcd", "pqs", users_in=4, items_in=6)
    raw = records("abcdzy", "pqsxyz")
    old, new = model("mmoe", before, 0), model("mmoe", after, 1)
    known = transfer(old, before, new, after)
    np.testing.assert_allclose(answers(new, after, raw), answers(old, before, raw), rtol=1e-4, atol=1e-5)
    assert known == {"user": 3 / 4, "item": 2 / 3}


def test_buckets_that_would_be_mixed_are_refused():
    before, after = hashed("ab", "pq", items_in=4), hashed("ab", "pq", items_in=6)
    with pytest.raises(UserError, match="4 hash buckets and would have 6"):
        transfer(model("mmoe", before, 0), before, model("mmoe", after, 1), after)


def compressed(described: TransformGraph, seed: int, features: dict):
    spec = described.input_spec()
    spec = replace(spec, compression=compression_of(CompressionConfig(features=features), spec.categorical))
    backbone = build_backbone(MODEL.model_copy(update={"backbone": "mmoe"}), spec, TASKS, seed)
    build(backbone, spec)
    return backbone


def test_a_compressed_table_moves_where_its_ids_stay():
    before, after = hashed("ab", "", items_in=12), hashed("bac", "", items_in=12)
    old, new = compressed(before, 0, {"item": 4}), compressed(after, 1, {"item": 4})
    raw = records("abcz", "pqrs")
    transfer(old, before, new, after)
    np.testing.assert_allclose(answers(new, after, raw), answers(old, before, raw), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("items", "ratio"), [("qpabcdefghijkl", 4), ("pqabcdefghijkl", 3), ("pqabcdefghijkl", 1)]
)
def test_a_compressed_table_of_other_ids_is_refused(items, ratio):
    before, after = hashed("ab", "pqabcdefghijkl"), hashed("ab", items)
    with pytest.raises(UserError, match=r"table of 'item' is compressed.*hash_buckets"):
        transfer(compressed(before, 0, {"item": 4}), before, compressed(after, 1, {"item": ratio}), after)


def test_equal_graphs_give_equal_weights():
    old, new = model("ple", OLD, 0), model("ple", OLD, 1)
    transfer(old, OLD, new, OLD)
    for before, after in zip(old.weights, new.weights, strict=True):
        np.testing.assert_array_equal(before, after)


def test_another_architecture_is_refused():
    with pytest.raises(UserError, match="same architecture"):
        transfer(model("mmoe", OLD, 0), OLD, model("mmoe", NEW, 1, bottom=(7,)), NEW)
    with pytest.raises(UserError, match="same architecture"):
        transfer(model("mmoe", OLD, 0), OLD, model("ple", NEW, 1), NEW)


def test_other_inputs_are_named():
    fewer = TransformGraph(OLD.features[:-1], TASKS, OLD.labels, OLD.timestamp)
    with pytest.raises(UserError, match="without \\['time hour'\\]"):
        transfer(model("mmoe", fewer, 0), fewer, model("mmoe", NEW, 1), NEW)


def test_a_training_keeps_the_earlier_weights_where_no_epoch_beats_them(tmp_path):
    spec = OLD.input_spec()
    tables = [make_table([3, 4, 2] * 10, spec=spec, seed=seed) for seed in (0, 1)]
    start = weights_of(model("mmoe", OLD, 7))
    still = {"max_epochs": 1, "learning_rate": 1e-12, "weight_decay": 0.0}  # no step changes a bit
    training = TrainingConfig(batch_size=64, arms=["control"], pretrain=still, finetune=still)
    config = MODEL.model_copy(update={"backbone": "mmoe"})
    run_training(Problem(spec, TASKS, *tables), OLD, "item", config, training, 0, tmp_path, start)
    pretrained = read_json(tmp_path / "run.json")["arms"][0]
    expected = validation_metrics(tables[1], Predictor(model_with(start), tables[1])(), ("click", "buy"))
    assert pretrained["best_epoch"] == 0
    assert pretrained["validation"] == pytest.approx(expected)
    for before, after in zip(start, load_actor(tmp_path, "pretrained", OLD).weights, strict=True):
        np.testing.assert_array_equal(before, after)


def model_with(weights):
    backbone = model("mmoe", OLD, 0)
    assign(backbone.weights, weights)
    return backbone
