"""The byte loops of TFRecords and of serialized Examples, compiled.

`records`, `example_proto` and `example_columns` say what they are for. Letters: B Examples, F features. A
feature is one of three kinds, named by the tag of its list in `tf.train.Feature`.
"""

from __future__ import annotations

import numpy as np

from rmtl_tf.compiled import compiled

BYTES, FLOATS, INTS = 0x0A, 0x12, 0x1A
HEADER_BYTES = 12  # of a TFRecord: a length and its checksum
CHECKSUM_BYTES = 4

FIELD_1, FIELD_2 = 0x0A, 0x12  # a field of a message, with a length before its content
_LONGEST = 10  # bytes of a varint


def _crc_tables(polynomial: int) -> np.ndarray:
    """Tables [8, 256] of a CRC for eight bytes at a time (Kounavis and Berry 2008, slicing-by-8)."""
    table = np.arange(256, dtype=np.int64)
    for _ in range(8):
        table = table >> 1 ^ polynomial * (table & 1)
    tables = [table]
    for _ in range(7):
        tables.append(tables[-1] >> 8 ^ table[tables[-1] & 0xFF])
    return np.stack(tables)


_CRC = _crc_tables(0x82F63B78)  # CRC-32C
_ZIP_CRC = _crc_tables(0xEDB88320)[0]


@compiled
def _number(data, at, size):
    """The `size` bytes at `at`, the least significant first."""
    number = np.int64(0)
    for i in range(size):
        number |= np.int64(data[at + i]) << (8 * i)
    return number


@compiled
def masked_crc(data, begin, end):
    """The CRC-32C of data[begin:end] in the form that TFRecords hold."""
    crc, at = 0xFFFFFFFF, begin
    while end - at >= 8:
        low, high = crc ^ _number(data, at, 4), _number(data, at + 4, 4)
        crc = (
            _CRC[7, low & 0xFF]
            ^ _CRC[6, low >> 8 & 0xFF]
            ^ _CRC[5, low >> 16 & 0xFF]
            ^ _CRC[4, low >> 24]
            ^ _CRC[3, high & 0xFF]
            ^ _CRC[2, high >> 8 & 0xFF]
            ^ _CRC[1, high >> 16 & 0xFF]
            ^ _CRC[0, high >> 24]
        )
        at += 8
    while at < end:
        crc = crc >> 8 ^ _CRC[0, (crc ^ data[at]) & 0xFF]
        at += 1
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@compiled
def partition_numbers(data, bounds, partitions, numbers):
    """Fills numbers [N] with `zlib.crc32(data[bounds[i]:bounds[i + 1]]) % partitions`."""
    for i in range(numbers.size):
        crc = 0xFFFFFFFF
        for at in range(bounds[i], bounds[i + 1]):
            crc = crc >> 8 ^ _ZIP_CRC[(crc ^ data[at]) & 0xFF]
        numbers[i] = (crc ^ 0xFFFFFFFF) % partitions


@compiled
def _put_number(out, at, number, size):
    for i in range(size):
        out[at + i] = number >> (8 * i) & 0xFF


@compiled
def frame(out, bounds):
    """Puts length and checksums around the Examples, which begin and end at bounds [B, 2]."""
    for row in range(bounds.shape[0]):
        begin, end = bounds[row]
        head = begin - HEADER_BYTES
        _put_number(out, head, end - begin, 8)
        _put_number(out, head + 8, masked_crc(out, head, head + 8), 4)
        _put_number(out, end, masked_crc(out, begin, end), 4)


@compiled
def find_records(data, bounds):
    """Fills bounds [.., 2] with where the Examples of the TFRecords in `data` begin and end.

    Returns:
        How many whole records there are, how many bytes these take, and whether the next one is damaged.
    """
    count, at = 0, 0
    while at + HEADER_BYTES <= data.size:
        if _number(data, at + 8, 4) != masked_crc(data, at, at + 8):
            return count, at, True
        begin, size = at + HEADER_BYTES, _number(data, at, 8)
        if size < 0:
            return count, at, True
        if size > data.size - begin - CHECKSUM_BYTES:
            break
        end = begin + size
        if _number(data, end, 4) != masked_crc(data, begin, end):
            return count, at, True
        bounds[count, 0], bounds[count, 1] = begin, end
        count, at = count + 1, end + CHECKSUM_BYTES
    return count, at, False


