from __future__ import annotations

import google_crc32c
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rmtl_tf.data import kernels


@given(st.binary(max_size=70), st.integers(0, 9))
def test_checksums_are_the_masked_crc_32c(content, before):
    data = np.frombuffer(b"?" * before + content + b"!", np.uint8)
    crc = google_crc32c.value(content)
    expected = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert kernels.masked_crc(data, before, before + len(content)) == expected


def _framed(examples: list[bytes]) -> np.ndarray:
    sizes = np.array([len(example) for example in examples])
    ends = np.cumsum(sizes + kernels.HEADER_BYTES + kernels.CHECKSUM_BYTES) - kernels.CHECKSUM_BYTES
    bounds = np.stack([ends - sizes, ends], axis=1)
    data = np.zeros(ends[-1] + kernels.CHECKSUM_BYTES, np.uint8)
    for example, (begin, end) in zip(examples, bounds, strict=True):
        data[begin:end] = np.frombuffer(example, np.uint8)
    kernels.frame(data, bounds)
    return data


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5), st.data())
def test_whole_records_are_found_wherever_the_data_are_cut(examples, draw):
    data = _framed(examples)
    cut = draw.draw(st.integers(0, data.size))
    ends = np.cumsum([len(example) + 16 for example in examples])
    bounds = np.empty((6, 2), np.int64)
    count, used, damaged = kernels.find_records(data[:cut], bounds)
    assert (count, damaged) == (np.searchsorted(ends, cut, side="right"), False)
    assert used == (ends[count - 1] if count else 0)
    assert [data[a:b].tobytes() for a, b in bounds[:count]] == examples[:count]


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4), st.data())
def test_a_changed_bit_is_found_in_its_record(examples, draw):
    data = _framed(examples)
    place = draw.draw(st.integers(0, data.size - 1))
    data[place] ^= 1 << draw.draw(st.integers(0, 7))
    starts = np.cumsum([0, *(len(example) + 16 for example in examples)])
    record = int(np.searchsorted(starts, place, side="right")) - 1
    bounds = np.empty((5, 2), np.int64)
    assert kernels.find_records(data, bounds) == (record, starts[record], True)
