"""Against a server that speaks S3."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rmtl_tf import lease as module
from rmtl_tf import locks
from rmtl_tf.lease import lease, leaseholder
from rmtl_tf.places import SCRATCH

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "RENEW", 0.05)
    monkeypatch.setattr(module, "EXPIRES", 0.5)


@pytest.fixture
def path(bucket):
    return bucket / "run" / ".lock"


def owned_by(monkeypatch, name):
    monkeypatch.setattr(module, "_owner", lambda: name)


def test_it_is_held_within_the_block_only(path):
    assert leaseholder(path) is None
    with locks.exclusive(path):
        assert leaseholder(path) == os.getpid() == locks.holder(path)
    assert leaseholder(path) is None
    with locks.exclusive(path):
        assert leaseholder(path) == os.getpid()


def test_only_the_newest_number_stays(path):
    for _ in range(4):
        with lease(path):
            pass
    assert module._numbers(path) == [4]


def test_a_second_machine_waits_and_is_told_for_whom(path, quick, monkeypatch):
    owned_by(monkeypatch, "first")
    waited, entered, told = threading.Event(), threading.Event(), []

    def second():
        with lease(path, waiting=lambda pid: (told.append(pid), waited.set())):
            entered.set()

    with lease(path):
        owned_by(monkeypatch, "second")
        thread = threading.Thread(target=second)
        thread.start()
        assert waited.wait(10)
        # It is renewed by its own thread all the time: far longer than it would last without.
        assert not entered.wait(1.5)
    thread.join(10)
    assert entered.is_set()
    assert told == [os.getpid()]


def test_one_that_is_not_renewed_any_more_is_taken_over(path, quick, monkeypatch):
    assert module._create(path, 7, "a machine that went down")
    assert leaseholder(path) == os.getpid()
    began = time.monotonic()
    with lease(path):
        assert time.monotonic() - began >= module.EXPIRES
        assert module._numbers(path) == [8]


def test_one_of_a_killed_process_of_this_machine_is_taken_over_at_once(path):
    assert module._create(path, 1, module._owner())
    # Nobody holds the twin's lock, so it is known to be dead.
    assert leaseholder(path) is None
    began = time.monotonic()
    with locks.exclusive(path):
        assert time.monotonic() - began < 5
        assert leaseholder(path) == os.getpid()


def test_who_was_silent_too_long_is_interrupted(path, quick):
    def held_for_ten_seconds():
        with lease(path):
            assert module._create(path, 2, "another")
            time.sleep(10)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        held_for_ten_seconds()
    assert time.monotonic() - began < 5
    # What it was interrupted for goes on.
    assert module._read(path, 2)[0]["held"]


def test_who_looked_early_and_created_late_does_not_hold_it(path, quick, monkeypatch):
    """Others came and went between its look and its write: the number is free, but not the largest."""
    assert module._create(path, 3, "third")
    real, looks = module._numbers, []

    def numbers(where):
        looks.append([] if not looks else real(where))
        return looks[-1]

    monkeypatch.setattr(module, "_numbers", numbers)
    with lease(path):
        assert looks[:3] == [[], [1, 3], [3]]
        assert real(path) == [4]


def test_processes_on_machines_of_their_own_take_turns(path, tmp_path):
    """Each adds 1 to a number in an object, by reading and writing it: a lost update would show."""
    script = (
        "import sys\n"
        "from rmtl_tf import lease, locks\n"
        "from rmtl_tf.places import place\n"
        "lease._LOOK = 0.02\n"
        "path = place(sys.argv[1])\n"
        "for _ in range(4):\n"
        "    with locks.exclusive(path):\n"
        "        counter = path.with_name('counter')\n"
        "        counter.write_text(str(int(counter.read_text()) + 1))\n"
    )
    path.with_name("counter").write_text("0")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path)],
            cwd=REPOSITORY,
            env={**os.environ, SCRATCH: str(tmp_path / f"machine-{number}"), "PYTHONPATH": str(REPOSITORY)},
        )
        for number in range(2)
    ]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert path.with_name("counter").read_text() == "8"
