from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rmtl_tf.features.spec import HistorySpec, HistoryTask, InputSpec, history_input, history_list

HISTORY = HistorySpec("gru", 5, 2, "item", ("item", "price"), (HistoryTask("click", "clicked", 60),))
SPEC = InputSpec((("user", 3), ("item", 4)), ("price",), ("user",), HISTORY)


@pytest.mark.parametrize(
    "spec", [SPEC, replace(SPEC, history=None), replace(SPEC, history=replace(HISTORY, tasks=()))]
)
def test_config_round_trip_through_json(spec):
    assert InputSpec.from_config(json.loads(json.dumps(spec.get_config()))) == spec


def test_a_config_without_a_history_is_read():
    config = SPEC.get_config()
    del config["history"]
    assert InputSpec.from_config(config) == replace(SPEC, history=None)


def test_names_of_the_inputs_and_of_the_lists_in_a_request():
    assert HISTORY.names == ("item", "price", "click")
    assert (history_input("item"), history_list("item")) == ("history/item", "history_item")
