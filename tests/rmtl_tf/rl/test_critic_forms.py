"""Every form of critic against its formula in numpy, and what all of them promise."""

from __future__ import annotations

from typing import get_args

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.config import CriticConfig
from rmtl_tf.rl.critic_base import OUTPUTS
from rmtl_tf.rl.critic_forms import FORMS, build_critic
from tests.conftest import make_table, small_spec

every_form = pytest.mark.parametrize("form", FORMS)


def make_critic(form, tasks=2, seed=1, **changes):
    settings = {"bottom": (6, 5), "action": 3, "tower": (4,), "dropout": 0.3, **changes}
    return build_critic(CriticConfig(form=form, **settings), small_spec(), tasks, embedding_dim=4, seed=seed)


def make_batch(tasks=2):
    table = make_table([5, 4, 3])
    return table.features, np.random.default_rng(0).random((table.rows, tasks)).astype(np.float32)


def relu(x):
    return np.maximum(x, 0)


def softplus(x):
    return np.log1p(np.exp(x))


def affine(layer, x):
    return x @ np.array(layer.kernel) + np.array(layer.bias)


def stack(mlp, x):
    for layer in mlp.dense:
        x = relu(affine(layer, x))
    return x


def numpy_state(embedding, features):
    spec, table = embedding.spec, np.array(embedding.table)
    fields = [table[embedding.field_rows(name)][features[name]] for name, _ in spec.categorical]
    numbers = np.stack([features[name] for name in spec.numeric], 1)
    return np.concatenate([*fields, affine(embedding.numeric, numbers)], 1)


def numpy_shared(critic, features, actions, output):
    state = stack(critic.bottom, numpy_state(critic.embedding, features))
    columns = []
    for k in range(critic.num_tasks):
        action = relu(affine(critic.action_layers[k], actions[:, k : k + 1]))
        columns.append(affine(critic.values[k], stack(critic.heads[k], np.concatenate([state, action], 1))))
    return -output(np.concatenate(columns, 1))


def numpy_separate(critic, features, actions, output):
    columns = []
    for k in range(critic.num_tasks):
        state = numpy_state(critic.task_embeddings[k], features)
        joined = np.concatenate([state, affine(critic.action_layers[k], actions[:, k : k + 1])], 1)
        columns.append(affine(critic.values[k], stack(critic.heads[k], stack(critic.bottoms[k], joined))))
    return -output(np.concatenate(columns, 1))


def numpy_twin(critic, features, actions, output):
    return np.mean([numpy_shared(twin, features, actions, output) for twin in critic.twins], 0)


ORACLES = {"shared": numpy_shared, "separate": numpy_separate, "twin": numpy_twin}


@every_form
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("tasks", [1, 2, 4])
def test_values_equal_the_formula(form, output, tasks):
    critic = make_critic(form, tasks, output=output)
    features, actions = make_batch(tasks)
    expected = ORACLES[form](critic, features, actions, {"softplus": softplus, "relu": relu}[output])
    np.testing.assert_allclose(critic(features, actions), expected, rtol=1e-5, atol=1e-6)


def test_forms_and_outputs_are_those_of_the_configuration():
    assert set(get_args(CriticConfig.model_fields["form"].annotation)) == set(FORMS)
    assert set(get_args(CriticConfig.model_fields["output"].annotation)) == set(OUTPUTS)
    assert type(make_critic("shared")) is FORMS[CriticConfig().form]


@every_form
def test_one_estimate_is_the_value_and_of_several_the_value_is_the_mean(form):
    critic = make_critic(form)
    estimates = critic.estimates(*make_batch())
    assert len(estimates) == (2 if form == "twin" else 1)
    np.testing.assert_allclose(critic(*make_batch()), np.mean(estimates, axis=0), rtol=1e-6)
    if form == "twin":
        assert not np.array_equal(*estimates)


@pytest.mark.parametrize("form", ["shared", "twin"])
@pytest.mark.parametrize("bottom", [(6, 5), ()])
def test_a_value_is_that_of_the_encoded_state_to_the_bit(form, bottom):
    critic = make_critic(form, bottom=bottom)
    features, actions = make_batch()
    encoded = critic.encode(features)
    assert encoded.shape == (len(actions), critic.encoded_width)
    np.testing.assert_array_equal(critic.evaluate(encoded, actions), critic(features, actions))
    changed = critic.evaluate(encoded, actions / 2)
    np.testing.assert_array_equal(changed, critic(features, actions / 2))
    assert not np.array_equal(changed, critic(features, actions))


