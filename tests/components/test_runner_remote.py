"""The runner with its root on an object store; light components, a server that speaks S3."""

from __future__ import annotations

import shutil
import threading

import pytest

from components import garbage
from components.lineage import lineage_text
from components.run_status import LOCK_FILE, StatusFile, read_status
from components.runner import run
from components.store import EXECUTION_FILE
from components.summary import status_text
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_json, digest_tree, read_json
from rmtl_tf.places import SCRATCH, scratch, twin
from tests.components.test_runner import CALLS, External, Resumed, Sink, Source, Text
from tests.conftest import KilledError


@pytest.fixture
def root(bucket):
    CALLS.clear()
    return bucket / "runs" / "shop"


def pipeline(text="hello", suffix="!"):
    source = Source(Text(text=text))
    return [source, Sink(Text(text=suffix), source.outputs)]


def states(results):
    return [result.state for result in results]


def check_visible_steps_are_whole(root):
    records = list(root.glob(f"*/*/{EXECUTION_FILE}"))
    for record in records:
        for key, output in read_json(record)["outputs"].items():
            assert digest_json(digest_tree(record.parent / key)) == output["digest"]
    return len(records)


def test_outputs_record_and_status_are_on_the_store(root):
    results = run(pipeline(), root)
    assert states(results) == ["ran", "ran"]
    assert results[1].outputs["model"] == root / "Sink" / results[1].key[:16] / "model"
    assert (results[1].outputs["model"] / "sub" / "weights").read_text() == "hello!"
    assert check_visible_steps_are_whole(root) == 2
    status = read_status(root)
    assert (status["state"], status["run"]) == ("finished", "shop")
    assert f"{root}/Sink/{results[1].key[:16]}/model" in status_text(root, None)
    assert "made by 2 steps" in lineage_text(root, check=True)
    assert "All 2 artifacts are what was recorded." in lineage_text(
        results[1].outputs["model"].parent, check=True
    )


def test_keys_are_those_of_a_local_run(root, tmp_path):
    assert [r.key for r in run(pipeline(), root)] == [r.key for r in run(pipeline(), tmp_path / "local")]


def test_rerun_here_and_on_another_machine_executes_nothing(root, tmp_path, monkeypatch):
    first = run(pipeline(), root)
    assert states(run(pipeline(), root)) == ["cached", "cached"]
    monkeypatch.setenv(SCRATCH, str(tmp_path / "another"))
    again = run(pipeline(), root)
    assert states(again) == ["cached", "cached"]
    assert [r.outputs for r in again] == [r.outputs for r in first]
    assert CALLS == ["Source", "Sink"]
    # And copied nothing but the records.
    copied = [path.name for path in twin(root).rglob("*") if path.is_file()]
    assert sorted(copied) == [".lock", EXECUTION_FILE, EXECUTION_FILE]


def test_another_machine_fetches_the_inputs_of_the_step_it_runs(root, tmp_path, monkeypatch):
    run(pipeline(), root)
    monkeypatch.setenv(SCRATCH, str(tmp_path / "another"))
    results = run(pipeline(suffix="?"), root)
    assert states(results) == ["cached", "ran"]
    assert (results[1].outputs["model"] / "sub" / "weights").read_text() == "hello?"


def test_an_input_that_is_not_what_was_recorded_is_refused(root, tmp_path, monkeypatch):
    source = run(pipeline(), root)[0]
    (source.outputs["examples"] / "text").write_text("changed")
    with pytest.raises(UserError, match=r"expected what its execution\.json recorded"):
        run(pipeline(suffix="?"), root)
    # What the error says to do helps.
    shutil.rmtree(twin(root))
    for path in source.outputs["examples"].parent.rglob("*"):
        if path.is_file():
            path.unlink()
    assert states(run(pipeline(suffix="?"), root)) == ["ran", "ran"]


def test_killed_before_any_request_nothing_half_is_seen_and_a_rerun_ends_the_same(bucket, kill_at):
    expected = None
    for moment in range(60):
        root = bucket / f"{moment}"
        kill_at(moment)
        try:
            run(pipeline(), root)
            done = True
        except KilledError:
            done = False
        finally:
            kill_at(None)
        seen = check_visible_steps_are_whole(root)
        CALLS.clear()
        results = run(pipeline(), root)
        assert states(results)[:seen] == ["cached"] * seen
        outputs = {str(r.outputs): digest_tree(next(iter(r.outputs.values()))) for r in results}
        expected = expected or list(outputs.values())
        assert list(outputs.values()) == expected
        if done:
            break
    assert done
    assert moment >= 10


