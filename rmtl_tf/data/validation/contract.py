"""What an Example should hold: the columns of docs/architecture.md, by environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rmtl_tf.data.records import FeatureType
from rmtl_tf.data.session_reader import LOOKAHEAD, SESSION_ID
from rmtl_tf.schema import TRAINING, DataSchema, Feature

Length = Literal["one", "steps", "at most one"]


@dataclass(frozen=True)
class ExpectedColumn:
    """One feature of the Examples.

    Attributes:
        type: of its values.
        length: one value an Example; one a step; at most one.
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
            columns.append(ExpectedColumn(feature.name, _TYPES[feature.kind], length, needed, feature))
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
        columns.append(ExpectedColumn(feature.name, _TYPES[feature.kind], "at most one", needed, feature))
    return columns + [ExpectedColumn(name, "float", "at most one", False) for name in feedback]
