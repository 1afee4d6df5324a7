"""Session Examples in memory that are right, for tests to break."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rmtl_tf.data.records import shard_path
from rmtl_tf.data.splits import SPLITS, split_dir
from rmtl_tf.schema import from_proto

SCHEMA = """
feature { name: "session_id" type: BYTES annotation { tag: "session" } }
feature { name: "time" type: INT annotation { tag: "timestamp" } }
feature { name: "user" type: BYTES annotation { tag: "user" tag: "context" } }
feature { name: "item" type: BYTES annotation { tag: "item" tag: "step" } }
feature {
  name: "device" type: BYTES annotation { tag: "context" } string_domain { value: "phone" value: "desktop" }
}
feature { name: "price" type: FLOAT float_domain { min: 0 max: 100 } annotation { tag: "step" tag: "log" } }
feature { name: "click" type: INT annotation { tag: "label:click" } }
feature { name: "buy" type: INT annotation { tag: "label:buy" tag: "parent:click" } }
"""
FEEDBACK = ("past_records",)


def read_text(text: str = SCHEMA):
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    return from_proto(text_format.Parse(text, schema_pb2.Schema()))


def example(values: dict[str, list[Any] | None]) -> bytes:
    """A serialized tf.train.Example; the type of a list is that of its first value."""
    import tensorflow as tf

    proto = tf.train.Example()
    for name, column in values.items():
        feature = proto.features.feature[name]
        if column is None:
            continue
        kind = type(column[0]) if column else int
        {bytes: feature.bytes_list, int: feature.int64_list, float: feature.float_list}[kind].value.extend(
            column
        )
    serialized: bytes = proto.SerializeToString()
    return serialized


def session(name: str, steps: int = 3, start: int = 1_000_000, **changed: Any) -> dict[str, list[Any]]:
    """A session that breaks no rule; `changed` replaces features, and None removes one."""
    values: dict[str, Any] = {
        "session_id": [name.encode()],
        "lookahead": [0],
        "user": [b"u"],
        "device": [b"phone"],
        "item": [f"i{step}".encode() for step in range(steps)],
        "time": [start + step for step in range(steps)],
        "price": [float(step) for step in range(steps)],
        "click": [1] * steps,
        "buy": [step % 2 for step in range(steps)],
        "past_records": [float(step) for step in range(steps)],
    } | changed
    return {name: value for name, value in values.items() if value is not None}


def windows(name: str, start: int = 1_000_000) -> list[dict[str, list[Any]]]:
    """A session of five steps in two windows: three and a look-ahead record, and the other two."""
    whole = session(name, 5, start)
    context = ("session_id", "lookahead", "user", "device")
    parts = [{k: v if k in context else v[a:b] for k, v in whole.items()} for a, b in ((0, 4), (3, 5))]
    return [parts[0] | {"lookahead": [1]}, parts[1]]


def write(path: Path, examples: list[dict[str, Any] | bytes]) -> Path:
    import tensorflow as tf

    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for values in examples:
            writer.write(values if isinstance(values, bytes) else example(values))
    return path


def write_splits(root: Path, **splits: list[Any]) -> Path:
    """One shard a split; a split that is not given has one good session."""
    for number, split in enumerate(SPLITS):
        good = [session(f"{split}-good", start=1_000_000 * (number + 1))]
        write(shard_path(split_dir(root, split), 0, 1), splits.get(split, good))
    return root


@pytest.fixture
def schema():
    return read_text()
