"""Versions on an object store: never half, killed before any request."""

from __future__ import annotations

import pytest

from rmtl_tf import serving_versions
from rmtl_tf.errors import UserError
from rmtl_tf.files import read_json
from rmtl_tf.places import twin
from rmtl_tf.serving_labels import read_labels
from tests.conftest import KilledError


@pytest.fixture
def base(bucket):
    return bucket / "serving" / "shop"


@pytest.fixture
def model(tmp_path):
    """text -> a directory with the files of a SavedModel."""

    def make(text):
        made = tmp_path / f"model-{text}"
        if not made.exists():
            (made / "variables").mkdir(parents=True)
            (made / "variables" / "variables.data-00000-of-00001").write_text(text * 100)
            (made / "saved_model.pb").write_text(f"graph {text}")
        return made

    return make


def push(base, *models, keep=5, label="stable"):
    return [serving_versions.push(model, base, keep, label=label) for model in models][-1]


def copied(source, target):
    for path in source.rglob("*"):
        if path.is_file():
            path.fs.cp_file(str(path.path), str((target / str(path.relative_to(source))).path))
    return target


def whole(base):
    """The versions there are; each as its manifest says."""
    found = serving_versions.versions(base)
    for version in found:
        assert serving_versions.verify(base / str(version)) == []
    return found


def test_versions_count_up_and_hold_the_model(base, model):
    assert serving_versions.versions(base) == []
    pushed = push(base, model("a"), model("b"))
    assert (pushed.version, pushed.path, pushed.new) == (2, base / "2", True)
    assert whole(base) == [1, 2]
    assert serving_versions.latest(base) == base / "2"
    assert (base / "2" / "saved_model.pb").read_text() == "graph b"
    assert serving_versions.model_digest(base / "2") == serving_versions.model_digest(model("b"))
    assert read_labels(base) == {"stable": 2, "canary": 2}
    assert list(twin(base).glob(".staging*")) == []


def test_the_same_model_is_not_pushed_twice(base, model):
    push(base, model("a"))
    assert not push(base, model("a")).new
    assert whole(base) == [1]


def test_source_is_the_remote_place_of_the_model(base, model, bucket):
    made = twin(bucket / "run" / "Trainer" / "key" / "model")
    made.parent.mkdir(parents=True)
    model("a").rename(made)
    (bucket / "run" / "Trainer" / "key" / "model" / "saved_model.pb").write_text("graph a")
    push(base, made)
    assert serving_versions.source(base / "1") == bucket / "run" / "Trainer" / "key" / "model"


def test_old_versions_go(base, model):
    push(base, *map(model, "abcd"), keep=2)
    assert whole(base) == [3, 4]


def test_canary_promote_rollback(base, model):
    push(base, model("a"))
    push(base, model("b"), label="canary")
    assert read_labels(base) == {"stable": 1, "canary": 2}
    assert serving_versions.promote(base) == (1, 2)
    assert serving_versions.rollback(base) == (2, 1)
    assert whole(base) == [1]
    assert read_labels(base) == {"stable": 1, "canary": 1}
    assert (base / ".rolled-back-2" / "saved_model.pb").read_text() == "graph b"
    assert push(base, model("b")).rolled_back
    assert push(base, model("c")).version == 3
    with pytest.raises(UserError, match="expected a canary"):
        serving_versions.promote(base)


def test_rollback_before_any_push_is_an_error(base):
    with pytest.raises(UserError, match="does not exist"):
        serving_versions.rollback(base)


def test_models_config_names_gs_itself_and_the_mount_of_other_stores(base, model):
    push(base, model("a"))
    text = (base / "models.config").read_text()
    assert 'base_path: "/models/shop"' in text
    assert 'name: "shop"' in text


def test_a_push_killed_before_any_request_leaves_whole_versions_and_is_finished_by_the_next(
    bucket, model, kill_at
):
    kills, before = 0, bucket / "before"
    push(before, model("a"), model("b"), keep=2)
    for moment in range(60):
        base = copied(before, bucket / f"{moment}" / "shop")
        kill_at(moment)
        try:
            push(base, model("c"), keep=2)
            done = True
        except KilledError:
            done, kills = False, kills + 1
        finally:
            kill_at(None)
        found = whole(base)
        assert found[:1] in ([1], [2])
        assert found[-1] >= 2
        push(base, model("c"), keep=2)
        newest = whole(base)[-1]
        # Number 3 was not given out again, if some of it had been sent.
        assert newest in (3, 4)
        assert serving_versions.model_digest(base / str(newest)) == serving_versions.model_digest(model("c"))
        assert read_labels(base) == {"stable": newest, "canary": newest}
        assert read_json(base / str(newest) / "manifest.json")["version"] == newest
        if done:
            break
    assert done
    assert kills >= 8


def test_a_rollback_killed_before_any_request_is_finished_by_the_next_and_takes_back_one(
    bucket, model, kill_at
):
    kills, before = 0, bucket / "before"
    push(before, *map(model, "abc"))
    for moment in range(60):
        base = copied(before, bucket / f"{moment}" / "shop")
        kill_at(moment)
        try:
            serving_versions.rollback(base)
            done = True
        except KilledError:
            done, kills = False, kills + 1
        finally:
            kill_at(None)
        assert whole(base) in ([1, 2, 3], [1, 2])
        if done:
            break
        # It had ended but for freeing the lease, if nothing of version 3 is left.
        if (base / "3").is_dir():
            assert serving_versions.rollback(base) == (3, 2)
        assert whole(base) == [1, 2]
        assert read_labels(base) == {"stable": 2, "canary": 2}
        assert (base / ".rolled-back-3" / "saved_model.pb").read_text() == "graph c"
        assert not (base / "3").is_dir()
    assert done
    assert kills >= 8
