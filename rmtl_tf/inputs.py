"""Transformed session Examples -> an in-memory table of records -> `tf.data` batches of transitions.

A batch is whole session windows laid end to end and padded to a fixed number of records, so that
the next state of a record is the next row: no second look-up. The order of an epoch is a plan, an
integer matrix that depends on the seed and the epoch alone; training resumes in the middle of an
epoch by dropping the rows of the plan that are done. Features that do not fit into memory stay in a
file (`rmtl_tf.packed`, `rmtl_tf.spill`); the plan, and so the result, is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from rmtl_tf.data.datasets.base import label_time
from rmtl_tf.errors import UserError
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.history import History, HistoryGatherer, find_history
from rmtl_tf.packed import PackedFeatures, Packing
from rmtl_tf.spill import GROUP, BlockReader, SpillWriter, block_edges

SHUFFLED = 1 << 20  # records that are shuffled with one another, `training.shuffle_records`
_PARSE_BATCH = 4096
_PARSERS = 2


@dataclass(frozen=True)
class RecordTable:
    """The records of a split, R rows, windows of a session one after another in time order.

    Attributes:
        features: model input -> [R] int32 or float32, or [R, M] int32 where a record has several ids; views
            of one matrix, in memory or in a file, where they are packed.
        labels: [R, K] float32.
        timestamp: [R] int64, seconds.
        session: [R] int32, number of the session; windows of one session share it.
        length: [R] float32, records in the whole session.
        lookahead: [R] bool, True for rows that only show the next state of a cut window.
        done: [R] bool, True at the last record of a session.
        windows: [W + 1] int64, first row of every window, and R.
        history: the earlier records of every row; None where the model reads none.
    """

    features: Mapping[str, np.ndarray]
    labels: np.ndarray
    timestamp: np.ndarray
    session: np.ndarray
    length: np.ndarray
    lookahead: np.ndarray
    done: np.ndarray
    windows: np.ndarray
    history: History | None = None

    @property
    def rows(self) -> int:
        return len(self.timestamp)

    @property
    def records(self) -> np.ndarray:
        """Row numbers of the real records, without look-ahead rows."""
        return np.flatnonzero(~self.lookahead)


def read_table(
    split: Path,
    spec: InputSpec,
    labels: Sequence[str],
    timestamp: str,
    files: Sequence[Path] | None = None,
    spill: Path | None = None,
) -> RecordTable:
    """Reads the transformed session Examples of a split, in file order.

    Args:
        files: some of the split's files; None: all.
        spill: folder in which a file takes the features; None: memory does.

    Raises:
        UserError: there are none, or a list has another length than the timestamps.
    """
    paths = [str(path) for path in (split_files(split) if files is None else files)]
    columns: dict[str, list[np.ndarray]] = {}
    lengths: list[np.ndarray] = []
    times = [label_time(task.label) for task in spec.history.tasks] if spec.history else []
    several = dict(spec.several)
    features = {name for name, _ in spec.categorical} | set(spec.numeric)
    packing = Packing.of(spec)
    writer = None if spill is None else SpillWriter(spill, packing)
    matrices: list[np.ndarray] = []
    for parsed in ragged_batches(paths, spec, [*labels, *times], timestamp):
        rows = parsed[timestamp].row_lengths().numpy()
        lengths.append(rows)
        inputs: dict[str, np.ndarray] = {}
        for name, value in parsed.items():
            if name in times and not len(value.flat_values):  # the reader gives no times of this label
                value = parsed[timestamp]
            if isinstance(value, tf.RaggedTensor):
                if not np.array_equal(value.row_lengths().numpy(), rows * several.get(name, 1)):
                    raise UserError(f"{split}: {name!r} has another number of steps than {timestamp!r}.")
                value = value.flat_values
            if name in features:
                dtype = np.float32 if name in spec.numeric else np.int32
                inputs[name] = value.numpy().astype(dtype, copy=False).reshape(_shape(several.get(name)))
            else:
                columns.setdefault(name, []).append(value.numpy())
        (matrices if writer is None else writer).append(packing.pack(inputs))
    if not lengths or not sum(map(len, lengths)):
        raise UserError(f"{split}: no session Examples. Run the pipeline from ExampleGen again.")
    flat = {name: np.concatenate(columns.pop(name)) for name in list(columns)}
    packed = PackedFeatures(packing, np.concatenate(matrices)) if writer is None else writer.finish()
    return _assemble(flat, np.concatenate(lengths), packed, spec, labels, timestamp)


def _shape(several: int | None) -> tuple[int, ...]:
    return (-1,) if several is None else (-1, several)


def split_files(split: Path) -> list[Path]:
    """The files of a split, in order."""
    return sorted(Path(split).glob("data-*.tfrecord"))


def ragged_batches(
    files: Sequence[str], spec: InputSpec, labels: Sequence[str], timestamp: str
) -> Iterator[dict[str, tf.Tensor]]:
    """The transformed session Examples of `files`, in their order, some thousand windows at a time.

    Yields:
        name -> ragged [B, (T)] for every model input, label and the timestamp; `session_id` [B] and
        `lookahead` [B].
    """
    wanted: dict[str, object] = {name: tf.io.RaggedFeature(tf.int64) for name, _ in spec.categorical}
    wanted |= {name: tf.io.RaggedFeature(tf.float32) for name in spec.numeric}
    wanted |= {name: tf.io.RaggedFeature(tf.int64) for name in (*labels, timestamp)}
    wanted["session_id"] = tf.io.FixedLenFeature([], tf.string)
    wanted["lookahead"] = tf.io.FixedLenFeature([], tf.int64)
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = _PARSERS
    examples = tf.data.TFRecordDataset(files).batch(_PARSE_BATCH)
    # Batches are parsed side by side and come in file order.
    parsed = examples.map(
        lambda serialized: tf.io.parse_example(serialized, wanted),
        num_parallel_calls=_PARSERS,
        deterministic=True,
    )
    yield from parsed.prefetch(_PARSERS).with_options(options)


def _assemble(
    flat: Mapping[str, np.ndarray],
    lengths: np.ndarray,
    features: PackedFeatures,
    spec: InputSpec,
    labels: Sequence[str],
    timestamp: str,
) -> RecordTable:
    windows = np.concatenate([[0], np.cumsum(lengths)])
    last_rows = windows[1:] - 1
    is_cut = flat["lookahead"].astype(bool)
    rows = int(windows[-1])
    lookahead = np.zeros(rows, bool)
    lookahead[last_rows[is_cut]] = True
    done = np.zeros(rows, bool)
    done[last_rows[~is_cut]] = True
    # A window continues the session of the window before it exactly when that one was cut.
    session_of_window = np.cumsum(np.concatenate([[True], ~is_cut[:-1]])) - 1
    session = np.repeat(session_of_window, lengths).astype(np.int32)
    length = np.bincount(session, weights=~lookahead)
    history = None
    if spec.history is not None:
        times = {task.label: flat[label_time(task.label)] for task in spec.history.tasks}
        history = find_history(spec.history, flat[timestamp], session, lookahead, flat, times)
    return RecordTable(
        features=features,
        labels=np.stack([flat[name] for name in labels], axis=1).astype(np.float32),
        timestamp=flat[timestamp],
        session=session,
        length=length[session].astype(np.float32),
        lookahead=lookahead,
        done=done,
        windows=windows,
        history=history,
    )


def epoch_plan(
    table: RecordTable, batch_size: int, seed: int | None, epoch: int = 0, shuffled: int = SHUFFLED
) -> np.ndarray:
    """Row numbers of every batch of an epoch, [batches, batch_size] int64; -1 is padding.

    Windows are shuffled by (seed, epoch), or kept in order where `seed` is None, and packed one
    after another; a window never crosses batches.

    Args:
        shuffled: records that are shuffled with one another; of a longer table blocks are drawn at random
            that have so many together, and their windows are shuffled.

    Raises:
        UserError: a window does not fit into a batch.
    """
    return plan_windows(table.windows, batch_size, None if seed is None else [seed, epoch], shuffled)


def plan_windows(
    windows: np.ndarray, batch_size: int, seed: Sequence[int] | None, shuffled: int = SHUFFLED
) -> np.ndarray:
    """As `epoch_plan`, of a table with these `windows` [W + 1]."""
    lengths = np.diff(windows)
    if lengths.max() > batch_size:
        raise UserError(
            f"training.batch_size: {batch_size} records cannot hold a session window of {lengths.max()}. "
            "Raise batch_size or lower data.session.max_steps."
        )
    order = np.arange(len(lengths)) if seed is None else _shuffle(windows, seed, shuffled)
    batch_of, column_of = _pack(lengths[order], batch_size)
    plan = np.full((batch_of[-1] + 1, batch_size), -1, np.int64)
    ordered = lengths[order]
    within = np.arange(ordered.sum()) - np.repeat(np.cumsum(ordered) - ordered, ordered)
    plan[np.repeat(batch_of, ordered), np.repeat(column_of, ordered) + within] = (
        np.repeat(windows[order], ordered) + within
    )
    return plan


def _shuffle(windows: np.ndarray, seed: Sequence[int], shuffled: int) -> np.ndarray:
    """Numbers of the windows in random order: of all, or group by group of random blocks."""
    random = np.random.default_rng(seed)
    order = np.arange(len(windows) - 1)
    random.shuffle(order)
    if windows[-1] <= shuffled:
        return order
    edges = block_edges(windows, shuffled)
    group_of_block = random.permutation(len(edges) - 1) // GROUP
    group = group_of_block[np.searchsorted(edges, windows[:-1], side="right") - 1]
    return order[np.argsort(group[order], kind="stable")]


def _pack(lengths: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Batch and first column of every window when they are laid end to end without crossing."""
    ends = np.cumsum(lengths)
    batch_of = np.empty(len(lengths), np.int64)
    column_of = np.empty(len(lengths), np.int64)
    first, batch = 0, 0
    while first < len(lengths):
        start = ends[first] - lengths[first]
        stop = int(np.searchsorted(ends, start + batch_size, side="right"))
        batch_of[first:stop] = batch
        column_of[first:stop] = ends[first:stop] - lengths[first:stop] - start
        first, batch = stop, batch + 1
    return batch_of, column_of