@compiled
def _varint_size(number):
    digits, size = np.uint64(number), 1
    while digits > np.uint64(0x7F):
        digits >>= np.uint64(7)
        size += 1
    return size


@compiled
def _put_varint(out, at, number):
    """Writes `number`; returns where it ends."""
    digits = np.uint64(number)
    while digits > np.uint64(0x7F):
        out[at] = digits & np.uint64(0x7F) | np.uint64(0x80)
        digits >>= np.uint64(7)
        at += 1
    out[at] = digits
    return at + 1


@compiled
def _put_head(out, at, tag, size):
    """Writes the tag and the length of a field; returns where its content begins."""
    out[at] = tag
    return _put_varint(out, at + 1, size)


@compiled
def _copy(out, at, data, begin, end):
    """Copies data[begin:end] to out[at:]; returns where it ends."""
    for i in range(end - begin):
        out[at + i] = data[begin + i]
    return at + end - begin


@compiled
def _with_head(size):
    return 1 + _varint_size(size) + size


@compiled
def _sizes(content, kind, null, key):
    """Sizes of a feature's list, of the feature and of its map entry, of those of content and key."""
    values = _with_head(content) if kind != BYTES and content else content
    feature = 0 if null else _with_head(values)
    return values, feature, _with_head(key) + _with_head(feature)


@compiled
def measure(first, past, kind, key, offsets, null, bounds, numbers, content, total):
    """Of rows first to past: bytes of a feature's values to `content`, those of its entry added to `total`.

    Args: see `write`.
    """
    for row in range(first, past):
        size = 0
        if kind == FLOATS:
            size = 4 * (offsets[row + 1] - offsets[row])
        elif kind == BYTES:
            for i in range(offsets[row], offsets[row + 1]):
                size += _with_head(bounds[i + 1] - bounds[i])
        else:
            for i in range(offsets[row], offsets[row + 1]):
                size += _varint_size(numbers[i])
        content[row] = size
        total[row] += _with_head(_sizes(size, kind, null.size and null[row], key.size)[2])


@compiled
def lay_examples(total, before, after, bounds):
    """Lays Examples with features of `total` [B] bytes end to end, with some bytes around each.

    Returns:
        The bytes of all; `bounds` [B, 2] is where each Example begins and ends.
    """
    at = 0
    for row in range(total.size):
        bounds[row, 0] = at + before
        bounds[row, 1] = at + before + _with_head(total[row])
        at = bounds[row, 1] + after
    return at


@compiled
def begin_examples(first, past, total, bounds, out, at):
    """Writes the heads of Examples first to past; `at` is where their features begin."""
    for row in range(first, past):
        at[row] = _put_head(out, bounds[row, 0], FIELD_1, total[row])


@compiled
def write(first, past, kind, key, offsets, null, data, bounds, numbers, content, out, at):
    """Writes a feature's map entry of rows first to past at `at`, and moves `at` behind it.

    Args:
        kind, key: of the feature; key is its name, uint8.
        offsets: where the values of each row begin, int64 [B + 1].
        null: bool [B], or empty: rows whose feature has no list.
        data, bounds: the values as bytes; value i of BYTES is data[bounds[i]:bounds[i + 1]].
        numbers: the values of INTS, int64.
        content: from `measure`.
    """
    for row in range(first, past):
        no_list = null.size and null[row]
        values, feature, entry = _sizes(content[row], kind, no_list, key.size)
        to = _put_head(out, at[row], FIELD_1, entry)
        to = _copy(out, _put_head(out, to, FIELD_1, key.size), key, 0, key.size)
        to = _put_head(out, to, FIELD_2, feature)
        if not no_list:
            to = _put_head(out, to, kind, values)
        if kind != BYTES and content[row]:
            to = _put_head(out, to, FIELD_1, content[row])
        begin, end = offsets[row], offsets[row + 1]
        if kind == FLOATS:
            to = _copy(out, to, data, 4 * begin, 4 * end)
        elif kind == INTS:
            for i in range(begin, end):
                to = _put_varint(out, to, numbers[i])
        else:
            for i in range(begin, end):
                to = _put_head(out, to, FIELD_1, bounds[i + 1] - bounds[i])
                to = _copy(out, to, data, bounds[i], bounds[i + 1])
        at[row] = to


