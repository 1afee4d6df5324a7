from __future__ import annotations

import zlib

import numpy as np
import polars as pl

from rmtl_tf.data.shuffle import (
    exists,
    gather,
    pack,
    partition_numbers,
    parts_of,
    read_frame,
    remove,
    spill,
    unpack,
    write_frame,
)

FRAME = pl.DataFrame({"n": range(12), "text": [f"é{n}" if n % 3 else None for n in range(12)]})


def test_every_partition_gets_its_rows_from_every_file_in_the_order_of_pieces(tmp_path):
    partition = np.array([n % 4 for n in range(12)])
    pieces: dict[int, list] = {}
    for part in (1, 0):
        rows = slice(6 * part, 6 * part + 6)
        path = str(tmp_path / f"{part}.arrow")
        for number, piece in spill(FRAME[rows], partition[rows], path, (part,)):
            pieces.setdefault(number, []).append(piece)
    assert sorted(pieces) == [0, 1, 2, 3]
    for number, found in pieces.items():
        assert gather(found).equals(FRAME.filter(pl.Series(partition == number)))


def test_no_rows_are_no_file(tmp_path):
    assert list(spill(FRAME.clear(), np.array([], np.int64), str(tmp_path / "a.arrow"), (0,))) == []
    assert list(tmp_path.iterdir()) == []


def test_a_frame_is_read_back_whole_or_some_columns(tmp_path):
    path = write_frame(FRAME, str(tmp_path / "work" / "a.arrow"))
    assert exists(path)
    assert read_frame(path).equals(FRAME)
    assert read_frame(path, ["text"]).equals(FRAME.select("text"))
    assert unpack(pack(FRAME)).equals(FRAME)
    remove(str(tmp_path / "work"))
    assert not exists(path)
    remove(str(tmp_path / "work"))


def test_a_key_has_the_partition_its_checksum_names_as_text_and_as_bytes():
    keys = pl.Series(["a", "b", "é", "", "a"])
    expected = [zlib.crc32(key.encode()) % 3 for key in keys]
    assert partition_numbers(keys, 3).tolist() == expected
    assert partition_numbers(keys.cast(pl.Binary), 3).tolist() == expected


def test_equal_values_have_one_part_and_all_parts_are_used():
    values = pl.Series([f"v{n % 500}" for n in range(1000)])
    parts = parts_of(values, 7)
    assert (parts[:500] == parts[500:]).all()
    assert set(parts.tolist()) == set(range(7))
