from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtl_tf.config import TrainingConfig
from rmtl_tf.errors import UserError
from rmtl_tf.features.spec import HistorySpec, HistoryTask, InputSpec
from rmtl_tf.inputs import SHUFFLED, Batcher, epoch_plan, read_table
from rmtl_tf.spill import GROUP, block_edges
from tests.conftest import make_table

SPEC = InputSpec(categorical=(("user", 9), ("item", 99)), numeric=("price",), ids=("user", "item"))


def example(session, steps, lookahead=0, **changes):
    lists = {
        "user": [3] * steps,
        "item": list(range(2, 2 + steps)),
        "t": list(range(100, 100 + steps)),
        "click": [i % 2 for i in range(steps)],
        **changes,
    }
    feature = {name: tf.train.Feature(int64_list=tf.train.Int64List(value=v)) for name, v in lists.items()}
    feature["price"] = tf.train.Feature(float_list=tf.train.FloatList(value=[0.5] * steps))
    feature["session_id"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[session.encode()]))
    feature["lookahead"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[lookahead]))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def write(directory, *shards):
    for number, examples in enumerate(shards):
        with tf.io.TFRecordWriter(
            str(directory / f"data-{number:05d}-of-{len(shards):05d}.tfrecord")
        ) as writer:
            for item in examples:
                writer.write(item)


