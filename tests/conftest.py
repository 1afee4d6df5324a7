"""Shared by the tests: small tables of records, in memory; an object store."""

from __future__ import annotations

import logging
import os
import uuid

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest
from hypothesis import settings

from rmtl_tf.features.spec import HistorySpec, HistoryTask, InputSpec
from rmtl_tf.tensorflow_noise import quiet_import

quiet_import("tensorflow", lambda tensorflow: tensorflow.config.list_physical_devices())

# A busy machine is not a bug: examples have no deadline. Equal examples every time: failures repeat.
settings.register_profile("rmtl", deadline=None, derandomize=True)
settings.load_profile("rmtl")


def make_table(lengths, cut=(), tasks=2, spec=None, seed=0):
    """A `RecordTable` with one session per length; sessions in `cut` are split into two windows.

    The first window of a cut session holds half of its records and one look-ahead row. A record a minute.
    """
    from rmtl_tf.history import find_history
    from rmtl_tf.inputs import RecordTable

    rng = np.random.default_rng(seed)
    spec = spec or small_spec()
    total = int(sum(lengths))
    features = {name: rng.integers(1, size, total).astype(np.int32) for name, size in spec.categorical}
    features |= {name: rng.normal(size=total).astype(np.float32) for name in spec.numeric}
    first = features[spec.categorical[0][0]]
    chance = 1 / (1 + np.exp(-(first[:, None] % 3 - 1.5) * np.arange(1, tasks + 1)))
    labels = (rng.random((total, tasks)) < chance).astype(np.float32)
    rows, windows, done, lookahead, session = [], [0], [], [], []
    start = 0
    for number, length in enumerate(lengths):
        own = list(range(start, start + length))
        start += length
        parts = [(own, False)]
        if number in cut:
            half = length // 2
            parts = [([*own[:half], own[half]], True), (own[half:], False)]
        for part, is_cut in parts:
            rows += part
            windows.append(len(rows))
            lookahead += [False] * (len(part) - 1) + [is_cut]
            done += [False] * (len(part) - 1) + [not is_cut]
            session += [number] * len(part)
    rows, session = np.array(rows), np.array(session, np.int32)
    history = None
    if spec.history is not None:
        columns = {task.label: labels[rows, k] for k, task in enumerate(spec.history.tasks)}
        history = find_history(spec.history, rows * 60, session, np.array(lookahead), columns, {})
    return RecordTable(
        features={name: column[rows] for name, column in features.items()},
        labels=labels[rows],
        timestamp=rows.astype(np.int64) * 60,
        session=session,
        length=np.array(lengths, np.float32)[session],
        lookahead=np.array(lookahead),
        done=np.array(done),
        windows=np.array(windows),
        history=history,
    )


def small_spec(encoder: str | None = None) -> InputSpec:
    """Five inputs; with the history of two of them and of two tasks where an encoder is named."""
    tasks = (HistoryTask("click", "clicked", 0), HistoryTask("buy", "bought", 60))
    return InputSpec(
        categorical=(("user", 7), ("item", 11), ("hour", 26)),
        numeric=("price", "age"),
        ids=("user", "item"),
        history=HistorySpec(encoder, 4, 2, "item", ("item", "price"), tasks) if encoder else None,
    )


@pytest.fixture
def table():
    return make_table([3, 1, 5, 8, 2, 6, 1], cut=(2, 3))


@pytest.fixture(scope="session")
def store_environment():
    """Environment variables by which any process finds a server that speaks S3."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server.stop()


@pytest.fixture(scope="module")
def module_bucket(store_environment, tmp_path_factory):
    """s3://<an empty bucket>, with this process, and those it starts, at home on that server."""
    from rmtl_tf.places import SCRATCH, place

    with pytest.MonkeyPatch.context() as patch:
        for name, value in store_environment.items():
            patch.setenv(name, value)
        patch.setenv(SCRATCH, str(tmp_path_factory.mktemp("scratch")))
        found = place(f"s3://bucket-{uuid.uuid4().hex[:12]}")
        found.fs.mkdir(str(found.path))
        yield found


@pytest.fixture
def bucket(store_environment, tmp_path, monkeypatch):
    """As `module_bucket`, for one test."""
    from rmtl_tf.places import SCRATCH, place

    for name, value in store_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(SCRATCH, str(tmp_path / "scratch"))
    found = place(f"s3://bucket-{uuid.uuid4().hex[:12]}")
    found.fs.mkdir(str(found.path))
    return found


class KilledError(Exception):
    """Stands for the end of the process at that moment. (fsspec passes on only an `Exception`.)"""


@pytest.fixture
def kill_at(monkeypatch):
    """kill_at(n): n more requests that write, copy or remove go through; then `KilledError` instead.

    kill_at(None) lets everything through again.
    """
    from s3fs import S3FileSystem

    left, real = [None], S3FileSystem._call_s3

    async def counted(self, method, *arguments, **options):
        if left[0] is not None and method.startswith(("put_", "copy_", "delete_", "create_", "upload_")):
            left[0] -= 1
            if left[0] < 0:
                raise KilledError
        return await real(self, method, *arguments, **options)

    monkeypatch.setattr(S3FileSystem, "_call_s3", counted)

    def start(n):
        left[0] = n

    return start
