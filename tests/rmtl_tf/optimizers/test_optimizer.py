"""Every rule against numpy, the exact one against Keras' dense Adam; clipping, resume, refusals."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf import xla
from rmtl_tf.optimizers import RULES, TableOptimizer, read_rows, rules
from rmtl_tf.optimizers import optimizer as module_of_it
from rmtl_tf.optimizers.rules import LEAST_SHARE
from tests.rmtl_tf.optimizers.oracles import DECAY, RATE, ROWS, WIDTH, Table, dense, gradients

START = np.random.default_rng(9).normal(size=(ROWS, WIDTH)).astype(np.float32) * 0.1
KERNEL = np.random.default_rng(8).normal(size=(WIDTH, 3)).astype(np.float32)


class Run:
    """A table and a kernel under an optimizer, in a traced step."""

    def __init__(self, optimizer):
        self.optimizer = optimizer
        self.table, self.kernel = keras.Variable(START, name="table"), keras.Variable(KERNEL, name="kernel")
        self.variables = [self.table, self.kernel]
        optimizer.build(self.variables)
        self._step = tf.function(self._apply)

    def _apply(self, rows, values, other):
        slices = tf.IndexedSlices(values, rows, (ROWS, WIDTH))
        self.optimizer.apply([slices, other], self.variables)

    def train(self, parts):
        for rows, values in parts:
            self._step(tf.constant(rows), tf.constant(values), tf.constant(values[:WIDTH, :3]))
        return self

    def state(self):
        return [v.numpy() for v in (*self.variables, *self.optimizer.variables)]


def keras_adam(parts, rate, decay):
    """Table and kernel after Keras' Adam on dense gradients."""
    variables = [keras.Variable(START, name="table"), keras.Variable(KERNEL, name="kernel")]
    optimizer = keras.optimizers.Adam(rate, weight_decay=decay)
    optimizer.build(variables)
    for rows, values in parts:
        full = tf.constant(dense(rows, values), tf.float32)
        optimizer.apply([full, tf.constant(values[:WIDTH, :3])], variables)
    return [v.numpy() for v in variables]