class Batcher:
    """Makes batches of transitions of one table; the columns are handed to TensorFlow once.

    Args:
        table: the records.
        extras: further columns by name, [R, ...], for example the frozen actor's logits.
        shuffled: of the plans that will be asked for; of features in a file about twice as many are held.
    """

    def __init__(
        self,
        table: RecordTable,
        extras: Mapping[str, np.ndarray] | None = None,
        shuffled: int = SHUFFLED,
    ) -> None:
        columns = {"labels": table.labels, "done": table.done.astype(np.float32)}
        columns |= {"session_length": table.length, **(extras or {})}
        self._columns = {name: tf.constant(column) for name, column in columns.items()}
        self._features = _lookup(table, shuffled)
        self._real = tf.constant((~table.lookahead).astype(np.float32))
        self._history = None if table.history is None else HistoryGatherer(table.history, self._features)

    def batches(self, plan: np.ndarray) -> tf.data.Dataset:
        """Batches in the order of `plan` [batches, N], as dicts: `features` {name: [N]} (of several ids
        [N, M], of a history [N, H]), `labels` [N, K], `mask` [N] (0 for padding and look-ahead rows), `next`
        [N] (position in the batch of the next state), `done` [N], `session_length` [N], and the extras."""
        dataset = tf.data.Dataset.from_tensor_slices(plan)
        dataset = dataset.map(self._gather, num_parallel_calls=2, deterministic=True)
        options = tf.data.Options()
        # Autotune makes a short `fit` end late; the parallelism above is explicit.
        options.autotune.enabled = False
        options.threading.private_threadpool_size = 2
        return dataset.prefetch(4).with_options(options)

    def _gather(self, rows: tf.Tensor) -> dict:
        valid = tf.cast(rows >= 0, tf.float32)
        rows = tf.maximum(rows, 0)
        batch = {name: tf.gather(column, rows) for name, column in self._columns.items()}
        # Padding reads the padding id: a row-sparse optimizer touches the rows that are read, and what
        # stands in row 0 of the table depends on which files a process holds.
        batch["features"] = {name: _where(valid, values) for name, values in self._features(rows).items()}
        if self._history is not None:
            batch["features"] |= self._history(rows)
        batch["mask"] = tf.gather(self._real, rows) * valid
        size = tf.size(rows)
        batch["next"] = tf.minimum(tf.range(1, size + 1), size - 1)
        return batch


def _lookup(table: RecordTable, shuffled: int) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Row numbers of any shape -> {input: its values there}, in a graph."""
    features = PackedFeatures.of(table.features)
    take: Callable[[np.ndarray], np.ndarray] = features.matrix.__getitem__
    if features.in_file:
        take = BlockReader(features.matrix, block_edges(table.windows, shuffled))

    def lookup(rows: tf.Tensor) -> dict[str, tf.Tensor]:
        packed = tf.numpy_function(take, [rows], tf.int32, stateful=False)
        packed.set_shape([*rows.shape, features.packing.width])
        return features.packing.unpack(packed)

    return lookup


def _where(valid: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """`values` [N] or [N, M] where `valid` [N] is 1, else 0."""
    valid = tf.cast(valid, values.dtype)
    return values * (valid if values.shape.rank == 1 else valid[:, tf.newaxis])
