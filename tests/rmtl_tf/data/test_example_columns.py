"""Columns read from Examples equal those that were written and those that tfx-bsl reads."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.coders import example_coder

from rmtl_tf.data.example_columns import columns
from rmtl_tf.data.example_proto import serialize

KINDS = {"bytes": pa.large_binary(), "int": pa.int64(), "float": pa.float32()}
VALUES = {
    "bytes": st.binary(max_size=5) | st.binary(min_size=126, max_size=130),
    "int": st.integers(-(2**63), 2**63 - 1) | st.integers(0, 200),
    "float": st.floats(width=32, allow_nan=False),
}


def _laid(examples: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    ends = np.cumsum([len(example) for example in examples])
    bounds = np.stack([ends - [len(example) for example in examples], ends], axis=1)
    return np.frombuffer(b"".join(examples), np.uint8), bounds


def _example(**features) -> bytes:
    make = {bytes: ("bytes_list", tf.train.BytesList), int: ("int64_list", tf.train.Int64List)}
    make[float] = ("float_list", tf.train.FloatList)
    proto = tf.train.Example()
    for name, values in features.items():
        field, cls = make[type(values[0])] if values else make[float]
        proto.features.feature[name].CopyFrom(tf.train.Feature(**{field: cls(value=values)}))
    return proto.SerializeToString(deterministic=True)


@settings(max_examples=60)
@given(st.data(), st.integers(1, 8), st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=4))
def test_what_is_written_is_read_back_and_is_what_tfx_bsl_reads(data, rows, kinds):
    types = {f"{kind}{place}": kind for place, kind in enumerate(kinds)}
    batch = pa.record_batch(
        {
            name: pa.array(
                data.draw(st.lists(st.lists(VALUES[kind], max_size=4), min_size=rows, max_size=rows)),
                pa.large_list(KINDS[kind]),
            )
            for name, kind in types.items()
        }
    )
    content, bounds = serialize(batch)
    found = columns(content, bounds, types)
    assert found is not None
    assert found.equals(batch)
    schema = schema_pb2.Schema()
    for name, kind in types.items():
        schema.feature.add(name=name, type=schema_pb2.FeatureType.Value(kind.upper()))
    decoder = example_coder.ExamplesToRecordBatchDecoder(schema.SerializeToString())
    assert found.to_pylist() == decoder.DecodeBatch([content[a:b].tobytes() for a, b in bounds]).to_pylist()


def test_some_features_of_several_come_in_the_order_asked_for():
    examples = [_example(a=[1], b=[b"x", b""], c=[0.5]), _example(a=[300, -1], b=[b"yy"], c=[1.5, 2.5])]
    found = columns(*_laid(examples), {"c": "float", "b": "bytes"})
    assert found is not None
    assert found.to_pydict() == {"c": [[0.5], [1.5, 2.5]], "b": [[b"x", b""], [b"yy"]]}


@pytest.mark.parametrize(
    "second",
    [
        _example(a=[1], z=[b"x"]),
        _example(a=[1]),
        _example(a=[1], b=[b"x"], c=[0.5]),
        _example(a=[0.5], b=[b"x"]),
        _example(b=[b"x"], d=[1]),
        b"",
        _example(a=[1], b=[b"x"]) + b"\x12\x00",
        _example(a=[1], b=[b"x"])[:-1],
        _example(a=[1], b=[b"x"]).replace(b"\x1a\x03\x0a\x01\x01", b"\x1a\x03\x08\x01\x01"),
    ],
    ids=["name", "missing", "more", "type", "order", "empty", "field", "cut", "not packed"],
)
def test_examples_of_another_form_are_not_read_rather_than_misread(second):
    first = _example(a=[1], b=[b"x"])
    assert columns(*_laid([first]), {"a": "int", "b": "bytes"}) is not None
    assert columns(*_laid([first, second]), {"a": "int", "b": "bytes"}) is None


def test_a_feature_of_another_type_is_not_read_and_one_that_none_has_is_null():
    example = _example(a=[1])
    assert columns(*_laid([example]), {"a": "float"}) is None
    found = columns(*_laid([example] * 2), {"q": "bytes", "a": "int"})
    assert found is not None
    assert found.to_pydict() == {"q": [None, None], "a": [[1], [1]]}
    assert found.schema.field("q").type == pa.large_list(pa.large_binary())


@settings(max_examples=300)
@given(st.integers(0, 60), st.integers(0, 255))
def test_a_changed_byte_is_read_as_values_or_not_at_all(place, byte):
    """Never an error, and where it is read, tfx-bsl reads the same."""
    examples = [_example(a=[1, 300], b=[b"x", b"yz"], c=[0.5, 1.5])] * 2
    changed = bytearray(examples[1])
    changed[place % len(changed)] = byte
    content, bounds = _laid([examples[0], bytes(changed)])
    types = {"a": "int", "b": "bytes", "c": "float"}
    found = columns(content, bounds, types)
    if found is None:
        return
    proto = tf.train.Example.FromString(bytes(changed))
    assert found["a"][1].as_py() == list(proto.features.feature["a"].int64_list.value)
    assert found["b"][1].as_py() == list(proto.features.feature["b"].bytes_list.value)
    np.testing.assert_array_equal(found["c"][1].as_py(), list(proto.features.feature["c"].float_list.value))