def test_what_was_made_but_not_wholly_sent_is_sent_and_not_made_again(root, monkeypatch):
    def die(*arguments, **options):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("components.store.storage.publish", die)
        with pytest.raises(KilledError):
            run(pipeline()[:1], root)
    assert CALLS == ["Source"]
    assert states(run(pipeline()[:1], root)) == ["ran"]
    assert CALLS == ["Source"]


def test_a_killed_resumable_step_goes_on_from_its_checkpoint(root, tmp_path):
    (tmp_path / "die-at-3").touch()
    components = [Resumed(External(path=str(tmp_path)))]
    with pytest.raises(ZeroDivisionError):
        run(components, root)
    (tmp_path / "die-at-3").unlink()
    (result,) = run(components, root)
    assert CALLS == ["Resumed 1", "Resumed 2", "Resumed 3", "Resumed 3"]
    assert [path.name for path in result.outputs["model"].iterdir()] == ["weights"]


def test_kept_files_and_the_error_are_on_the_store_until_the_step_succeeds(root):
    with pytest.raises(UserError) as caught:
        run(pipeline("bad"), root)
    kept = root / "failed" / "Sink" / "quarantine.csv"
    assert kept.read_text() == "line,reason\n7,bad\n"
    assert f"Kept: {kept}" in str(caught.value)
    assert read_status(root)["steps"][1]["state"] == "failed"
    run(pipeline("good"), root)
    assert not kept.exists()


def test_a_missing_bucket_is_told_in_a_sentence(root):
    nowhere = type(root)("s3://no-such-bucket/run", **root.storage_options)
    with pytest.raises(Exception) as caught:
        run(pipeline(), nowhere)
    from rmtl_tf.errors import from_system

    told = from_system(caught.value, scratch())
    assert "there is no bucket no-such-bucket. Create it" in str(told)


def test_two_runs_at_once_from_two_machines_share_the_work(root, tmp_path, monkeypatch):
    """The second waits for the first one's lease, then finds everything cached."""
    from rmtl_tf import lease

    owners = {}
    monkeypatch.setattr(lease, "_owner", lambda: owners.get(threading.current_thread().name, "main"))
    monkeypatch.setattr(lease, "_LOOK", 0.05)
    monkeypatch.setattr("rmtl_tf.locks.twin", lambda path: tmp_path / threading.current_thread().name)
    results = {}

    def work():
        name = threading.current_thread().name
        owners[name] = name
        results[name] = states(run(pipeline(), root))

    threads = [threading.Thread(target=work, name=f"machine-{number}") for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results.values()) == [["cached", "cached"], ["ran", "ran"]]
    assert CALLS == ["Source", "Sink"]


def test_status_of_a_run_on_another_machine_is_running_until_its_lease_ends(root, monkeypatch):
    from rmtl_tf import lease

    StatusFile(root, "shop", ["Source"])
    assert read_status(root)["state"] == "interrupted"
    assert lease._create(root / LOCK_FILE, 1, "another")
    assert read_status(root)["state"] == "running"
    monkeypatch.setattr(lease, "EXPIRES", 0.0)
    assert read_status(root)["state"] == "interrupted"


class TestGarbage:
    def test_what_the_last_run_does_not_need_goes_from_the_store_and_from_here(self, root):
        old = run(pipeline(suffix="1"), root)
        new = run(pipeline(suffix="2"), root)
        folders = [result.outputs["model"].parent for result in (old[1], new[1])]
        dry = garbage.collect(root, root / "serving", dry_run=True)
        assert dry.removed == {
            folders[0]: sum(p.stat().st_size for p in folders[0].rglob("*") if p.is_file())
        }
        found = garbage.collect(root, root / "serving")
        assert list(found.removed) == [folders[0]]
        assert [folder.exists() for folder in folders] == [False, True]
        assert [twin(folder).exists() for folder in folders] == [False, True]
        assert states(run(pipeline(suffix="2"), root)) == ["cached", "cached"]

    def test_what_a_killed_run_had_sent_goes(self, root, kill_at):
        run(pipeline(), root)
        half = root / "Sink" / "0123456789abcdef" / "model" / "weights"
        half.write_text("half")
        assert list(garbage.collect(root, root / "serving").removed) == [half.parent.parent]
        assert not half.exists()

    def test_a_young_step_stays(self, root):
        for suffix in "12":
            run(pipeline(suffix=suffix), root)
        assert garbage.collect(root, root / "serving", days=1).removed == {}
