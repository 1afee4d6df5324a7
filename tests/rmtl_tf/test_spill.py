"""Spilled features are those of memory, in tables, batches and histories; each block is read once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.inputs import Batcher, epoch_plan, read_table
from rmtl_tf.packed import Packing
from rmtl_tf.spill import GROUP, BlockReader, SpillWriter, block_edges
from tests.conftest import make_table, small_spec
from tests.rmtl_tf.test_inputs import SPEC, example, write

TAGS = replace(SPEC, categorical=(*SPEC.categorical, ("tag", 9)), several=(("tag", 2),))


def spilled(table, folder, spec):
    """The same table with its features in a file."""
    packing = Packing.of(spec)
    packed, writer = packing.pack(table.features), SpillWriter(folder, packing)
    for first in range(0, table.rows, 7):
        writer.append(packed[first : first + 7])
    return replace(table, features=writer.finish())


@pytest.fixture
def numbers():
    return np.random.default_rng(3)


def test_the_table_is_the_one_of_memory_with_its_columns_in_a_file(tmp_path, numbers):
    tags = numbers.integers(0, 9, 14).tolist()
    write(tmp_path, [example("a", 4, lookahead=1, tag=tags[:8]), example("a", 3, tag=tags[8:])])
    memory = read_table(tmp_path, TAGS, ["click"], "t")
    disk = read_table(tmp_path, TAGS, ["click"], "t", spill=tmp_path / "spill")
    assert (memory.features.in_file, disk.features.in_file) == (False, True)
    assert set(memory.features) == set(disk.features)
    for name, column in memory.features.items():
        assert disk.features[name].dtype == column.dtype
        np.testing.assert_array_equal(disk.features[name], column)
    assert disk.features["tag"].shape == (7, 2)
    np.testing.assert_array_equal(memory.done, disk.done)
    np.testing.assert_array_equal(memory.length, disk.length)


def test_nothing_is_left_in_the_folder(tmp_path):
    write(tmp_path, [example("a", 4)])
    read_table(tmp_path, SPEC, ["click"], "t", spill=tmp_path / "spill")
    assert list((tmp_path / "spill").iterdir()) == []


@pytest.mark.parametrize("shuffled", [16, 64, 10_000])
@pytest.mark.parametrize("encoder", [None, "gru"])
def test_batches_are_those_of_memory_to_the_bit(tmp_path, numbers, shuffled, encoder):
    spec = small_spec(encoder) if encoder else small_spec()
    memory = make_table(numbers.integers(1, 9, 150), cut=(2, 3, 70), spec=spec)
    disk = spilled(memory, tmp_path, spec)
    plan = epoch_plan(memory, 16, seed=5, shuffled=shuffled)
    np.testing.assert_array_equal(plan, epoch_plan(disk, 16, seed=5, shuffled=shuffled))
    extras = {"actions": numbers.random((memory.rows, 2)).astype(np.float32)}
    batches = (Batcher(table, extras, shuffled).batches(plan) for table in (memory, disk))
    count = 0
    for one, other in zip(*batches, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)
        assert one["features"]["price"].dtype == other["features"]["price"].dtype == tf.float32
        count += 1
    assert count == len(plan)


def reader_of(tmp_path, numbers, lengths, shuffled, blocks):
    table = make_table(numbers.integers(1, 9, lengths))
    edges = block_edges(table.windows, shuffled)
    return table, BlockReader(spilled(table, tmp_path, small_spec()).features.matrix, edges, blocks)


def test_an_epoch_reads_every_block_once(tmp_path, numbers):
    table, reader = reader_of(tmp_path, numbers, 2000, shuffled=400, blocks=2 * GROUP + 2)
    blocks = len(block_edges(table.windows, 400)) - 1
    assert blocks > 10 * GROUP
    for rows in epoch_plan(table, 32, seed=1, shuffled=400):
        reader(np.maximum(rows, 0))
    # Padding reads row 0, whose block may have been given up by then.
    assert blocks <= reader.loads <= blocks + 2 * blocks // GROUP


@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_rows_in_any_order_are_right_however_few_blocks_are_held(tmp_path, numbers, blocks):
    table, reader = reader_of(tmp_path, numbers, 60, shuffled=320, blocks=blocks)
    first, several = Packing.of(small_spec()).places["item"]
    assert several is None
    for _ in range(50):
        some = numbers.integers(0, table.rows, (4, 3))
        near = some[:1, :1] + np.zeros((2, 2), np.int64)
        for rows in (some, near):
            np.testing.assert_array_equal(reader(rows)[..., first], table.features["item"][rows])
    assert len(reader._slot_of) <= blocks
