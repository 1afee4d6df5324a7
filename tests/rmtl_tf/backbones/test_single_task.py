"""Tests of `SingleTask`."""

import keras
import numpy as np
import tensorflow as tf

from rmtl_tf.backbones import SharedBottom, SingleTask
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.schema import Task


def copy_task(source, k, target):
    """Task k of a `SingleTask` into a one-task `SharedBottom`."""
    width = target.embedding_dim
    columns = slice(k * width, (k + 1) * width)
    target.embedding.table.assign(source.embedding.table[:, columns])
    target.embedding.numeric.kernel.assign(source.embedding.numeric.kernel[:, columns])
    target.embedding.numeric.bias.assign(source.embedding.numeric.bias[columns])
    parts = [(source.bottoms[k], target.shared), (source.towers.hidden[k], target.towers.hidden[0])]
    parts.append((source.towers.output_layers[k], target.towers.output_layers[0]))
    for one, other in parts:
        for variable, value in zip(other.weights, one.weights, strict=True):
            variable.assign(value)


def sgd_steps(backbone, inputs, labels):
    optimizer = keras.optimizers.SGD(0.5)
    for _ in range(5):
        with tf.GradientTape() as tape:
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels, backbone(inputs))
            loss = tf.reduce_sum(tf.reduce_mean(losses, axis=0))
        variables = backbone.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)


def test_training_together_equals_training_each_task_alone(spec, tasks, batch, small):
    small = {**small, "dropout": 0.0}
    together = SingleTask(spec, tasks(3), **small)
    together.build()
    labels = np.random.default_rng(1).integers(0, 2, (20, 3)).astype(np.float32)
    alone = [SharedBottom(spec, [task], **small) for task in tasks(3, chain=False)]
    for k, one in enumerate(alone):
        one.build()
        copy_task(together, k, one)
    before = together(batch(20)).numpy()
    sgd_steps(together, batch(20), labels)
    for k, one in enumerate(alone):
        sgd_steps(one, batch(20), labels[:, k : k + 1])
        np.testing.assert_allclose(one(batch(20))[:, 0], together(batch(20))[:, k], rtol=1e-4, atol=1e-5)
    assert np.abs(together(batch(20)).numpy() - before).max() > 0.05


def test_a_tasks_loss_reaches_no_other_tasks_weights(spec, tasks, batch, small):
    backbone = SingleTask(spec, tasks(2), **{**small, "dropout": 0.0})
    backbone.build()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(backbone(batch(30))[:, 1] ** 2)
    sources = [backbone.embedding.table.value, backbone.embedding.numeric.kernel.value]
    for gradient in map(tf.convert_to_tensor, tape.gradient(loss, sources)):
        assert (gradient[:, :4].numpy() == 0).all()
        assert (gradient[:, 4:].numpy() != 0).any()


def test_one_table_holds_the_tables_of_all_tasks(spec, tasks, small):
    backbone = SingleTask(spec, tasks(3), **small)
    backbone.build()
    assert backbone.embedding_dim == 4
    assert tuple(backbone.embedding.table.shape) == (12, 3 * 4)


def test_parameters_at_paper_size():
    spec = InputSpec(categorical=tuple((f"f{i}", 1000) for i in range(7)))
    backbone = SingleTask(spec, [Task("click"), Task("buy")])
    backbone.build()
    embedding = 7 * 1000 * 128
    bottom = (7 * 128 * 512 + 512) + (512 * 256 + 256)
    tower = (256 * 128 + 128) + (128 * 64 + 64) + (64 + 1)
    expected = 2 * (embedding + bottom + tower)
    assert sum(int(np.prod(v.shape)) for v in backbone.trainable_variables) == expected


def test_cross_layers_cross_each_tasks_own_state(spec, tasks, batch, small):
    source = SingleTask(spec, tasks(2), cross_layers=2, **small)
    source.build()
    together = source(batch())
    for k in range(2):
        alone = SharedBottom(spec, tasks(1), cross_layers=2, **small)
        alone.build()
        copy_task(source, k, alone)
        for variable, value in zip(alone.cross.weights, source.crosses[k].weights, strict=True):
            variable.assign(value)
        np.testing.assert_allclose(together[:, k], alone(batch())[:, 0], rtol=1e-5, atol=1e-6)
