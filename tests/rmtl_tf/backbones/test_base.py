"""Tests of what every backbone promises, and of the registry."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.backbones import BACKBONES, build_backbone
from rmtl_tf.backbones.base import Backbone
from rmtl_tf.config import ModelConfig
from rmtl_tf.errors import UserError
from rmtl_tf.schema import Task

every = pytest.mark.parametrize("kind", BACKBONES.values(), ids=BACKBONES.keys())


@every
def test_one_logit_a_task_for_any_number_of_records(kind, spec, tasks, batch, small):
    backbone = kind(spec, tasks(3), **small)
    for n in (1, 6):
        assert backbone(batch(n)).shape == (n, 3)
    assert backbone.compute_output_shape({"user": (None,)}) == (None, 3)


@every
def test_records_do_not_influence_each_other(kind, spec, tasks, batch, small):
    backbone, inputs = kind(spec, tasks(2), **small), batch(6)
    part = {name: value[2:4] for name, value in inputs.items()}
    np.testing.assert_allclose(backbone(part), backbone(inputs)[2:4], rtol=1e-5, atol=1e-6)


@every
def test_same_seed_gives_the_same_bits_whatever_the_global_seed(kind, spec, tasks, batch, small):
    def results(seed):
        backbone = kind(spec, tasks(2), id_dropout=0.3, **{**small, "seed": seed})
        return [backbone(batch()).numpy(), *[backbone(batch(), training=True).numpy() for _ in range(2)]]

    keras.utils.set_random_seed(1)
    first = results(7)
    keras.utils.set_random_seed(2)
    for a, b in zip(first, results(7), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first[0] != results(8)[0]).any()
    assert (first[0] != first[1]).any()
    assert (first[1] != first[2]).any()


@every
def test_first_call_inside_a_tf_function_gives_the_same_bits(kind, spec, tasks, batch, small):
    eager, traced = kind(spec, tasks(2), **small), kind(spec, tasks(2), **small)
    eager(batch()), tf.function(lambda x: traced(x, training=False))(batch())
    for a, b in zip(eager.variables, traced.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    np.testing.assert_allclose(traced(batch()), eager(batch()), rtol=1e-6)


@every
def test_state_and_logits_are_the_two_halves_of_call(kind, spec, tasks, batch, small):
    backbone = kind(spec, tasks(2), **small)
    full = backbone(batch())
    np.testing.assert_array_equal(backbone.logits(backbone.state(batch())), full)


@every
def test_training_reaches_every_weight(kind, spec, tasks, batch, small):
    backbone = kind(spec, tasks(3), **{**small, "dropout": 0.0, "bottom": (16, 16), "tower": (16,)})
    backbone.build()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(backbone(batch(50), training=True) ** 2)
        if hasattr(backbone, "logits_and_loss"):
            loss += backbone.logits_and_loss(batch(50), tf.ones((50, 3)), tf.ones(50))[1]
    for variable, gradient in zip(
        backbone.trainable_variables, tape.gradient(loss, backbone.trainable_variables), strict=True
    ):
        assert gradient is not None, variable.path
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.path


@every
def test_random_state_is_among_the_variables(kind, spec, tasks, batch, small):
    """A checkpoint of `variables` resumes dropout where it was."""
    one, two = (kind(spec, tasks(2), id_dropout=0.3, **small) for _ in range(2))
    two.build()
    one(batch(), training=True)
    for source, target in zip(one.variables, two.variables, strict=True):
        target.assign(source)
    np.testing.assert_array_equal(one(batch(), training=True), two(batch(), training=True))


@every
def test_config_round_trip(kind, spec, tasks, batch, small):
    backbone = kind(spec, tasks(3), id_dropout=0.1, cross_layers=1, name="actor", **small)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(backbone))
    assert type(copy) is kind
    assert copy.get_config() == backbone.get_config()
    assert copy.tasks == tuple(tasks(3))
    copy.build()
    np.testing.assert_array_equal(copy(batch()), backbone(batch()))


@every
def test_keras_file_round_trip_inside_a_model(kind, spec, tasks, batch, small, tmp_path):
    inputs = {name: keras.Input((), name=name, dtype=value.dtype.name) for name, value in batch().items()}
    model = keras.Model(inputs, kind(spec, tasks(2), **small)(inputs))
    for variable in model.weights:
        variable.assign(variable + 0.01)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(batch()), model(batch()))


@every
def test_weights_file_round_trip_of_a_subclassed_model(kind, spec, tasks, batch, small, tmp_path):
    class Actor(keras.Model):
        def __init__(self, seed):
            super().__init__()
            self.backbone = kind(spec, tasks(2), **{**small, "seed": seed})

        def call(self, inputs, training=False):
            return self.backbone(inputs, training=training)

    one, two = Actor(1), Actor(2)
    expected = one(batch()).numpy()
    one.save_weights(tmp_path / "actor.weights.h5")
    assert (two(batch()).numpy() != expected).any()
    two.load_weights(tmp_path / "actor.weights.h5")
    np.testing.assert_array_equal(two(batch()), expected)


@every
def test_saved_model_serves_the_same_logits(kind, spec, tasks, batch, small, tmp_path):
    module = tf.Module()
    module.backbone = kind(spec, tasks(3), id_dropout=0.3, cross_layers=1, **small)
    expected = module.backbone(batch()).numpy()
    signature = {name: tf.TensorSpec([None], value.dtype) for name, value in batch().items()}
    module.serve = tf.function(lambda x: module.backbone(x, training=False), input_signature=[signature])
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(loaded.serve(batch()), expected, rtol=1e-6)


@every
def test_without_cross_layers_there_is_no_trace_of_them(kind, spec, tasks, batch, small):
    plain, zero = kind(spec, tasks(2), **small), kind(spec, tasks(2), cross_layers=0, **small)
    np.testing.assert_array_equal(plain(batch()), zero(batch()))
    assert not [v.path for v in zero.variables if re.search(r"/cross(_\d+)?/", v.path)]


@every
def test_keras_file_round_trip_with_cross_layers(kind, spec, tasks, batch, small, tmp_path):
    inputs = {name: keras.Input((), name=name, dtype=value.dtype.name) for name, value in batch().items()}
    model = keras.Model(inputs, kind(spec, tasks(2), cross_layers=1, **small)(inputs))
    for variable in model.weights:
        variable.assign(variable + 0.01)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(batch()), model(batch()))


def test_a_users_own_backbone_is_a_subclass_with_logits(spec, tasks, batch):
    class Linear(Backbone):
        """TensorFlow operations are as good as Keras ones."""

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.linear = keras.layers.Dense(len(self.tasks), kernel_initializer=keras.initializers.Ones())

        def logits(self, state, training=False):
            return self.linear(tf.square(state))

    backbone = Linear(spec, tasks(2), embedding_dim=4)
    expected = np.repeat((backbone.embedding(batch()).numpy() ** 2).sum(axis=1, keepdims=True), 2, axis=1)
    np.testing.assert_allclose(backbone(batch()), expected, rtol=1e-5)


@pytest.mark.parametrize("tasks", [[], [Task("click"), Task("click")]])
def test_tasks_must_be_there_and_distinct(tasks, spec):
    with pytest.raises(UserError, match="every name once"):
        BACKBONES["shared_bottom"](spec, tasks)


@pytest.mark.parametrize("name", BACKBONES)
def test_configuration_sets_every_size(name, spec, tasks):
    config = ModelConfig(
        backbone=name,
        embedding_dim=8,
        bottom=(7, 6),
        tower=(5,),
        experts=3,
        shared_experts=2,
        task_experts=1,
        levels=3,
        critic_heads=2,
        counterfactual_weight=0.5,
        calibrator_weight=0.1,
        cross_layers=2,
        dropout=0.3,
        id_dropout=0.1,
    )
    backbone = build_backbone(config, spec, tasks(2), seed=11)
    assert type(backbone) is BACKBONES[name]
    own = backbone.get_config()
    assert own["seed"] == 11
    assert own["spec"] == spec.get_config()
    settings = {key: own[key] for key in own.keys() & ModelConfig.model_fields.keys()}
    assert {"embedding_dim", "bottom", "tower", "dropout", "id_dropout", "cross_layers"} <= settings.keys()
    assert settings == {key: getattr(config, key) for key in settings}


@pytest.mark.parametrize("name", BACKBONES)
def test_defaults_are_those_of_the_configuration(name, spec, tasks):
    own, configured = (
        b.get_config()
        for b in (BACKBONES[name](spec, tasks(2)), build_backbone(ModelConfig(backbone=name), spec, tasks(2)))
    )
    assert own | {"name": name} == configured


def test_unknown_backbone_names_the_nearest(spec, tasks):
    with pytest.raises(UserError, match=r'no "mmeo"; did you mean "mmoe"\?'):
        build_backbone(ModelConfig(backbone="mmeo"), spec, tasks(2))


def test_an_own_class_that_is_no_backbone_is_refused(spec, tasks):
    with pytest.raises(
        UserError, match=r"subclass of rmtl_tf\.backbones\.base\.Backbone, received keras:Model"
    ):
        build_backbone(ModelConfig(backbone="keras:Model"), spec, tasks(2))
