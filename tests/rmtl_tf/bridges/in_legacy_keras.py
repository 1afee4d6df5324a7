"""Tests of the TFRS bridge; `test_tfrs.py` runs them in a process with TF_USE_LEGACY_KERAS=1."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from rmtl_tf.bridges.sessions import session_table
from rmtl_tf.bridges.tfrs import learn_weights
from rmtl_tf.config import TrainingConfig, TransformConfig
from rmtl_tf.errors import UserError
from rmtl_tf.schema import read_schema

SCHEMA = """
feature { name: "visit" type: BYTES annotation { tag: "session" } }
feature { name: "at" type: INT annotation { tag: "timestamp" } }
feature { name: "left" type: BYTES annotation { tag: "step" } }
feature { name: "price" type: FLOAT annotation { tag: "step" } }
feature { name: "clicked" type: INT annotation { tag: "label:click" } }
feature { name: "bought" type: INT annotation { tag: "label:buy" } }
"""
TASKS = {"click": "clicked", "buy": "bought"}
TRAINING = TrainingConfig.model_validate(
    {
        "batch_size": 64,
        "arms": [
            "control",
            "paper",
            {"name": "surgery", "weighting": {"name": "pcgrad"}},
            {"name": "long", "weighting": {"name": "session_balanced"}},
        ],
        "critic": {
            "target": "monte_carlo",
            "bottom": [16],
            "action": 4,
            "tower": [8],
            "dropout": 0.0,
            "learning_rate": 1e-2,
            "max_epochs": 8,
        },
    }
)
SHORT = TRAINING.model_copy(update={"critic": TRAINING.critic.model_copy(update={"max_epochs": 1})})


def records(sessions=150, seed=0):
    """Records in random order. `left` says how many records of the session are still to come."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 7, sessions)
    count = lengths.sum()
    place = np.concatenate([np.arange(length) for length in lengths])
    columns = {
        "visit": np.repeat([f"v{n}" for n in range(sessions)], lengths),
        "at": place + 1000 * np.repeat(np.arange(sessions), lengths),
        "left": (np.repeat(lengths, lengths) - place).astype(str),
        "price": rng.choice(np.float32([1, 2, np.nan]), count),
        "clicked": rng.integers(0, 2, count).astype(np.float32),
        "bought": rng.integers(0, 2, count).astype(np.float32),
    }
    order = rng.permutation(count)
    return {name: values[order] for name, values in columns.items()}


class Ranker(tfrs.models.Model):
    """Logits, or probabilities, of both tasks from the price alone; dropout in training."""

    def __init__(self, probabilities=False):
        super().__init__()
        self.heads = {
            name: tf.keras.layers.Dense(1, "sigmoid" if probabilities else None, kernel_initializer="ones")
            for name in TASKS
        }
        self.dropout = tf.keras.layers.Dropout(0.5)
        loss = tf.keras.losses.BinaryCrossentropy(from_logits=not probabilities)
        self.ranking = {name: tfrs.tasks.Ranking(loss=loss) for name in TASKS}
        self.session_weights = None

    def call(self, inputs, training=False):
        price = tf.where(tf.math.is_nan(inputs["price"]), 0.0, inputs["price"])[:, tf.newaxis]
        return {name: head(self.dropout(price, training=training)) for name, head in self.heads.items()}

    def compute_loss(self, inputs, training=False):
        logits, omega = self(inputs), self.session_weights(inputs)
        return tf.add_n(
            [task(inputs[TASKS[n]][:, tf.newaxis], logits[n], omega[n]) for n, task in self.ranking.items()]
        )


def tensors(columns):
    return {name: tf.constant(values) for name, values in columns.items()}


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    path = tmp_path_factory.mktemp("schema") / "s.pbtxt"
    path.write_text(SCHEMA)
    return read_schema(path)


def learn(model, schema, **options):
    options = {"training": TRAINING, "transform": TransformConfig(time=()), "embedding_dim": 4, **options}
    return learn_weights(model, records(), records(60, seed=1), schema, **options)


@pytest.fixture(scope="module")
def learnt(schema):
    model = Ranker()
    model.session_weights = learn(model, schema)
    return model