@compiled
def _varint(data, at, end):
    """The number that stands at `at` and where it ends, at most at `end`; -1 where none does."""
    number, shift = np.uint64(0), np.uint64(0)
    for i in range(at, min(end, at + _LONGEST)):
        number |= np.uint64(data[i] & 0x7F) << shift
        if data[i] < 0x80:
            return np.int64(number), i + 1
        shift += np.uint64(7)
    return 0, -1


@compiled
def field(data, at, end, tag):
    """Where the content of the field at `at` begins and ends; (-1, -1) if it is not `tag` or is cut off."""
    if at < 0 or at >= end or data[at] != tag:
        return -1, -1
    size, begin = _varint(data, at + 1, end)
    if begin < 0 or size < 0 or size > end - begin:
        return -1, -1
    return begin, begin + size


@compiled
def _whole(data, at, end, tag):
    """Where the content of a field that fills all up to `end` begins, or -1."""
    begin, stop = field(data, at, end, tag)
    return begin if stop == end else -1


@compiled
def _count(data, at, end, kind):
    """How many values of a list stand from `at` to `end`; -1 if that is no list of them."""
    count = 0
    if kind == FLOATS:
        return (end - at) // 4 if (end - at) % 4 == 0 else -1
    while at < end:
        at = field(data, at, end, FIELD_1)[1] if kind == BYTES else _varint(data, at, end)[1]
        if at < 0:
            return -1
        count += 1
    return count


@compiled
def find_values(data, bounds, keys, key_bounds, kinds, begin, end, count):
    """Fills begin, end and count [F, B] with where the values of each feature are and how many.

    Args:
        bounds: of the Examples in `data` [B, 2].
        keys, key_bounds: the first field of the features' map entries as it must stand there.
        kinds: of the features [F].

    Returns:
        Whether every Example has these features in this order, and nothing else.
    """
    for row in range(bounds.shape[0]):
        stop = bounds[row, 1]
        at = _whole(data, bounds[row, 0], stop, FIELD_1)
        for i in range(kinds.size):
            entry, past = field(data, at, stop, FIELD_1)
            if entry < 0:
                return False
            size = key_bounds[i + 1] - key_bounds[i]
            if size > past - entry:
                return False
            for j in range(size):
                if data[entry + j] != keys[key_bounds[i] + j]:
                    return False
            at = _whole(data, _whole(data, entry + size, past, FIELD_2), past, kinds[i])
            if at >= 0 and kinds[i] != BYTES and at < past:
                at = _whole(data, at, past, FIELD_1)
            values = _count(data, at, past, kinds[i]) if at >= 0 else -1
            if values < 0:
                return False
            begin[i, row], end[i, row], count[i, row] = at, past, values
            at = past
        if at != stop:
            return False
    return True


@compiled
def read_floats(data, begin, end, out):
    """The values of a feature that `find_values` found, as bytes."""
    at = 0
    for row in range(begin.size):
        at = _copy(out, at, data, begin[row], end[row])


@compiled
def read_ints(data, begin, end, out):
    count = 0
    for row in range(begin.size):
        at = begin[row]
        while at < end[row]:
            out[count], at = _varint(data, at, end[row])
            count += 1


@compiled
def read_bytes(data, begin, end, out, bounds):
    """Lays the values end to end in `out`; value i is out[bounds[i]:bounds[i + 1]]."""
    count, to = 0, 0
    bounds[0] = 0
    for row in range(begin.size):
        at = begin[row]
        while at < end[row]:
            size, at = _varint(data, at + 1, end[row])
            to = _copy(out, to, data, at, at + size)
            count, at = count + 1, at + size
            bounds[count] = to
