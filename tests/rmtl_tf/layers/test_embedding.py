"""Tests of `FieldEmbedding`."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.errors import UserError
from rmtl_tf.features.spec import HistorySpec, HistoryTask, InputSpec
from rmtl_tf.layers import FieldEmbedding

SPEC = InputSpec(
    categorical=(("user", 5), ("item", 7), ("hour", 4)), numeric=("price", "age"), ids=("user", "item")
)


def batch(n=6, seed=0):
    random = np.random.default_rng(seed)
    inputs = {name: tf.constant(random.integers(0, size, n), tf.int32) for name, size in SPEC.categorical}
    return inputs | {name: tf.constant(random.normal(size=n), tf.float32) for name in SPEC.numeric}


def expected_state(layer, inputs):
    """Field by field: each categorical input in its own table, then the linear map of the numbers."""
    table, fields, first = layer.table.numpy(), [], 0
    for name, size in SPEC.categorical:
        fields.append(table[first : first + size][inputs[name].numpy()])
        first += size
    numbers = np.stack([inputs[name].numpy() for name in SPEC.numeric], axis=1)
    fields.append(numbers @ layer.numeric.kernel.numpy() + layer.numeric.bias.numpy())
    return np.concatenate(fields, axis=1)


def test_state_is_the_concatenation_of_separate_lookups_and_one_linear_field():
    layer, inputs = FieldEmbedding(SPEC, width=3, seed=1), batch()
    state = layer(inputs)
    layer.numeric.bias.assign([0.5, -1.0, 2.0])
    assert state.shape == (6, 4 * 3)
    assert layer.fields == 4
    assert layer.state_width == 12
    assert layer.compute_output_shape({"user": (None,)}) == (None, 12)
    np.testing.assert_allclose(layer(inputs), expected_state(layer, inputs), rtol=1e-6)


def test_all_categorical_fields_share_one_variable():
    layer = FieldEmbedding(SPEC, width=3)
    layer.build()
    assert [tuple(v.shape) for v in layer.weights] == [(16, 3), (2, 3), (3,)]


def test_field_rows_cut_the_table_into_its_fields():
    layer = FieldEmbedding(SPEC, width=3)
    assert [layer.field_rows(name) for name in ("user", "item", "hour")] == [
        slice(0, 5),
        slice(5, 12),
        slice(12, 16),
    ]
    with pytest.raises(KeyError):
        layer.field_rows("price")


@pytest.mark.parametrize(
    ("spec", "width"),
    [
        (InputSpec(categorical=(("user", 5),)), 3),
        (InputSpec(categorical=(), numeric=("price",)), 3),
    ],
)
def test_inputs_of_one_kind_only(spec, width):
    state = FieldEmbedding(spec, width)({"user": tf.constant([1, 2]), "price": tf.constant([0.0, 1.0])})
    assert state.shape == (2, 3)


def test_int64_ids_and_float64_numbers_are_accepted():
    inputs = batch()
    wide = {k: tf.cast(v, tf.int64 if v.dtype == tf.int32 else tf.float64) for k, v in inputs.items()}
    layer = FieldEmbedding(SPEC, width=3)
    np.testing.assert_array_equal(layer(inputs), layer(wide))


def test_gradient_of_the_table_is_row_sparse_and_touches_only_rows_read():
    layer, inputs = FieldEmbedding(SPEC, width=3), batch()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(inputs))
    gradient = tape.gradient(loss, layer.table.value)
    assert isinstance(gradient, tf.IndexedSlices)
    dense = tf.convert_to_tensor(gradient).numpy()
    counts = np.concatenate([np.bincount(inputs[n].numpy(), minlength=size) for n, size in SPEC.categorical])
    np.testing.assert_array_equal(dense, np.repeat(counts[:, None], 3, axis=1))


def test_mixed_precision_keeps_the_gradient_row_sparse_and_the_table_in_float32():
    layer, inputs = FieldEmbedding(SPEC, width=3, dtype="mixed_bfloat16"), batch()
    with tf.GradientTape() as tape:
        state = layer(inputs)
        loss = tf.reduce_sum(state)
    assert state.dtype == tf.bfloat16
    assert layer.table.dtype == "float32"
    assert isinstance(tape.gradient(loss, layer.table.value), tf.IndexedSlices)


def with_row_numbers(rate, seed=0):
    """A layer of width 1 whose state reads back the table row of each field."""
    layer = FieldEmbedding(SPEC, width=1, id_dropout=rate, seed=seed)
    layer.build()
    layer.table.assign(np.arange(16, dtype=np.float32)[:, None])
    return layer


def test_id_dropout_replaces_user_and_item_ids_by_unknown_at_its_rate_and_nothing_else():
    n = 20_000
    inputs = {
        k: tf.fill([n], v) for k, v in {"user": 4, "item": 6, "hour": 3, "price": 0.0, "age": 0.0}.items()
    }
    state = with_row_numbers(0.3)(inputs, training=True).numpy()
    user, item, hour = state[:, 0], state[:, 1], state[:, 2]
    assert set(user) == {1.0, 4.0}  # row 1: unknown user
    assert set(item) == {5.0 + 1.0, 5.0 + 6.0}
    assert set(hour) == {12.0 + 3.0}
    user_dropped, item_dropped = user == 1.0, item == 6.0
    assert user_dropped.mean() == pytest.approx(0.3, abs=0.015)
    assert item_dropped.mean() == pytest.approx(0.3, abs=0.015)
    assert (user_dropped & item_dropped).mean() == pytest.approx(0.09, abs=0.01)  # independent


def test_id_dropout_is_off_outside_training():
    inputs = batch(200)
    np.testing.assert_array_equal(with_row_numbers(0.5)(inputs), with_row_numbers(0.0)(inputs))
    np.testing.assert_array_equal(
        with_row_numbers(0.5)(inputs, training=False), with_row_numbers(0.0)(inputs)
    )


def test_id_dropout_draws_anew_each_call_and_repeats_with_the_seed():
    inputs = batch(200)
    one, same, other = (
        with_row_numbers(0.5, seed=1),
        with_row_numbers(0.5, seed=1),
        with_row_numbers(0.5, seed=2),
    )
    first, second = one(inputs, training=True).numpy(), one(inputs, training=True).numpy()
    assert (first != second).any()
    np.testing.assert_array_equal(first[:, :3], same(inputs, training=True)[:, :3])
    np.testing.assert_array_equal(second[:, :3], same(inputs, training=True)[:, :3])
    assert (first[:, :3] != other(inputs, training=True).numpy()[:, :3]).any()


def test_dropping_ids_first_gives_what_training_gives():
    inputs = batch(200)
    one, two = with_row_numbers(0.5, seed=1), with_row_numbers(0.5, seed=1)
    dropped = two.drop_ids(inputs, training=True)
    assert set(dropped) == set(inputs)
    np.testing.assert_array_equal(one(inputs, training=True), two(dropped))
    for name, value in two.drop_ids(inputs).items():
        np.testing.assert_array_equal(value, inputs[name])


def test_same_seed_gives_the_same_bits_whatever_the_global_seed():
    keras.utils.set_random_seed(1)
    first = FieldEmbedding(SPEC, width=3, seed=7)(batch()).numpy()
    keras.utils.set_random_seed(2)
    np.testing.assert_array_equal(first, FieldEmbedding(SPEC, width=3, seed=7)(batch()))
    assert (first != FieldEmbedding(SPEC, width=3, seed=8)(batch()).numpy()).all()


@pytest.mark.parametrize("bad", [5, -1])
def test_id_outside_its_field_is_an_error_not_another_fields_row(bad):
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match="ids must be below"):
        FieldEmbedding(SPEC, width=3)(batch(2) | {"user": tf.constant([0, bad])})


def test_missing_input_is_named():
    inputs = batch()
    del inputs["hour"], inputs["age"]
    with pytest.raises(UserError, match=r"expected \['hour', 'age'\]"):
        FieldEmbedding(SPEC, width=3)(inputs)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (InputSpec(categorical=()), "at least one"),
        (InputSpec(categorical=(("a", 3), ("a", 3))), "stand once"),
        (InputSpec(categorical=(("a", 3),), numeric=("a",)), "stand once"),
        (InputSpec(categorical=(("a", 1),)), "at least 2 ids"),
        (InputSpec(categorical=(("a", 3),), numeric=("b",), ids=("b",)), r"\['b'\] are no categorical"),
    ],
)
def test_impossible_spec_is_refused(spec, message):
    with pytest.raises(UserError, match=message):
        FieldEmbedding(spec, width=3)


def test_config_round_trip():
    layer = FieldEmbedding(SPEC, width=3, id_dropout=0.25, seed=5, name="state")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == layer.get_config()
    assert copy.spec == SPEC
    np.testing.assert_array_equal(copy(batch()), layer(batch()))


HISTORY = HistorySpec("mean", 3, 1, "item", ("item", "price"), (HistoryTask("click", "clicked", 0),))
LOOKING_BACK = replace(SPEC, history=HISTORY)


def past(n=6, seed=0):
    """A batch with histories of 0 to 3 records."""
    random = np.random.default_rng(seed)
    present = np.arange(3) >= 3 - np.arange(n)[:, None] % 4
    lists = {
        "history/item": random.integers(1, 7, (n, 3)) * present,
        "history/price": random.normal(size=(n, 3)) * present,
        "history/click": random.integers(1, 4, (n, 3)) * present,
    }
    return batch(n, seed) | {
        name: tf.constant(v, tf.float32 if "price" in name else tf.int32) for name, v in lists.items()
    }


def test_the_history_is_the_last_field_and_reads_the_same_table():
    layer, inputs = FieldEmbedding(LOOKING_BACK, width=3, seed=1), past()
    state = layer(inputs).numpy()
    assert layer.fields == 5
    assert state.shape == (6, 5 * 3)
    np.testing.assert_allclose(state[:, :12], expected_state(layer, inputs), rtol=1e-6)
    np.testing.assert_array_equal(state[0, 12:], 0)  # no history
    rows = layer.table.numpy()[5:12]
    field = layer.history(
        [
            inputs["history/item"] != 0,
            rows[inputs["history/item"]][:, :, None],
            inputs["history/price"][..., None],
            inputs["history/click"][..., None],
            rows[inputs["item"]][:, None],
            inputs["price"][:, None],
        ]
    )
    np.testing.assert_allclose(state[:, 12:], field, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("encoder", ["mean", "gru", "attention"])
def test_with_a_history_the_gradient_of_the_table_stays_row_sparse(encoder):
    layer = FieldEmbedding(replace(SPEC, history=replace(HISTORY, encoder=encoder)), width=3)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(past()) ** 2)
    gradients = tape.gradient(loss, [layer.table.value, *layer.history.trainable_variables])
    assert isinstance(gradients[0], tf.IndexedSlices)
    assert all(np.isfinite(g).all() for g in gradients[1:])


def test_id_dropout_of_the_history_leaves_padding_alone():
    layer = FieldEmbedding(LOOKING_BACK, width=3, id_dropout=0.4, seed=2)
    n = 8000
    inputs = {name: tf.repeat(value[3:4], n, axis=0) for name, value in past().items()}
    inputs["history/item"] = tf.constant([[0, 4, 5]] * n)
    dropped = layer.drop_ids(inputs, training=True)
    items = dropped["history/item"].numpy()
    assert set(items[:, 0]) == {0}
    assert set(items[:, 1]) == {1, 4}
    assert (items[:, 1] == 1).mean() == pytest.approx(0.4, abs=0.02)
    assert ((items[:, 1] == 1) & (items[:, 2] == 1)).mean() == pytest.approx(0.16, abs=0.02)
    for name in ("history/price", "history/click"):
        np.testing.assert_array_equal(dropped[name], inputs[name])
    np.testing.assert_array_equal(layer(inputs, training=False), layer(inputs))


def test_an_embedding_starts_from_another_with_the_history_where_its_parts_are_equal():
    one, same, other = (
        FieldEmbedding(LOOKING_BACK, width=4, seed=s, parts=p) for s, p in ((1, 1), (2, 1), (3, 2))
    )
    for layer in (one, same, other):
        layer.build()
    own = [np.array(w) for w in other.history.weights]
    same.start_from(one)
    other.start_from(one)
    np.testing.assert_array_equal(same(past()), one(past()))
    np.testing.assert_array_equal(other(past())[:, :16], one(past())[:, :16])
    for before, after in zip(own, other.history.weights, strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_missing_list_of_the_history_is_named():
    inputs = past()
    del inputs["history/click"]
    with pytest.raises(UserError, match=r"expected \['history/click'\]"):
        FieldEmbedding(LOOKING_BACK, width=3)(inputs)


def test_a_history_id_outside_its_field_is_an_error():
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match="ids must be below"):
        FieldEmbedding(LOOKING_BACK, width=3)(past(1) | {"history/item": tf.constant([[0, 0, 7]])})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": ("item", "prize")}, r"\['prize'\] are no inputs"),
        ({"inputs": ("price",)}, "item 'item' must be one of"),
        ({"item": "price"}, "item 'price' must be one of"),
    ],
)
def test_an_impossible_history_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        FieldEmbedding(replace(SPEC, history=replace(HISTORY, **changes)), width=3)


def test_config_round_trip_with_a_history():
    layer = FieldEmbedding(replace(SPEC, history=replace(HISTORY, encoder="gru")), width=4, seed=5, parts=2)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == layer.get_config()
    assert copy.spec == layer.spec
    np.testing.assert_array_equal(copy(past()), layer(past()))


SEVERAL = InputSpec(categorical=(("user", 5), ("tag", 7), ("item", 6)), ids=("user",), several=(("tag", 3),))


def test_the_field_of_several_ids_is_the_mean_of_their_rows_without_padding():
    layer = FieldEmbedding(SEVERAL, width=4, seed=3)
    tags = np.array([[2, 3, 0], [0, 6, 0], [1, 0, 0], [0, 0, 0]], np.int32)
    state = (
        layer({"user": np.array([2, 3, 4, 0]), "tag": tags, "item": np.array([2, 2, 3, 0])})
        .numpy()
        .reshape(4, 3, 4)
    )
    table = np.array(layer.table)
    rows = table[layer.field_rows("tag")]
    expected = [(rows[2] + rows[3]) / 2, rows[6], rows[1], np.zeros(4)]
    np.testing.assert_allclose(state[:, 1], expected, atol=1e-7)
    np.testing.assert_array_equal(state[:, 0], table[layer.field_rows("user")][[2, 3, 4, 0]])
    np.testing.assert_array_equal(state[:, 2], table[layer.field_rows("item")][[2, 2, 3, 0]])


def test_with_several_ids_the_gradient_of_the_table_stays_row_sparse():
    layer = FieldEmbedding(SEVERAL, width=4)
    inputs = {"user": np.array([2]), "tag": np.array([[3, 5, 0]]), "item": np.array([4])}
    layer(inputs)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(inputs))
    gradient = tape.gradient(loss, layer.table.value)
    assert isinstance(gradient, tf.IndexedSlices)
    dense = tf.convert_to_tensor(gradient).numpy()
    np.testing.assert_allclose(dense[layer.field_rows("tag")][[3, 5]], 0.5)
    assert np.flatnonzero(dense.any(axis=1)).tolist() == [2, 5 + 3, 5 + 5, 5 + 7 + 4]


def test_several_ids_alone_are_enough():
    layer = FieldEmbedding(InputSpec(categorical=(("tag", 7),), several=(("tag", 2),)), width=4)
    assert layer({"tag": np.array([[2, 0], [3, 4]])}).shape == (2, 4)