def test_a_form_whose_first_layer_reads_the_action_has_no_encoded_state():
    critic = make_critic("separate")
    assert critic.encoded_width is None
    with pytest.raises(NotImplementedError, match="SeparateCritics has no encode"):
        critic.encode(make_batch()[0])
    with pytest.raises(NotImplementedError, match="SeparateCritics has no evaluate"):
        critic.evaluate(*make_batch())


@every_form
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("level", [[-0.25, -7.5], [0.0, -1.0], [-5e7, -1e3]])
def test_start_from_sets_the_level_of_the_values(form, output, level):
    critic = make_critic(form, output=output)
    for one in getattr(critic, "twins", [critic]):
        for layer in one.values:
            layer.kernel.assign(tf.zeros_like(layer.kernel))
    critic.start_from(level)
    np.testing.assert_allclose(critic(*make_batch())[0], level, rtol=1e-5, atol=2e-4)


def test_a_negative_relu_dies_and_a_negative_softplus_does_not():
    features, actions = make_batch()
    norms = {}
    for output in OUTPUTS:
        critic = make_critic("shared", output=output)
        for layer in critic.values:
            layer.bias.assign([-20.0])
        with tf.GradientTape() as tape:
            values = critic(features, actions)
        gradients = tape.gradient(values, critic.trainable_variables)
        norms[output] = float(tf.linalg.global_norm([g for g in gradients if g is not None]))
    assert norms["relu"] == 0
    assert norms["softplus"] > 0


def test_an_unknown_output_is_refused():
    with pytest.raises(ValueError, match="softplus"):
        FORMS["shared"](small_spec(), 2, output="tanh")


@every_form
def test_a_task_reads_its_own_action_only(form):
    critic = make_critic(form)
    features, actions = make_batch()
    changed = actions.copy()
    changed[:, 1] = 1 - changed[:, 1]
    before, after = critic(features, actions).numpy(), critic(features, changed).numpy()
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    assert (before[:, 1] != after[:, 1]).any()


def test_separate_critics_share_nothing_between_tasks():
    critic = make_critic("separate")
    features, actions = make_batch()
    with tf.GradientTape() as tape:
        first = critic(features, actions)[:, 0]
    gradients = tape.gradient(first, critic.trainable_variables)
    pairs = zip(critic.trainable_variables, gradients, strict=True)
    of_first = {id(v) for v, g in pairs if np.any(tf.convert_to_tensor(g))}
    own = [critic.task_embeddings[0], critic.action_layers[0], critic.bottoms[0], critic.heads[0]]
    expected = {id(v) for part in (*own, critic.values[0]) for v in part.trainable_variables}
    assert of_first <= expected
    assert {id(critic.task_embeddings[0].table), id(critic.values[0].bias)} <= of_first
    assert len(critic.trainable_variables) == 2 * len(expected)


@every_form
def test_equal_seeds_give_equal_critics_and_others_do_not(form):
    same, again, other = make_critic(form), make_critic(form), make_critic(form, seed=2)
    np.testing.assert_array_equal(same(*make_batch()), again(*make_batch()))
    assert not np.array_equal(same(*make_batch()), other(*make_batch()))


@every_form
def test_config_round_trip_keeps_the_architecture(form):
    critic = make_critic(form, id_dropout=0.2, output="relu")
    copy = FORMS[form].from_config(critic.get_config())
    copy.build()
    for old, new in zip(critic.weights, copy.weights, strict=True):
        assert old.shape == new.shape
        new.assign(old)
    np.testing.assert_array_equal(critic(*make_batch()), copy(*make_batch()))
    assert copy.get_config() == critic.get_config()
    assert keras.saving.get_registered_object(f"rmtl_tf>{FORMS[form].__name__}") is FORMS[form]
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(critic))
    assert restored.get_config() == critic.get_config()


@every_form
def test_embeddings_are_the_critics_own_and_can_start_from_the_actors(form):
    critic = make_critic(form)
    tables = {id(variable) for variable in critic.weights if variable.path.endswith("table")}
    assert {id(embedding.table) for embedding in critic.embeddings} == tables
    assert len(tables) == (1 if form == "shared" else 2)


@every_form
def test_dropout_acts_in_training_only(form):
    critic = make_critic(form, id_dropout=0.5)
    batch = make_batch()
    np.testing.assert_array_equal(critic(*batch), critic(*batch))
    assert not np.array_equal(critic(*batch, training=True), critic(*batch, training=True))


@every_form
def test_variables_exist_once_and_building_twice_is_not_needed(form):
    critic = make_critic(form)
    critic(*make_batch())
    assert len({id(v) for v in critic.variables}) == len(critic.variables)
    count = len(critic.variables)
    critic(*make_batch())
    assert len(critic.variables) == count
