from __future__ import annotations

from pathlib import Path

import pytest

from rmtl_tf.errors import UserError
from rmtl_tf.places import is_remote, origin, place, scratch, twin


def test_a_path_is_a_local_place():
    assert place("runs/shop") == Path("runs/shop")
    assert place("file:///data/shop") == Path("/data/shop")
    assert place(Path("a")) == Path("a")
    assert not is_remote(place("runs/shop"))


def test_a_uri_is_a_remote_place_with_a_paths_methods(bucket):
    found = place(f"{bucket}/run/Trainer/")
    assert is_remote(found)
    assert str(found) == f"{str(bucket).rstrip('/')}/run/Trainer"
    assert found == bucket / "run" / "Trainer"
    assert place(found) is found
    assert (found.name, found.parent) == ("Trainer", bucket / "run")
    assert found.relative_to(bucket).as_posix() == "run/Trainer"


def test_minio_is_an_s3_store(bucket):
    assert place(str(bucket).replace("s3://", "minio://")) == bucket


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gs://bucket/x", "gcsfs"),
        ("sth://bucket/x", "unknown scheme sth://"),
        ("s3:///", "expected a bucket, as in s3://bucket/prefix"),
    ],
)
def test_a_place_that_cannot_be_is_refused_with_what_to_do(text, told):
    with pytest.raises(UserError) as error:
        place(text)
    assert told in str(error.value)
    assert text in str(error.value)


def test_twin_and_origin_are_inverse(bucket, tmp_path):
    remote = bucket / "run" / "model"
    assert twin(remote) == scratch() / "s3" / bucket.fs._strip_protocol(str(bucket)) / "run" / "model"
    assert origin(twin(remote)) == remote
    assert origin(remote) == remote
    assert twin(tmp_path) == tmp_path
    assert origin(tmp_path / "elsewhere") == tmp_path / "elsewhere"


def test_without_a_setting_copies_are_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("RMTL_TF_SCRATCH", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert scratch() == tmp_path / "rmtl-tf"
