"""A phase writes a profile where one is wanted, and trains as it would have."""

from __future__ import annotations

import pytest

from rmtl_tf.training.profiling import FIRST, LAST, PhaseProfile, profiled_phases
from tests.rmtl_tf.training.test_loop import KilledError, final_state, make_phase


@pytest.fixture
def profiler(monkeypatch):
    """The calls of TensorFlow's profiler, which is not started."""
    import tensorflow as tf

    calls = []
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda directory: calls.append("start"))
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: calls.append("stop"))
    return calls


def test_a_profile_is_written_and_changes_no_bit(tmp_path):
    def train(name, profile=None):
        phase, agent = make_phase(
            tmp_path / f"{name}.npz", profile=profile, steps_per_execution=2, max_epochs=4
        )
        return phase.run().history, [value.tobytes() for value in final_state(phase, agent)]

    plain = train("plain")
    with profiled_phases():
        assert train("profiled", PhaseProfile(tmp_path / "logs")) == plain
    (trace,) = (tmp_path / "logs" / "plugins" / "profile").glob("*/*.xplane.pb")
    assert b"MatMul" in trace.read_bytes()


@pytest.mark.parametrize("step", [1, 3, 8])
def test_a_few_batches_after_the_first_are_profiled_once(tmp_path, profiler, step):
    with profiled_phases():
        profile = PhaseProfile(tmp_path)
    started = stopped = None
    for batch in range(step, 60, step):
        profile.after(step)
        if started is None and profiler == ["start"]:
            started = batch
        if stopped is None and profiler == ["start", "stop"]:
            stopped = batch
    assert FIRST <= started < FIRST + step
    assert LAST <= stopped < LAST + step
    profile.stop()
    assert profiler == ["start", "stop"]


def test_without_being_asked_for_nothing_is_profiled(tmp_path, profiler):
    with profiled_phases(False):
        profile = PhaseProfile(tmp_path)
    profile.after(100)
    profile.stop()
    assert profiler == []


def test_a_phase_that_fails_stops_its_profile(tmp_path, profiler):
    with profiled_phases():
        profile = PhaseProfile(tmp_path)
    phase, _ = make_phase(tmp_path / "a.npz", kill_at=12, profile=profile)
    with pytest.raises(KilledError):
        phase.run()
    assert profiler == ["start", "stop"]