def test_table_joins_the_windows_of_a_cut_session(tmp_path):
    write(tmp_path, [example("a", 4, lookahead=1), example("a", 2)], [example("b", 1)])
    table = read_table(tmp_path, SPEC, ["click"], "t")
    np.testing.assert_array_equal(table.windows, [0, 4, 6, 7])
    np.testing.assert_array_equal(table.session, [0, 0, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(table.lookahead, [0, 0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(table.done, [0, 0, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(table.length, [5, 5, 5, 5, 5, 5, 1])
    np.testing.assert_array_equal(table.records, [0, 1, 2, 4, 5, 6])
    np.testing.assert_array_equal(table.features["item"], [2, 3, 4, 5, 2, 3, 2])
    assert table.labels.dtype == np.float32


def test_two_sessions_of_one_id_in_a_row_stay_two(tmp_path):
    write(tmp_path, [example("a", 2), example("a", 2)])
    np.testing.assert_array_equal(read_table(tmp_path, SPEC, ["click"], "t").session, [0, 0, 1, 1])


def test_lists_of_unequal_length_are_refused_by_name(tmp_path):
    write(tmp_path, [example("a", 3, item=[1])])
    with pytest.raises(UserError, match="'item'"):
        read_table(tmp_path, SPEC, ["click"], "t")


def test_an_empty_split_is_refused(tmp_path):
    with pytest.raises(UserError, match="no session Examples"):
        read_table(tmp_path, SPEC, ["click"], "t")


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    size=st.integers(9, 25),
    seed=st.one_of(st.none(), st.integers(0, 9)),
)
def test_plan_holds_every_row_once_and_cuts_no_window(lengths, size, seed):
    table = make_table(lengths)
    plan = epoch_plan(table, size, seed, epoch=1)
    used = plan[plan >= 0]
    np.testing.assert_array_equal(np.sort(used), np.arange(table.rows))
    for first, stop in zip(table.windows[:-1], table.windows[1:], strict=True):
        batch, column = (index[0] for index in np.where(plan == first))
        np.testing.assert_array_equal(plan[batch, column : column + stop - first], np.arange(first, stop))
    if seed is None:
        np.testing.assert_array_equal(used, np.arange(table.rows))


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=40, max_size=200),
    shuffled=st.integers(16, 64),
    seed=st.integers(0, 9),
)
def test_a_long_table_is_shuffled_among_blocks_that_are_few_at_a_time(lengths, shuffled, seed):
    table = make_table(lengths)
    plan = epoch_plan(table, 9, seed, epoch=1, shuffled=shuffled)
    used = plan[plan >= 0]
    np.testing.assert_array_equal(np.sort(used), np.arange(table.rows))
    if table.rows <= shuffled:
        np.testing.assert_array_equal(plan, epoch_plan(table, 9, seed, epoch=1, shuffled=table.rows))
        return
    edges = block_edges(table.windows, shuffled)
    assert set(edges) <= set(table.windows)
    block = np.searchsorted(edges, used, side="right") - 1
    blocks = list(dict.fromkeys(block))  # in the order of their first record
    for number in range(0, len(blocks), GROUP):
        # All records of a group of blocks come before the first one of the next group.
        own = np.isin(block, blocks[number : number + GROUP])
        assert np.diff(np.flatnonzero(own)).max(initial=1) == 1
    assert not np.array_equal(used, np.arange(table.rows)) or len(lengths) < 3


def test_plan_depends_on_seed_and_epoch_only(table):
    first = epoch_plan(table, 10, seed=1, epoch=0)
    np.testing.assert_array_equal(first, epoch_plan(table, 10, seed=1, epoch=0))
    assert not np.array_equal(first, epoch_plan(table, 10, seed=1, epoch=1)[: len(first)])


def test_a_window_longer_than_a_batch_is_refused_with_what_to_do(table):
    with pytest.raises(UserError, match=r"batch_size.*max_steps"):
        epoch_plan(table, 4, seed=0)


def test_batches_carry_the_rows_of_the_plan_and_their_next_states(table):
    plan = epoch_plan(table, 12, seed=3)
    extra = np.arange(table.rows, dtype=np.float32)
    seen = 0
    for rows, batch in zip(plan, Batcher(table, {"number": extra}).batches(plan), strict=True):
        real = rows >= 0
        np.testing.assert_array_equal(batch["number"].numpy()[real], rows[real])
        np.testing.assert_array_equal(
            batch["features"]["item"].numpy()[real], table.features["item"][rows[real]]
        )
        np.testing.assert_array_equal(batch["mask"], np.where(real, ~table.lookahead[rows], False))
        for place in np.flatnonzero(batch["mask"].numpy() > 0):
            if not batch["done"][place]:
                assert rows[batch["next"][place]] == rows[place] + 1
                seen += 1
    assert seen == len(table.records) - table.done.sum()


def test_a_history_reads_the_times_of_labels_where_there_are_any(tmp_path):
    tasks = (HistoryTask("click", "click", 0),)
    spec = replace(SPEC, history=HistorySpec("mean", 3, 1, "item", ("item",), tasks))
    late = {"click": [1, 1, 0], "#time:click": [100, 101 + 9, 102]}
    write(tmp_path, [example("a", 3), example("b", 3, lookahead=1, **late), example("b", 1, t=[102])])
    with pytest.raises(UserError, match="'#time:click'"):
        read_table(tmp_path, spec, ["click"], "t")
    write(
        tmp_path, [example("b", 3, lookahead=1, **late), example("b", 1, t=[102], **{"#time:click": [102]})]
    )
    table = read_table(tmp_path, spec, ["click"], "t")
    (batch,) = Batcher(table).batches(epoch_plan(table, 4, None))
    np.testing.assert_array_equal(
        batch["features"]["history/item"], [[0] * 3, [0, 0, 2], [0, 2, 3], [0, 2, 3]]
    )
    np.testing.assert_array_equal(
        batch["features"]["history/click"], [[0] * 3, [0, 0, 3], [0, 3, 2], [0, 3, 2]]
    )
    write(tmp_path, [example("b", 3, click=[1, 1, 0])])
    table = read_table(tmp_path, spec, ["click"], "t")
    (batch,) = Batcher(table).batches(epoch_plan(table, 3, None))
    np.testing.assert_array_equal(batch["features"]["history/click"][2], [0, 3, 3])


def test_several_ids_a_record_become_rows_of_the_table_and_of_the_batches(tmp_path):
    spec = replace(SPEC, categorical=(*SPEC.categorical, ("tag", 9)), several=(("tag", 2),))
    write(tmp_path, [example("a", 2, tag=[3, 0, 4, 5]), example("b", 1, tag=[1, 0])])
    table = read_table(tmp_path, spec, ["click"], "t")
    assert table.features["tag"].tolist() == [[3, 0], [4, 5], [1, 0]]
    batch = next(iter(Batcher(table).batches(epoch_plan(table, 4, None))))
    assert batch["features"]["tag"].numpy()[:3].tolist() == [[3, 0], [4, 5], [1, 0]]
    write(tmp_path, [example("a", 2, tag=[3, 0, 4])])
    with pytest.raises(UserError, match="'tag' has another number of steps"):
        read_table(tmp_path, spec, ["click"], "t")


def test_as_many_records_are_shuffled_as_the_configuration_says_where_nobody_says_how_many():
    assert TrainingConfig().shuffle_records == SHUFFLED