@pytest.mark.parametrize("decay", [None, 0.1])
def test_the_exact_rule_is_dense_adam_after_200_random_steps(decay):
    parts = list(gradients(200))
    expected = keras_adam(parts, 1e-3, decay)
    run = Run(TableOptimizer(1e-3, tables="adam", weight_decay=decay)).train(parts)
    behind = np.abs(run.table.numpy() - expected[0]).max()
    run.optimizer.finalize_variable_values([])
    np.testing.assert_allclose(run.table.numpy(), expected[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(run.kernel.numpy(), expected[1], rtol=0, atol=1e-6)
    assert behind > 1e-4  # what the skipped steps did was waiting


def test_lazy_adam_is_not_dense_adam():
    parts = list(gradients(200))
    run = Run(TableOptimizer(1e-3, tables="adam_lazy")).train(parts)
    assert np.abs(run.table.numpy() - keras_adam(parts, 1e-3, None)[0]).max() > 1e-3


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_equals_its_equations_on_gradients_with_duplicates(rule):
    parts, oracle = list(gradients(40, seed=3)), Table(START)
    run = Run(TableOptimizer(RATE, tables=rule, weight_decay=DECAY)).train(parts)
    for rows, values in parts:
        getattr(oracle, rule)(rows, dense(rows, values))
    run.optimizer.finalize_variable_values([])
    np.testing.assert_allclose(run.table.numpy(), oracle.w, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_equals_its_equations_where_xla_compiles_the_step(rule, monkeypatch):
    monkeypatch.setattr(xla, "chosen", lambda: True)
    parts, oracle = list(gradients(8, seed=3)), Table(START)
    run = Run(TableOptimizer(RATE, tables=rule, weight_decay=DECAY))
    run._step = tf.function(run._apply, jit_compile=True)
    run.train(parts)
    for rows, values in parts:
        getattr(oracle, rule)(rows, dense(rows, values))
    run.optimizer.finalize_variable_values([])
    np.testing.assert_allclose(run.table.numpy(), oracle.w, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("rule", ["adam_lazy", "adagrad", "adagrad_rowwise", "ftrl"])
def test_rows_without_a_gradient_stay_to_the_bit(rule):
    parts = [(np.array([3, 3, 5], np.int32), np.ones((3, WIDTH), np.float32))] * 4
    for rows, values in parts:
        run = Run(TableOptimizer(RATE, tables=rule, weight_decay=DECAY))
        run.optimizer.apply(
            [tf.IndexedSlices(values, rows, (ROWS, WIDTH)), tf.zeros_like(KERNEL)], run.variables
        )
    still = np.delete(np.arange(ROWS), [3, 5])
    np.testing.assert_array_equal(run.table.numpy()[still], START[still])
    assert (run.table.numpy()[[3, 5]] != START[[3, 5]]).all()


def test_what_a_step_reads_is_what_dense_adam_would_have_there():
    """The gradient depends on the rows read: only rows brought up to date before give dense Adam's."""
    random = np.random.default_rng(5)
    batches = [random.integers(0, ROWS if s % 9 == 0 else 6, 8).astype(np.int32) for s in range(60)]
    tables = []
    for optimizer in (TableOptimizer(1e-2, tables="adam"), keras.optimizers.Adam(1e-2)):
        table = keras.Variable(START, name="table")
        optimizer.build([table])
        for rows in batches:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.sin(7.0 * read_rows(table, rows)))
            optimizer.apply([tf.convert_to_tensor(tape.gradient(loss, table.value))], [table])
        optimizer.finalize_variable_values([table])
        tables.append(table.numpy())
    np.testing.assert_allclose(*tables, rtol=0, atol=5e-6)


@pytest.mark.parametrize("rule", RULES)
def test_a_run_resumed_from_its_variables_ends_with_the_same_bits(rule):
    parts = list(gradients(12, seed=1))
    whole = Run(TableOptimizer(RATE, tables=rule, weight_decay=DECAY)).train(parts)
    first = Run(TableOptimizer(RATE, tables=rule, weight_decay=DECAY)).train(parts[:5])
    rest = Run(TableOptimizer(RATE, tables=rule, weight_decay=DECAY))
    for variable, value in zip([*rest.variables, *rest.optimizer.variables], first.state(), strict=True):
        variable.assign(value)
    rest.train(parts[5:])
    for a, b in zip(whole.state(), rest.state(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("clip", ["global_clipnorm", "clipnorm", "clipvalue"])
def test_gradients_are_clipped_after_rows_read_twice_were_summed(clip):
    rows, values = np.array([2, 2, 7], np.int32), np.array([[3.0] * 4, [3.0] * 4, [1.0] * 4], np.float32)
    other = np.full((WIDTH, 3), 2.0, np.float32)
    parts = [dense(rows, values), other]
    norms = [np.linalg.norm(part) for part in parts]
    if clip == "clipvalue":
        expected = np.clip(parts[0], -1.5, 1.5)
    else:
        expected = parts[0] * 1.5 / (np.hypot(*norms) if clip == "global_clipnorm" else norms[0])
    run = Run(TableOptimizer(RATE, tables="adagrad_rowwise", **{clip: 1.5}))
    run.optimizer.apply([tf.IndexedSlices(values, rows, (ROWS, WIDTH)), other], run.variables)
    oracle = Table(START, decay=0.0)
    oracle.adagrad_rowwise(rows, expected)
    sums = run.optimizer.variables[2].numpy()
    np.testing.assert_allclose(sums, oracle.n, rtol=1e-5)
    np.testing.assert_allclose(run.table.numpy(), oracle.w, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rule", ["adam_lazy", "adagrad", "dense"])
def test_a_decay_too_small_for_a_float32_is_left_out_to_the_bit(rule, monkeypatch):
    decay, states = 0.999 * LEAST_SHARE / 1e-3, []
    for least in (LEAST_SHARE, 0.0):
        for module in (module_of_it, rules):
            monkeypatch.setattr(module, "LEAST_SHARE", least)
        states.append(Run(TableOptimizer(1e-3, tables=rule, weight_decay=decay)).train(gradients(20)).state())
    for left_out, subtracted in zip(*states, strict=True):
        np.testing.assert_array_equal(left_out, subtracted)


def test_no_float32_is_changed_by_a_share_below_the_least_and_some_are_by_twice_it():
    mantissas = np.random.default_rng(0).uniform(1, 2, 100_000).astype(np.float32)
    numbers = np.concatenate(
        [mantissas * np.float32(2.0**e) for e in (-126, -20, 0, 30)] + [2.0 ** np.arange(-126, 127)]
    )
    numbers = numbers.astype(np.float32)
    below = np.nextafter(np.float32(LEAST_SHARE), np.float32(0))
    np.testing.assert_array_equal(numbers - numbers * below, numbers)
    assert (numbers - numbers * np.float32(2 * LEAST_SHARE) != numbers).any()


def test_a_decay_starts_to_count_when_the_learning_rate_is_raised():
    run = Run(TableOptimizer(1e-3, tables="dense", weight_decay=1e-6)).train(gradients(1))
    still = Run(TableOptimizer(1e-3, tables="dense")).train(gradients(1))
    for each in (run, still):  # the step is traced
        each.optimizer.learning_rate = 1.0
        each.train(gradients(1))
    lost = 1 - run.table.numpy() / still.table.numpy()
    assert 0 < np.median(lost) < 3e-6


def test_a_gradient_within_the_norm_is_left_to_the_bit():
    tables = []
    for clip in ({}, {"global_clipnorm": 1e3}):
        tables.append(Run(TableOptimizer(RATE, **clip)).train(gradients(3)).table.numpy())
    np.testing.assert_array_equal(*tables)


def test_the_configuration_round_trips_and_moves_alike():
    optimizer = TableOptimizer(
        0.02, "adagrad", table_learning_rate=0.05, weight_decay=0.1, global_clipnorm=2.0
    )
    config = keras.optimizers.serialize(optimizer)
    again = keras.optimizers.deserialize(config)
    assert isinstance(again, TableOptimizer)
    assert again.get_config() == optimizer.get_config()
    states = [Run(made).train(gradients(3)).state() for made in (optimizer, again)]
    for a, b in zip(*states, strict=True):
        np.testing.assert_array_equal(a, b)


def test_tables_have_a_learning_rate_of_their_own():
    own = Run(TableOptimizer(1e-3, "adagrad", table_learning_rate=RATE)).train(gradients(5))
    same = Run(TableOptimizer(RATE, "adagrad")).train(gradients(5))
    np.testing.assert_array_equal(own.table.numpy(), same.table.numpy())
    assert np.abs(own.kernel.numpy() - KERNEL).max() < 0.5 * np.abs(same.kernel.numpy() - KERNEL).max()


def test_a_row_of_row_wise_adagrad_costs_one_number_and_one_of_lazy_adam_two_rows():
    sizes = {}
    for rule in ("adagrad_rowwise", "adam_lazy"):
        optimizer = TableOptimizer(tables=rule)
        optimizer.build([keras.Variable(START, name="table")])
        sizes[rule] = sum(int(np.prod(v.shape)) for v in optimizer.variables[2:])
    assert sizes == {"adagrad_rowwise": ROWS, "adam_lazy": 2 * ROWS * WIDTH}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tables": "adam_lazier"}, "adam_lazy"),
        ({"tables": "adam", "learning_rate": keras.optimizers.schedules.CosineDecay(0.1, 9)}, "constant"),
        ({"use_ema": True}, "whole tables"),
        ({"gradient_accumulation_steps": 2}, "whole tables"),
    ],
)
def test_what_would_be_wrong_or_slow_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        TableOptimizer(**arguments)


def test_the_exact_rule_refuses_a_new_learning_rate():
    with pytest.raises(ValueError, match="constant"):
        TableOptimizer(1e-3, tables="adam").learning_rate = 1e-4
    lazy = TableOptimizer(1e-3)
    lazy.learning_rate = 1e-4
    assert float(lazy.learning_rate) == pytest.approx(1e-4)
