"""Logs that say what was shown together but not when: the place in the files stands in for the time.

The files of such a data set are in order (training before test rows), and so are their rows as far as is
published. A session's pseudo-time, in the place of unix seconds, is where its first row stands: all its
records have the same, so that sessions can be split in the order of the files, while no record of a session
counts as known before another. Hours and weekdays mean nothing here (`transform.time: []`), and past
feedback is always nothing (`data.feedback.enabled: false`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rmtl_tf.data.datasets.base import FILE, LINE, SESSION
from rmtl_tf.schema import DataSchema

if TYPE_CHECKING:
    import polars as pl

MOST_ROWS = 1_000_000_000  # of a file


def give_places(records: pl.DataFrame, schema: DataSchema) -> pl.DataFrame:
    """Adds the pseudo-time under the timestamp's name and makes `SESSION` distinct between files.

    A session id is `<number of the file>-<id in the file>`: files number their sessions from the beginning.
    """
    import polars as pl

    session = pl.col(FILE).cast(pl.String) + "-" + pl.col(SESSION)
    place = pl.col(FILE).cast(pl.Int64) * MOST_ROWS + pl.col(LINE)
    records = records.with_columns(session.alias(SESSION))
    return records.with_columns(place.min().over(SESSION).alias(schema.timestamp))
