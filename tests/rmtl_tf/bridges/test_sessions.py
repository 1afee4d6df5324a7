from __future__ import annotations

import numpy as np
import pytest

from rmtl_tf.bridges.sessions import fit_graph, session_table, typed_columns
from rmtl_tf.config import TransformConfig
from rmtl_tf.errors import UserError
from rmtl_tf.features.graph import Categorical, Numeric
from rmtl_tf.schema import read_schema
from rmtl_tf.training.validation import returns_of

SCHEMA_TEXT = """
feature { name: "visit" type: BYTES annotation { tag: "session" } }
feature { name: "at" type: INT annotation { tag: "timestamp" } }
feature { name: "user" type: BYTES annotation { tag: "user" tag: "context" } }
feature { name: "item" type: BYTES annotation { tag: "item" tag: "step" } }
feature { name: "price" type: FLOAT annotation { tag: "step" } }
feature { name: "clicked" type: INT annotation { tag: "label:click" } }
feature { name: "bought" type: INT annotation { tag: "label:buy" tag: "parent:click" } }
"""


@pytest.fixture
def schema(tmp_path):
    (tmp_path / "s.pbtxt").write_text(SCHEMA_TEXT)
    return read_schema(tmp_path / "s.pbtxt")


def records(count=60, seed=0):
    """Records of interleaved sessions, in random order."""
    rng = np.random.default_rng(seed)
    click = rng.integers(0, 2, count).astype(np.float32)
    return {
        "visit": rng.integers(0, 12, count),
        "at": rng.permutation(count) * 10,
        "user": rng.choice(np.array(["ann", "bob", None], object), count),
        "item": rng.integers(0, 9, count),
        "price": rng.choice(np.float32([1, 2, np.nan]), count),
        "clicked": click,
        "bought": click * rng.integers(0, 2, count),
    }


def test_every_session_stands_together_in_the_order_of_time(schema):
    columns = records()
    table, order = session_table(columns, schema, fit_graph(columns, schema, TransformConfig(time=())))
    np.testing.assert_array_equal(np.sort(order), np.arange(60))
    visits = columns["visit"][order]
    begins = []
    for start, stop in zip(table.windows[:-1], table.windows[1:], strict=True):
        (visit,) = set(visits[start:stop])
        assert (columns["visit"] == visit).sum() == stop - start
        assert (np.diff(columns["at"][order][start:stop]) > 0).all()
        assert table.done[start:stop].tolist() == [False] * (stop - start - 1) + [True]
        np.testing.assert_array_equal(table.length[start:stop], stop - start)
        begins.append(columns["at"][order][start])
    assert begins == sorted(begins)
    np.testing.assert_array_equal(table.labels, np.stack([columns["clicked"], columns["bought"]], 1)[order])
    assert not table.lookahead.any()


def test_returns_over_the_table_are_those_of_a_loop_over_the_records(schema):
    columns = records()
    table, order = session_table(columns, schema, fit_graph(columns, schema, TransformConfig(time=())))
    logits = np.random.default_rng(1).normal(size=(60, 2)).astype(np.float32)  # in the order of the records
    labels = np.stack([columns["clicked"], columns["bought"]], 1)
    reward = labels * np.log(1 / (1 + np.exp(-logits))) + (1 - labels) * np.log(1 / (1 + np.exp(logits)))
    expected = np.zeros((60, 2))
    for visit in set(columns["visit"]):
        total = np.zeros(2)
        for row in sorted(np.flatnonzero(columns["visit"] == visit), key=lambda row: -columns["at"][row]):
            total = reward[row] + 0.9 * total
            expected[row] = total
    np.testing.assert_allclose(returns_of(table, logits[order], 0.9), expected[order], atol=1e-5)


def test_inputs_are_ids_by_frequency_and_standardised_numbers(schema):
    columns = records()
    graph = fit_graph(columns, schema, TransformConfig(time=()))
    table, order = session_table(columns, schema, graph)
    user, item, price = graph.features
    assert isinstance(user, Categorical)
    assert isinstance(item, Categorical)
    assert isinstance(price, Numeric)
    known = {value: 2 + place for place, value in enumerate(user.vocabulary)}
    assert set(known) == {"ann", "bob"}
    np.testing.assert_array_equal(table.features["user"], [known.get(u, 1) for u in columns["user"][order]])
    values, counts = np.unique(columns["item"], return_counts=True)
    assert item.vocabulary[0] == str(values[np.argmax(counts)])
    there = ~np.isnan(columns["price"])
    expected = (columns["price"] - columns["price"][there].mean()) / columns["price"][there].std()
    np.testing.assert_allclose(table.features["price"], np.nan_to_num(expected)[order], atol=1e-5)
    assert table.features["user"].dtype == np.int32
    assert table.features["price"].dtype == np.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"price": None}, r"expected \['price'\] too"),
        ({"visit": np.zeros(59)}, "one length"),
        ({"clicked": np.full(60, 2.0)}, "'clicked': expected labels 0 or 1"),
    ],
)
def test_columns_that_the_schema_does_not_describe_are_refused(schema, change, message):
    columns = {name: values for name, values in {**records(), **change}.items() if values is not None}
    with pytest.raises(UserError, match=message):
        typed_columns(columns, schema)


def test_a_schema_without_sessions_is_refused(tmp_path):
    text = "\n".join(line for line in SCHEMA_TEXT.splitlines() if "session" not in line)
    (tmp_path / "s.pbtxt").write_text(text)
    with pytest.raises(UserError, match="tag 'session'"):
        typed_columns(records(), read_schema(tmp_path / "s.pbtxt"))
