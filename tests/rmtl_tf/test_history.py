"""The history of every row against a loop over all pairs of records, and that nothing leaks into it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtl_tf.features.spec import HistorySpec, HistoryTask, history_input
from rmtl_tf.history import HistoryGatherer, find_history
from rmtl_tf.inputs import Batcher, epoch_plan
from tests.conftest import make_table, small_spec

LENGTH = 3
DELAYS = {"click": 0, "buy": 4}
SPEC = HistorySpec(
    "mean",
    LENGTH,
    1,
    "item",
    ("item", "price"),
    tuple(HistoryTask(name, f"{name}_label", delay) for name, delay in DELAYS.items()),
)


def lay_out(sessions, max_steps):
    """Rows of windows as ExampleGen lays them: cut after `max_steps`, a look-ahead copy after each cut.

    Args:
        sessions: a list of (seconds to the record before, {task: (label, seconds until it came)}) each.

    Returns:
        A dict of columns, and for every row the number of its record.
    """
    columns = {name: [] for name in ("time", "session", "lookahead", "item", "price", "record")}
    columns |= {f"{kind}/{task}": [] for task in DELAYS for kind in ("label", "at")}
    record = 0
    for number, steps in enumerate(sessions):
        time, rows = 100 * number, []
        for wait, labels in steps:
            time += wait
            row = {
                "time": time,
                "session": number,
                "item": 2 + record % 5,
                "price": record / 8,
                "record": record,
            }
            for task, (label, later) in labels.items():
                row |= {f"label/{task}": label, f"at/{task}": time + later}
            rows.append(row | {"lookahead": False})
            record += 1
        for place, row in enumerate(rows):
            if place and place % max_steps == 0:
                columns = {
                    name: [*values, {**row, "lookahead": True}[name]] for name, values in columns.items()
                }
            columns = {name: [*values, row[name]] for name, values in columns.items()}
    return {name: np.array(values) for name, values in columns.items()}


def looked_up(features):
    """As `HistoryGatherer` wants them: rows -> {input: values}."""
    return lambda rows: {name: tf.gather(column, rows) for name, column in features.items()}


def gathered(columns, times=True):
    """{input: [R, LENGTH]} of all rows, and the History."""
    labels = {f"{task}_label": columns[f"label/{task}"] for task in DELAYS}
    at = {f"{task}_label": columns[f"at/{task}"] for task in DELAYS} if times else {}
    history = find_history(
        SPEC, columns["time"], columns["session"], columns["lookahead"].astype(bool), labels, at
    )
    features = {
        "item": tf.constant(columns["item"], tf.int32),
        "price": tf.constant(columns["price"], tf.float32),
    }
    inputs = HistoryGatherer(history, looked_up(features))(tf.range(len(columns["time"]), dtype=tf.int64))
    return {name: value.numpy() for name, value in inputs.items()}


def by_a_loop(columns, row, times=True):
    """The same for one row, from the definition."""
    entries = {name: [] for name in SPEC.names}
    now = columns["time"][row]
    for j in range(len(columns["time"])):
        earlier = columns["time"][j] < now and columns["session"][j] == columns["session"][row]
        if columns["lookahead"][j] or not earlier:
            continue
        entries["item"].append(columns["item"][j])
        entries["price"].append(columns["price"][j])
        for task, delay in DELAYS.items():
            since = columns["time"][j]
            happened = max(since, columns[f"at/{task}"][j]) if times else since
            code = 1
            if since + delay < now:
                code = 3 if columns[f"label/{task}"][j] and happened + delay < now else 2
            entries[task].append(code)
    return {name: ([0] * LENGTH + values)[-LENGTH:] for name, values in entries.items()}


LABEL = st.tuples(st.integers(0, 1), st.sampled_from([0, 0, 1, 3, 9]))
STEP = st.tuples(st.sampled_from([0, 0, 1, 2, 5]), st.fixed_dictionaries(dict.fromkeys(DELAYS, LABEL)))
SESSIONS = st.lists(st.lists(STEP, min_size=1, max_size=7), min_size=1, max_size=3)


@settings(max_examples=60)
@given(SESSIONS, st.integers(1, 4), st.booleans())
def test_history_equals_a_loop_over_all_records_over_ties_and_cut_windows(sessions, max_steps, times):
    columns = lay_out(sessions, max_steps)
    inputs = gathered(columns, times)
    for row in range(len(columns["time"])):
        for name, expected in by_a_loop(columns, row, times).items():
            np.testing.assert_array_equal(
                inputs[history_input(name)][row], expected, err_msg=f"{name}, {row}"
            )


def test_a_look_ahead_row_has_the_history_of_the_record_it_copies():
    steps = [(1, {"click": (1, 0), "buy": (0, 0)})] * 5
    columns = lay_out([steps], 2)
    copies = np.flatnonzero(columns["lookahead"])
    assert copies.size == 2
    inputs = gathered(columns)
    for row in copies:
        assert columns["record"][row] == columns["record"][row + 1]
        for values in inputs.values():
            np.testing.assert_array_equal(values[row], values[row + 1])
    np.testing.assert_array_equal(inputs["history/click"][-1], [3, 3, 3])


def test_first_records_of_a_session_and_of_a_second_have_no_history():
    none = {"click": (1, 0), "buy": (1, 0)}
    inputs = gathered(lay_out([[(5, none), (0, none), (1, none)], [(5, none)]], 9))
    for values in inputs.values():
        np.testing.assert_array_equal(values[[0, 1, 3]], np.zeros((3, LENGTH)))
    np.testing.assert_array_equal(inputs["history/item"], [[0] * 3, [0] * 3, [0, 2, 3], [0] * 3])
    assert inputs["history/item"].dtype == inputs["history/click"].dtype == np.int32
    assert inputs["history/price"].dtype == np.float32


@settings(max_examples=80)
@given(SESSIONS, st.integers(1, 4), st.data())
def test_nothing_that_is_not_known_by_now_changes_the_history_of_a_record(sessions, max_steps, data):
    """Own labels, other records that are not earlier, and labels that come to be known later."""
    columns = lay_out(sessions, max_steps)
    row = data.draw(st.integers(0, len(columns["time"]) - 1))
    now, session = columns["time"][row], columns["session"][row]
    later = ~((columns["time"] < now) & (columns["session"] == session))
    changed = {name: values.copy() for name, values in columns.items()}
    changed["item"][later] = 77
    changed["price"][later] = -5.0
    for task, delay in DELAYS.items():
        not_known = later | (columns["time"] + delay >= now)
        came = np.maximum(columns[f"at/{task}"], columns["time"]) + delay
        # A label that will be 1 only later is like one that stays 0.
        changed[f"label/{task}"][not_known | ((came >= now) & (columns[f"label/{task}"] == 1))] ^= 1
    first, second = gathered(columns), gathered(changed)
    for name, values in first.items():
        np.testing.assert_array_equal(values[row], second[name][row], err_msg=name)


def test_a_label_that_is_known_does_change_it():
    """The test above could pass with a history of nothing."""
    steps = [(1, {"click": (1, 0), "buy": (1, 0)}), (9, {"click": (0, 0), "buy": (0, 0)})]
    columns = lay_out([steps], 9)
    before = gathered(columns)
    columns["label/click"][0] = 0
    after = gathered(columns)
    assert (before["history/click"][1, -1], after["history/click"][1, -1]) == (3, 2)
    np.testing.assert_array_equal(before["history/buy"], after["history/buy"])


def test_no_tasks_give_no_codes():
    spec = HistorySpec("mean", 2, 1, "item", ("item",))
    history = find_history(spec, np.arange(3), np.zeros(3), np.zeros(3, bool), {}, {})
    inputs = HistoryGatherer(history, looked_up({"item": np.array([4, 5, 6])}))(tf.range(3, dtype=tf.int64))
    assert set(inputs) == {"history/item"}
    np.testing.assert_array_equal(inputs["history/item"], [[0, 0], [0, 4], [4, 5]])


@pytest.mark.parametrize("size", [10, 64])
def test_batches_carry_the_history_of_their_rows_and_of_the_next_state(size):
    table = make_table([3, 1, 5, 8, 2], cut=(2, 3), spec=small_spec("gru"))
    everything = HistoryGatherer(table.history, looked_up(table.features))(
        tf.range(table.rows, dtype=tf.int64)
    )
    plan = epoch_plan(table, size, seed=1)
    for rows, batch in zip(plan, Batcher(table).batches(plan), strict=True):
        real = rows >= 0
        for name, values in everything.items():
            got = batch["features"][name].numpy()
            np.testing.assert_array_equal(got[real], values.numpy()[rows[real]])
            follows = np.flatnonzero(batch["mask"].numpy() * (1 - batch["done"].numpy()))
            np.testing.assert_array_equal(
                got[batch["next"].numpy()[follows]], values.numpy()[rows[follows] + 1]
            )


def test_without_a_history_there_is_no_such_input(table):
    (batch,) = Batcher(table).batches(epoch_plan(table, 64, None))
    assert table.history is None
    assert set(batch["features"]) == set(table.features)