def test_keras_2_and_keras_3_live_in_this_process():
    import keras

    assert tf.keras.Model.__module__.startswith("tf_keras")
    assert keras.__version__.startswith("3.")


def test_the_critic_learns_the_return_of_the_frozen_tfrs_model(learnt):
    report = learnt.session_weights.report
    for task in TASKS:
        assert report[f"correlation/{task}"] > 0.6  # the records to come tell most of it
        assert abs(report[f"bias/{task}"]) < 0.3 * abs(report[f"return_mean/{task}"])


def test_omega_is_one_minus_lambda_q_of_the_offline_states_in_the_order_of_the_records(learnt, schema):
    weights, columns = learnt.session_weights, records()
    table, order = session_table(columns, schema, weights._encoder.graph)
    logits = tf.concat(list(learnt(tensors(columns)).values()), axis=1).numpy()[order]
    q = weights._agent._critic()(table.features, tf.sigmoid(logits), training=False).numpy()
    for k, task in enumerate(TASKS):
        np.testing.assert_allclose(weights.omega[task][order], 1 - 0.7 * q[:, k], rtol=1e-5)
        assert weights.omega[task].std() > 0.1


def test_omega_enters_the_loss_as_sample_weight(learnt):
    columns = records(20, seed=2)
    omega = learnt.session_weights.measure(columns)
    expected = 0.0
    for task, logits in learnt(tensors(columns)).items():
        z, y = logits.numpy()[:, 0], columns[TASKS[task]]
        expected += np.mean(omega[task] * (np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0) - z * y))
    np.testing.assert_allclose(learnt.compute_loss(tensors(columns)), expected, rtol=1e-4)


def test_training_moves_the_tfrs_model_and_not_the_critic_and_omega_follows(schema):
    model = Ranker()
    model.session_weights = learn(model, schema, training=SHORT)
    critic = model.session_weights._agent._critic()
    before, theta = [np.array(v) for v in critic.weights], model.get_weights()
    omega = model.session_weights.omega["click"].copy()
    model.compile(optimizer=tf.keras.optimizers.Adam(0.3))
    model.fit(tf.data.Dataset.from_tensor_slices(records()).batch(64), epochs=3, verbose=0)
    for old, new in zip(before, critic.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert all((old != new).any() for old, new in zip(theta, model.get_weights(), strict=True))
    assert len(model.trainable_variables) == 4
    assert np.abs(model.session_weights.measure(records())["click"] - omega).max() > 1e-3


def test_the_same_seed_gives_the_same_weights(schema):
    one, same, other = (learn(Ranker(), schema, training=SHORT, seed=seed).omega for seed in (0, 0, 1))
    for task in TASKS:
        np.testing.assert_array_equal(one[task], same[task])
        assert (one[task] != other[task]).any()


def test_probabilities_count_as_their_logits(schema):
    logits, probabilities = (
        learn(Ranker(kind), schema, probabilities=kind, training=SHORT).omega["buy"] for kind in (False, True)
    )
    np.testing.assert_allclose(logits, probabilities, rtol=1e-3)


def test_constant_weights_are_exactly_one_and_need_no_critic(schema):
    weights = learn(Ranker(), schema, arm="control")
    assert weights.report == {}
    for task in TASKS:
        np.testing.assert_array_equal(weights.omega[task], 1.0)


class OneAnswer(Ranker):
    def call(self, inputs):
        return {"click": super().call(inputs)["click"]}


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (Ranker, {"arm": "papr"}, r'no "papr"; did you mean "paper"'),
        (Ranker, {"arm": "surgery"}, "received pcgrad"),
        (Ranker, {"arm": "long"}, r"session_balanced, which reads \['session_length'\]"),
        (tf.keras.Sequential, {}, r"expected a tfrs\.models\.Model, received Sequential"),
        (OneAnswer, {}, r"the tasks \['click', 'buy'\], as a dict or as \[N, 2\]; received \['click'\]"),
    ],
)
def test_what_cannot_be_weighed_is_refused(schema, make, options, message):
    with pytest.raises(UserError, match=message):
        learn(make(), schema, **options)
