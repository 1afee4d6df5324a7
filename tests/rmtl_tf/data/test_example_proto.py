"""Every Example equals, byte for byte, what tfx-bsl writes for its features one at a time in name order."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tfx_bsl.coders import example_coder

from rmtl_tf.data.example_proto import serialize
from rmtl_tf.data.records import batch_of

BYTES, INT, FLOAT = (pa.large_list(kind) for kind in (pa.large_binary(), pa.int64(), pa.float32()))
_VALUES = {
    "bytes": st.binary(max_size=6) | st.binary(min_size=120, max_size=140),
    "int": st.integers(-(2**63), 2**63 - 1) | st.integers(0, 300),
    "float": st.floats(width=32),
}


def _examples(batch: pa.RecordBatch) -> list[bytes]:
    data, bounds = serialize(batch)
    return [data[begin:end].tobytes() for begin, end in bounds.tolist()]


def _varint(number: int) -> bytes:
    digits = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])


def _oracle(batch: pa.RecordBatch) -> list[bytes]:
    """tfx-bsl's bytes of one feature at a time, joined in name order inside one `Features`."""
    encoder = example_coder.RecordBatchToExamplesEncoder()
    rows = [b""] * len(batch)
    for name in sorted(batch.schema.names, key=str.encode):
        for i, data in enumerate(encoder.encode(batch.select([name]))):
            header = next(place for place in range(1, 6) if data[place] < 0x80)
            rows[i] += data[header + 1 :]
    return [b"\x0a" + _varint(len(body)) + body for body in rows]


@settings(max_examples=60)
@given(st.data(), st.integers(1, 8), st.lists(st.sampled_from(list(_VALUES)), min_size=1, max_size=4))
def test_any_batch_is_written_as_tfx_bsl_writes_its_features(data, rows, kinds):
    types = {"bytes": BYTES, "int": INT, "float": FLOAT}
    columns = {
        f"{kind}{place}": pa.array(
            data.draw(
                st.lists(st.none() | st.lists(_VALUES[kind], max_size=5), min_size=rows, max_size=rows)
            ),
            types[kind],
        )
        for place, kind in enumerate(kinds)
    }
    batch = pa.record_batch(columns)
    assert _examples(batch) == _oracle(batch)


def test_heads_grow_with_what_follows_them():
    """Sizes around 2^7, 2^14 and 2^21, where the length before a feature takes one byte more."""
    sizes = [0, 1, 100, 110, 120, 127, 128, 129, 16_300, 16_383, 16_384, 2_097_151, 2_097_152]
    batch = pa.record_batch(
        {
            "text": pa.array([[b"x" * size] for size in sizes], BYTES),
            "number": pa.array([[0.5] * (size // 4) for size in sizes], FLOAT),
        }
    )
    assert _examples(batch) == _oracle(batch)


def test_a_slice_of_a_batch_is_written_as_if_it_were_whole():
    batch = batch_of(
        {
            "a": pa.array([[b"one"], [b"two", b"three"], [], [b"four"]]),
            "b": pa.array([[1], [2, 3], [400], [5]]),
            "c": pa.array([[1.0], [2.0, math.nan], [], [4.0]]),
        }
    )
    assert _examples(batch.slice(1, 2)) == _examples(batch)[1:3]


def test_features_stand_in_the_order_of_their_names_as_bytes():
    columns = {name: pa.array([[1]]) for name in ("é", "z", "a", "Z", "日")}
    (example,) = _examples(pa.record_batch({name: c.cast(INT) for name, c in columns.items()}))
    places = [example.index(name.encode()) for name in ("Z", "a", "z", "é", "日")]
    assert places == sorted(places)


def test_there_is_room_before_and_after_each_example():
    batch = batch_of({"a": pa.array([[b"x"], [b"y" * 200]])})
    data, bounds = serialize(batch, before=3, after=2)
    plain = _examples(batch)
    assert [data[a:b].tobytes() for a, b in bounds.tolist()] == plain
    first, second = map(len, plain)
    assert bounds.tolist() == [[3, 3 + first], [8 + first, 8 + first + second]]
    assert data.size == 10 + first + second


def test_no_rows_are_no_bytes_and_no_columns_are_refused():
    data, bounds = serialize(pa.record_batch({"a": pa.array([], INT)}))
    assert (data.size, bounds.shape) == (0, (0, 2))
    with pytest.raises(ValueError, match="at least one column"):
        serialize(pa.record_batch({}))
