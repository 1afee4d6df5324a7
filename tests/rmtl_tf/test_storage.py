"""Against a server that speaks S3."""

from __future__ import annotations

import pytest

from rmtl_tf import storage
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_tree, write_json
from rmtl_tf.places import twin
from tests.conftest import KilledError

LAST = ("manifest.json", "saved_model.pb")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "made"
    (made / "variables").mkdir(parents=True)
    (made / "variables" / "data").write_bytes(b"weights")
    (made / "manifest.json").write_text("{}")
    (made / "saved_model.pb").write_bytes(b"graph")
    return made


def names(path):
    return sorted(found.relative_to(path).as_posix() for found in path.rglob("*") if found.is_file())


def test_what_was_published_comes_back_byte_for_byte(bucket, folder):
    storage.publish(folder, bucket / "a")
    copy = storage.local(bucket / "a")
    assert digest_tree(copy) == digest_tree(folder)
    assert copy == twin(bucket / "a")
    assert storage.size(bucket / "a") == storage.size(folder) == 14
    assert storage.folders(bucket / "a") == storage.folders(folder) == ["variables"]


def test_a_local_path_is_its_own_copy(folder):
    assert storage.local(folder) is folder
    assert storage.held(folder) is folder


def test_only_what_changed_is_copied_again(bucket, folder):
    storage.publish(folder, bucket / "a")
    copy = storage.local(bucket / "a")
    (copy / "manifest.json").write_text("mine")  # would be overwritten by a second copy
    (bucket / "a" / "variables" / "data").write_bytes(b"WEIGHTS")
    (bucket / "a" / "new").write_bytes(b"new")
    (bucket / "a" / "saved_model.pb").unlink()
    assert storage.held(bucket / "a") == bucket / "a"
    assert storage.local(bucket / "a") == copy
    assert names(copy) == ["manifest.json", "new", "variables/data"]
    assert (copy / "variables" / "data").read_bytes() == b"WEIGHTS"
    assert (copy / "manifest.json").read_text() == "mine"
    assert storage.held(bucket / "a") == copy


def test_a_copy_that_lost_a_file_is_mended(bucket, folder):
    storage.publish(folder, bucket / "a")
    (storage.local(bucket / "a") / "variables" / "data").unlink()
    assert digest_tree(storage.local(bucket / "a")) == digest_tree(folder)


def test_a_copy_that_was_interrupted_is_not_trusted(bucket, folder, monkeypatch):
    storage.publish(folder, bucket / "a")
    storage.local(bucket / "a")
    (bucket / "a" / "variables" / "data").write_bytes(b"WEIGHTS")
    (bucket / "a" / "manifest.json").write_text("{ }")
    replaced, real = [], type(folder).replace

    def replace(self, target):
        if target.name in ("data", "manifest.json"):
            replaced.append(target.name)
            if len(replaced) == 2:
                raise KilledError
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(folder), "replace", replace)
        with pytest.raises(KilledError):
            storage.local(bucket / "a")
    assert storage.held(bucket / "a") == bucket / "a"
    copy = storage.local(bucket / "a")
    assert (copy / "variables" / "data").read_bytes() == b"WEIGHTS"
    assert (copy / "manifest.json").read_text() == "{ }"
    assert names(copy) == names(folder)


def test_one_object_is_copied_as_a_file(bucket):
    (bucket / "logs" / "day.csv").write_text("a,b\n")
    assert storage.local(bucket / "logs" / "day.csv").read_text() == "a,b\n"


def test_nothing_there_is_an_error(bucket):
    with pytest.raises(UserError, match="found none"):
        storage.local(bucket / "nothing")
    assert storage.folders(bucket / "nothing") == []
    storage.remove_tree(bucket / "nothing")


def test_a_prefix_is_no_folder_of_a_longer_name(bucket):
    (bucket / "run" / "a").write_text("a")
    (bucket / "run-2" / "b").write_text("b")
    assert names(storage.local(bucket / "run")) == ["a"]
    storage.remove_tree(bucket / "run")
    assert names(bucket) == ["run-2/b"]


def test_publishing_replaces_what_was_there(bucket, folder):
    (bucket / "a" / "old").write_text("old")
    storage.publish(folder, bucket / "a", last=LAST)
    assert names(bucket / "a") == names(folder)


def test_the_last_object_is_there_only_if_all_others_are(bucket, folder, kill_at):
    """KilledError before every single write and removal, over nothing and over an older folder."""
    whole, old = names(folder), {"manifest.json": "old", "saved_model.pb": "old", "extra": "old"}
    deaths = 0
    for before in ({}, old):
        for moment in range(20):
            storage.remove_tree(bucket / "a")
            for name, text in before.items():
                (bucket / "a" / name).write_text(text)
            kill_at(moment)
            try:
                storage.publish(folder, bucket / "a", last=LAST)
                break
            except KilledError:
                deaths += 1
            finally:
                kill_at(None)
            found = names(bucket / "a")
            if "saved_model.pb" in found:
                old_one = (bucket / "a" / "saved_model.pb").read_text() == "old"
                assert found == (sorted(before) if old_one else whole)
        assert names(bucket / "a") == whole
    assert deaths >= 3 + 6


def test_a_folder_moves_whole(bucket, folder, kill_at):
    for moment in range(20):
        storage.publish(folder, bucket / "1", last=LAST)
        storage.remove_tree(bucket / "old-1")
        kill_at(moment)
        try:
            storage.move(bucket / "1", bucket / "old-1", last=LAST)
            break
        except KilledError:
            pass
        finally:
            kill_at(None)
        whole = [f for f in ("1", "old-1") if (bucket / f / "saved_model.pb").exists()]
        assert whole
        for name in whole:
            assert names(bucket / name) == names(folder)
    assert moment == 6  # three copied, three removed (two of them in the order of LAST)
    assert names(bucket / "old-1") == names(folder)
    assert names(bucket / "1") == []


def test_what_was_just_published_is_not_fetched_again(bucket):
    copy = twin(bucket / "a")
    write_json(copy / "x.json", 1)
    storage.publish(copy, bucket / "a")
    storage.remember(bucket / "a")
    assert storage.held(bucket / "a") == copy
    copy.joinpath("x.json").write_text("mine")
    assert storage.local(bucket / "a").joinpath("x.json").read_text() == "mine"


@pytest.mark.parametrize("small", [1, 8_000_000])
def test_the_digest_of_objects_is_that_of_the_files(bucket, folder, monkeypatch, small):
    monkeypatch.setattr("rmtl_tf.files._SMALL", small)
    storage.publish(folder, bucket / "a")
    (bucket / "ab" / "x").write_text("not below a")
    assert digest_tree(bucket / "a") == digest_tree(folder)
    assert list(digest_tree(bucket / "a")) == ["manifest.json", "saved_model.pb", "variables/data"]
