"""FarmHash's Fingerprint64 of many values at once: the hash of `tf.strings.to_hash_bucket_fast`.

So that a value falls into the same bucket here, in numpy, and inside a SavedModel, on every machine and in
every version: a fingerprint is promised never to change. Read in published code (FarmHash,
github.com/google/farmhash, namespace farmhashna, MIT licence); a test compares it with TensorFlow's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

_K0, _K1, _K2 = (np.uint64(k) for k in (0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F))
_SEED = 81
_BLOCK = 64
_PADDING = 8  # bytes behind the last value, so that a word can be read from any of its bytes
_MOST = 1 << 16  # values at a time: more would leave the caches


class _Words(NamedTuple):
    """Values of one class of lengths: all their bytes, where each begins, and its length, [N]."""

    data: np.ndarray
    start: np.ndarray
    length: np.ndarray

    def read(self, offset: int | np.ndarray, size: int = 8) -> np.ndarray:
        """The little-endian word of `size` bytes at `offset` of each value."""
        places = (self.start + offset)[:, np.newaxis] + np.arange(size)
        return self.data[places].view(f"<u{size}")[:, 0].astype(np.uint64)

    def end(self, offset: int) -> np.ndarray:
        """The word `offset` bytes before the end."""
        return self.read(self.length - offset)

    @property
    def mul(self) -> np.ndarray:
        return _K2 + self.length.astype(np.uint64) * np.uint64(2)


def fingerprint64(values: pa.Array) -> np.ndarray:
    """The fingerprint of each value's bytes, uint64 [N]; nulls count as empty.

    Args:
        values: binary or large_binary [N].
    """
    values = values.cast(pa.large_binary()).fill_null(b"")
    result = np.empty(len(values), np.uint64)
    for first in range(0, len(values), _MOST):
        result[first : first + _MOST] = _fingerprints(values.slice(first, _MOST))
    return result


def buckets_of(values: pa.Array, buckets: int) -> np.ndarray:
    """The bucket of each value, int64 [N] from 0 to `buckets` - 1, as `tf.strings.to_hash_bucket_fast`."""
    return (fingerprint64(values) % np.uint64(buckets)).astype(np.int64)


def _fingerprints(values: pa.Array) -> np.ndarray:
    _, offsets, data = values.buffers()
    ends = np.frombuffer(offsets, np.int64)[values.offset : values.offset + len(values) + 1]
    raw = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]] if data is not None else np.empty(0, np.uint8)
    raw = np.concatenate([raw, np.zeros(_PADDING, np.uint8)])
    start, length = ends[:-1] - ends[0], np.diff(ends)
    result = np.full(len(values), _K2, np.uint64)  # of the empty value
    for low, high, function in _CLASSES:
        rows = np.flatnonzero((length >= low) & (length <= high))
        if rows.size:
            result[rows] = function(_Words(raw, start[rows], length[rows]))
    return result


def _up_to_3(words: _Words) -> np.ndarray:
    length = words.length
    first, middle, last = (words.read(place, 1) for place in (0, length >> 1, length - 1))
    y = first + (middle << np.uint64(8))
    z = length.astype(np.uint64) + (last << np.uint64(2))
    return _mix(y * _K2 ^ z * _K0) * _K2


def _up_to_7(words: _Words) -> np.ndarray:
    first = words.length.astype(np.uint64) + (words.read(0, 4) << np.uint64(3))
    return _pair(first, words.read(words.length - 4, 4), words.mul)


def _up_to_16(words: _Words) -> np.ndarray:
    mul = words.mul
    a, b = words.read(0) + _K2, words.end(8)
    return _pair(_rotate(b, 37) * mul + a, (_rotate(a, 25) + b) * mul, mul)


def _up_to_32(words: _Words) -> np.ndarray:
    mul = words.mul
    a, b, c, d = words.read(0) * _K1, words.read(8), words.end(8) * mul, words.end(16) * _K2
    return _pair(_rotate(a + b, 43) + _rotate(c, 30) + d, a + _rotate(b + _K2, 18) + c, mul)


def _up_to_64(words: _Words) -> np.ndarray:
    mul = words.mul
    a, b, c, d = words.read(0) * _K2, words.read(8), words.end(8) * mul, words.end(16) * _K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d
    z = _pair(y, a + _rotate(b + _K2, 18) + c, mul)
    e, f = words.read(16) * mul, words.read(24)
    g, h = (y + words.end(32)) * mul, (z + words.end(24)) * mul
    return _pair(_rotate(e + f, 43) + _rotate(g, 30) + h, e + _rotate(f + a, 18) + g, mul)


def _longer(words: _Words) -> np.ndarray:
    """Longest first, so that those with a block left are always the first rows."""
    order = np.argsort(-words.length, kind="stable")
    words = _Words(words.data, words.start[order], words.length[order])
    n, blocks = len(order), (words.length - 1) // _BLOCK
    y = np.full(n, (_SEED * int(_K1) + 113) % 2**64, np.uint64)
    x = np.uint64(_SEED * int(_K2) % 2**64) + words.read(0)
    z = _mix(y * _K2 + np.uint64(113)) * _K2
    v, w = (np.zeros((2, n), np.uint64) for _ in range(2))
    for block in range(int(blocks[0])):
        left = int(np.searchsorted(-blocks, -block))  # rows with more than `block` blocks
        part = _Words(words.data, words.start[:left] + block * _BLOCK, words.length[:left])
        state = (x[:left], y[:left], z[:left], v[:, :left], w[:, :left])
        x[:left], y[:left], z[:left], v[:, :left], w[:, :left] = _block(part, state, _K1, 1)
    rest = ((words.length - 1) % _BLOCK).astype(np.uint64)
    mul = _K1 + ((z & np.uint64(0xFF)) << np.uint64(1))
    w[0] += rest
    v[0] += w[0]
    w[0] += v[0]
    last = _Words(words.data, words.start + words.length - _BLOCK, words.length)
    x, y, z, v, w = _block(last, (x, y, z, v, w), mul, 9)
    mixed = _pair(v[0], w[0], mul) + _mix(y) * _K0 + z
    result = np.empty(n, np.uint64)
    result[order] = _pair(mixed, _pair(v[1], w[1], mul) + x, mul)
    return result


_State = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _block(words: _Words, state: _State, mul: np.ndarray | np.uint64, weight: int) -> _State:
    """One block of 64 bytes; the last of a value multiplies some terms by 9 (`weight`)."""
    x, y, z, v, w = state
    nine = np.uint64(weight)
    x = _rotate(x + y + v[0] + words.read(8), 37) * mul
    y = _rotate(y + v[1] + words.read(48), 42) * mul
    x = x ^ w[1] * nine
    y = y + v[0] * nine + words.read(40)
    z = _rotate(z + w[0], 33) * mul
    v = _weak(words, 0, v[1] * mul, x + w[0])
    w = _weak(words, 32, z + w[1], y + words.read(16))
    return z, y, x, v, w


def _weak(words: _Words, offset: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Two sums [2, N] of the four words at `offset` and the seeds `a`, `b`."""
    first, second, third, fourth = (words.read(offset + 8 * i) for i in range(4))
    a = a + first
    b = _rotate(b + a + fourth, 21)
    start = a
    a = a + second + third
    b = b + _rotate(a, 44)
    return np.stack([a + fourth, b + start])


def _rotate(x: np.ndarray, bits: int) -> np.ndarray:
    return (x >> np.uint64(bits)) | (x << np.uint64(64 - bits))


def _mix(x: np.ndarray) -> np.ndarray:
    return x ^ (x >> np.uint64(47))


def _pair(u: np.ndarray, v: np.ndarray, mul: np.ndarray) -> np.ndarray:
    a = _mix((u ^ v) * mul)
    return _mix((v ^ a) * mul) * mul


_CLASSES = (
    (1, 3, _up_to_3),
    (4, 7, _up_to_7),
    (8, 16, _up_to_16),
    (17, 32, _up_to_32),
    (33, 64, _up_to_64),
    (65, np.inf, _longer),
)
