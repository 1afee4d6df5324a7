from __future__ import annotations

import numpy as np
from sklearn.metrics import log_loss, roc_auc_score

from rmtl_tf.evaluation.slices import slice_metrics
from tests.conftest import make_table


def test_slices_hold_the_metrics_of_their_records_only():
    lengths = [1] * 30 + [3] * 20 + [9] * 10 + [20] * 4
    table = make_table(lengths, cut=(62, 63), seed=4)
    probabilities = np.random.default_rng(0).uniform(0.05, 0.95, (table.rows, 2))
    entries = slice_metrics(table, probabilities, ["click", "buy"], "item")
    by_length = {entry["value"]: entry for entry in entries if entry["by"] == "session length"}
    assert set(by_length) == {"1", "2-3", "8-15", "16+"}
    assert by_length["16+"]["records"] == 80
    assert by_length["16+"]["sessions"] == 4
    rows = np.flatnonzero((table.length == 3) & ~table.lookahead)
    entry = by_length["2-3"]["metrics"]["click"]
    np.testing.assert_allclose(entry["auc"], roc_auc_score(table.labels[rows, 0], probabilities[rows, 0]))
    np.testing.assert_allclose(
        entry["logloss"], log_loss(table.labels[rows, 0], probabilities[rows, 0]), rtol=1e-6
    )
    for by in ("session length", "item", "hour (UTC)"):
        assert sum(entry["records"] for entry in entries if entry["by"] == by) == len(table.records)


def test_new_items_are_those_the_train_split_does_not_know():
    table = make_table([4] * 20, seed=1)
    probabilities = np.full((table.rows, 2), 0.5)
    entries = {
        e["value"]: e
        for e in slice_metrics(table, probabilities, ["click", "buy"], "item")
        if e["by"] == "item"
    }
    assert entries["new"]["records"] == int((table.features["item"] == 1).sum()) > 0


def test_without_an_item_there_are_no_slices_by_item():
    table = make_table([4] * 20, seed=1)
    with_item, without = (
        slice_metrics(table, np.full((table.rows, 2), 0.5), ["click", "buy"], item) for item in ("item", None)
    )
    assert without == [entry for entry in with_item if entry["by"] != "item"]


def test_a_slice_of_one_class_has_no_auc():
    table = make_table([1], seed=2)
    entry = slice_metrics(table, np.full((1, 2), 0.5), ["click", "buy"], "item")[0]
    assert entry["metrics"]["click"]["auc"] is None
    assert entry["metrics"]["click"]["logloss"] > 0
