"""Batches at the edge of what logs hold, for the tests of numerical safety."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from rmtl_tf.inputs import Batcher, epoch_plan
from tests.conftest import make_table

SATURATED = (1e4, -1e4)
LABELS = ("all negative", "all positive", "a task without positives")
SESSIONS = {"sessions of one record": ([1] * 24, 32), "a session of 5,000 records": ([5000], 8192)}
HARD = (*LABELS, *SESSIONS)


def hard_table(name, tasks, spec=None):
    """The table called `name`, and the records of a batch that holds it."""
    lengths, batch_size = SESSIONS.get(name, ([3, 1, 8, 5], 24))
    table = make_table(lengths, cut=() if name in SESSIONS else (2,), tasks=tasks, spec=spec)
    labels = table.labels.copy()
    if name in LABELS:
        labels[:] = name == "all positive"
    if name == "a task without positives":
        labels[:, 0] = np.arange(len(labels)) % 2
    return replace(table, labels=labels), batch_size


@cache
def hard_batch(name, tasks, spec=None):
    """The only batch of `hard_table`."""
    table, batch_size = hard_table(name, tasks, spec)
    (batch,) = Batcher(table).batches(epoch_plan(table, batch_size, seed=0))
    return batch


def assert_finite(values, what):
    """Every number of a mapping or sequence of arrays."""
    named = values.items() if hasattr(values, "items") else enumerate(values)
    for name, value in named:
        assert np.isfinite(np.asarray(value)).all(), (what, name)
