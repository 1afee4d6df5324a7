"""Which sessions are in two splits, or twice in one: 20 bytes a session, whatever the length of its id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from rmtl_tf.data.session_reader import SESSION_ID
from rmtl_tf.data.validation.anomaly import Anomaly
from rmtl_tf.data.validation.contract import ExpectedColumn
from rmtl_tf.data.validation.decode import Batch, first_values, read_batches


class SessionIndex:
    """Collects where sessions begin; hashes find the few to look at again, their ids decide."""

    def __init__(self) -> None:
        self._hashes: list[np.ndarray] = []
        self._files: list[tuple[str, str, Path]] = []
        self._places: list[np.ndarray] = []  # file number, row

    def start_file(self, split: str, name: str, path: Path) -> None:
        self._files.append((split, name, path))

    def add(self, batch: Batch) -> None:
        """Adds Examples of the file that was started last."""
        if SESSION_ID not in batch.columns:
            return
        ids = pl.from_arrow(first_values(batch, SESSION_ID))
        assert isinstance(ids, pl.Series)
        begins = np.flatnonzero((ids.is_not_null() & ids.ne_missing(ids.shift())).to_numpy())
        begins = begins[begins >= batch.repeated]
        self._hashes.append(ids.hash().to_numpy()[begins])
        file = np.full(begins.size, len(self._files) - 1)
        self._places.append(np.column_stack([file, begins + batch.first_row]))

    def anomalies(self) -> Iterator[Anomaly]:
        """`session_in_two_splits` and `session_twice`, one for each place where a session stands again."""
        suspects = self._suspects()
        known: dict[bytes, tuple[str, str, int]] = {}
        for number, rows in suspects:
            split, name, path = self._files[number]
            for row, session in _ids(path, rows):
                place = known.setdefault(session, (split, name, row))
                if place == (split, name, row):
                    continue
                rule = "session_twice" if place[0] == split else "session_in_two_splits"
                text = session.decode(errors="backslashreplace")
                detail = f"session {text}: also Example {place[2]} of {place[1]}"
                yield Anomaly(rule, "ERROR", SESSION_ID, split, name, 1, row, row, text, detail=detail)

    def _suspects(self) -> list[tuple[int, np.ndarray]]:
        """File numbers and the rows in them whose hash occurs more than once."""
        if not self._hashes:
            return []
        hashes, places = np.concatenate(self._hashes), np.concatenate(self._places)
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        again = ordered[1:] == ordered[:-1]
        twice = np.zeros(ordered.size, bool)
        twice[1:] |= again
        twice[:-1] |= again
        found = places[np.sort(order[twice])]
        return [(int(number), found[found[:, 0] == number, 1]) for number in np.unique(found[:, 0])]


def _ids(path: Path, rows: Sequence[int] | np.ndarray) -> Iterator[tuple[int, bytes]]:
    """The session ids of some Examples of a file, read again."""
    wanted = np.asarray(rows)
    for batch, _ in read_batches(path, [ExpectedColumn(SESSION_ID, "bytes", "one")]):
        own = batch.own()
        inside = wanted[(wanted >= own.first_row) & (wanted < own.first_row + own.size)]
        for row in inside.tolist():
            yield row, own.columns[SESSION_ID][row - own.first_row][0].as_py()
