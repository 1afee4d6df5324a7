"""What an Example should hold: the columns of docs/architecture.md, by environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rmtl_tf.data.datasets.base import label_time
from rmtl_tf.data.multivalued import lengths_name
from rmtl_tf.data.records import FeatureType
from rmtl_tf.data.session_reader import LOOKAHEAD, SESSION_ID
from rmtl_tf.features.spec import history_list
from rmtl_tf.schema import TRAINING, DataSchema, Feature

Length = Literal["one", "steps", "as lengths say", "at most one", "any"]


@dataclass(frozen=True)
class ExpectedColumn:
    """One feature of the Examples.

    Attributes:
        type: of its values.
        length: of the list: one, a value each step, the sum of the lengths in the list beside it, ...
        needed: at least one Example of a file must have it.
        feature: what the schema says about it; None for ExampleGen's own.
    """

    name: str
    type: FeatureType
    length: Length
    needed: bool = True
    feature: Feature | None = None


_TYPES: dict[str, FeatureType] = {
    "categorical": "bytes", "key": "bytes", "numeric": "float", "label": "int", "timestamp": "int",
}  # fmt: skip


def session_columns(schema: DataSchema, feedback: Sequence[str]) -> list[ExpectedColumn]:
    """The columns of session Examples: one Example is a window of T steps."""
    columns = [ExpectedColumn(SESSION_ID, "bytes", "one"), ExpectedColumn(LOOKAHEAD, "int", "one")]
    for feature in schema.features:
        if feature.kind != "key":
            length: Length = "one" if feature.context else "steps"
            needed = feature.expected_in(TRAINING)
            if feature.multivalued:
                columns.append(ExpectedColumn(lengths_name(feature.name), "int", length, needed))
                length = "as lengths say"
            columns.append(ExpectedColumn(feature.name, _TYPES[feature.kind], length, needed, feature))
    columns += [ExpectedColumn(label_time(label), "int", "steps", needed=False) for label in schema.labels]
    return columns + [ExpectedColumn(name, "float", "steps") for name in feedback]


def request_columns(schema: DataSchema, feedback: Sequence[str], environment: str) -> list[ExpectedColumn]:
    """The columns of one-record Examples, as `serve_examples` takes them.

    An absent value is a missing one, so nothing is needed but what the schema requires in the environment.
    The session column is no model input: it may be there or not.
    """
    columns = []
    for feature in schema.features:
        expected = feature.expected_in(environment) and feature.kind != "key"
        needed = expected and feature.required
        length: Length = "any" if feature.multivalued else "at most one"
        columns.append(ExpectedColumn(feature.name, _TYPES[feature.kind], length, needed, feature))
        if not feature.context and feature in schema.inputs:
            columns.append(ExpectedColumn(history_list(feature.name), _TYPES[feature.kind], "any", False))
    columns += [ExpectedColumn(history_list(task), "int", "any", False) for task in schema.task_names]
    return columns + [ExpectedColumn(name, "float", "at most one", False) for name in feedback]
