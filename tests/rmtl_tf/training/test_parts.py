"""A batch has a piece of every part, and is the same whoever holds the parts."""

from __future__ import annotations

import numpy as np
import pytest

from rmtl_tf.errors import UserError
from rmtl_tf.inputs import epoch_plan, read_table
from rmtl_tf.training.parts import Parts, part_files, read_parts
from tests.conftest import make_table
from tests.rmtl_tf.training import jobs

SPEC = jobs.GRAPH.input_spec()
COLUMNS = (SPEC, jobs.GRAPH.labels, jobs.GRAPH.timestamp)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "Split-train"
    jobs.write_split(folder, sessions=80, files=5, seed=1)
    return folder


def test_one_part_has_the_plan_of_the_whole_table():
    table = make_table([3, 1, 5, 8, 2, 6, 1], cut=(2, 3))
    plan, rows = Parts.whole(table).plan(12, seed=4, epoch=2)
    np.testing.assert_array_equal(plan, epoch_plan(table, 12, seed=4, epoch=2))
    np.testing.assert_array_equal(rows, (plan >= 0).sum(axis=1))


def test_a_part_reads_its_own_files_alone(split):
    files = part_files(split, 2)
    names = [[path.name[:10] for path in part] for part in files]
    assert names == [["data-00000", "data-00002", "data-00004"], ["data-00001", "data-00003"]]
    table, _ = read_parts(split, *COLUMNS, 2, [1])
    alone = read_table(split, *COLUMNS, files[1])
    np.testing.assert_array_equal(table.timestamp, alone.timestamp)
    assert 0 < table.rows < read_table(split, *COLUMNS).rows


def test_processes_see_the_columns_of_one_that_holds_all_parts(split):
    whole, parts = read_parts(split, *COLUMNS, 4, range(4))
    parts = parts.exchanged(lambda array: [array])
    pairs = [read_parts(split, *COLUMNS, 4, own) for own in ([0, 1], [2, 3])]
    gathered = {}
    for name in ("own", "windows"):
        gathered[name] = [np.array(each.own) if name == "own" else each._packed() for _, each in pairs]

    def gather(array):
        return gathered["own" if len(array) == 2 and array.max() < 4 else "windows"]

    plan, rows = parts.plan(64, seed=3, epoch=1)
    seen = []
    for place, (table, each) in enumerate(pairs):
        own, counts = each.exchanged(gather).plan(64, seed=3, epoch=1)
        columns = plan[:, place * 32 : (place + 1) * 32]
        np.testing.assert_array_equal(own >= 0, columns >= 0)
        np.testing.assert_array_equal(table.timestamp[own[own >= 0]], whole.timestamp[columns[columns >= 0]])
        np.testing.assert_array_equal(counts, rows)
        seen.append(own[own >= 0].size)
    assert sum(seen) == whole.rows
    np.testing.assert_array_equal(np.sort(plan[plan >= 0]), np.arange(whole.rows))


def test_a_window_stays_in_one_parts_columns_and_a_part_in_its_own(split):
    table, parts = read_parts(split, *COLUMNS, 2, range(2))
    plan, _ = parts.exchanged(lambda array: [array]).plan(40, seed=3, epoch=0)
    border = parts.windows[0][-1]
    first, second = plan[:, :20], plan[:, 20:]
    assert first.max() < border <= second[second >= 0].min()
    for half in (first, second):
        for row in half:
            ends = table.done[row[row >= 0]]
            # Never cut by the end of the columns; a part that is used up before the other is padding.
            assert not len(ends) or ends[-1]
    other, _ = parts.plan(40, seed=3, epoch=1)
    assert not np.array_equal(plan[0], other[0])


def test_more_parts_than_files_are_refused(split):
    with pytest.raises(UserError, match=r"6 parts need as many files, received 5.*data\.shards"):
        read_parts(split, *COLUMNS, 6, range(6))


def test_a_part_without_a_session_is_refused(tmp_path):
    jobs.write_split(tmp_path / "Split-train", sessions=2, files=3, seed=1)
    _, parts = read_parts(tmp_path / "Split-train", *COLUMNS, 3, range(3))
    with pytest.raises(UserError, match="has no session"):
        parts.exchanged(lambda array: [array])
