from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from rmtl_tf.errors import UserError, from_system, nearest


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EFBIG, "a file is larger than this process (ulimit -f) or its file system allows"),
    ],
)
def test_a_disk_that_takes_no_more_is_named_with_what_is_free(tmp_path, code, text):
    error = from_system(OSError(code, os.strerror(code)), tmp_path)
    assert isinstance(error, UserError)
    assert str(error).startswith(f"{tmp_path}: cannot be written: {text}. Free now: {tmp_path} ")
    assert f"{shutil.disk_usage(tmp_path).free // 10**10}" in str(error).replace(",", "")
    assert "Make room, or write elsewhere (--set root=FOLDER, TMPDIR)" in str(error)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_missing_permission_names_the_path_and_the_user(tmp_path, code):
    error = from_system(OSError(code, os.strerror(code), "/data/logs.csv"), tmp_path)
    assert str(error).startswith(
        f"/data/logs.csv: {os.strerror(code).lower()} for the user with id {os.geteuid()}."
    )
    assert "Change the permissions, or give another place" in str(error)


def test_of_two_files_of_an_error_the_second_is_the_one_written(tmp_path):
    error = from_system(OSError(errno.ENOSPC, "full", "/from", None, "/to"), tmp_path)
    assert str(error).startswith("/to: cannot be written")


def _wrapped(inner: BaseException, explicit: bool) -> BaseException:
    try:
        try:
            raise inner
        except BaseException as error:
            if explicit:
                raise RuntimeError("failed") from error
            raise RuntimeError("failed")  # noqa: B904
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    "error",
    [
        _wrapped(OSError(errno.ENOSPC, "full"), explicit=True),
        _wrapped(OSError(errno.ENOSPC, "full"), explicit=False),
        RuntimeError("OSError: [Errno 28] No space left on device [while running 'Write']"),
    ],
)
def test_errors_that_a_library_wraps_or_quotes_are_found(error):
    assert "no space left" in str(from_system(error, Path("/tmp")))


@pytest.mark.parametrize("error", [ValueError("x"), OSError(errno.ENOENT, "no such file"), KeyError(28)])
def test_other_errors_are_not_explained(error):
    assert from_system(error, Path("/tmp")) is None


def test_an_error_that_goes_round_in_a_circle_ends():
    first, second = ValueError("a"), ValueError("b")
    first.__context__, second.__context__ = second, first
    assert from_system(first, Path("/tmp")) is None


def test_an_unknown_word_comes_with_the_nearest_or_all():
    assert nearest("prise", ["price", "user"]) == 'did you mean "price"?'
    assert nearest("zzz", ["price", "user"]) == "known: price, user"


class TestObjectStore:
    """Errors as botocore raises them, wrapped by fsspec or not."""

    @staticmethod
    def answered(code, **more):
        from botocore.exceptions import ClientError

        return ClientError({"Error": {"Code": code, "Message": "the store's words", **more}}, "PutObject")

    def test_a_missing_bucket_is_named(self, tmp_path):
        error = FileNotFoundError("The specified bucket does not exist")
        error.__cause__ = self.answered("NoSuchBucket", BucketName="shop")
        assert str(from_system(error, tmp_path)) == (
            "Object store: there is no bucket shop. Create it, or give another place (--set "
            "root=s3://BUCKET/PREFIX, data.path, push.directory)."
        )

    @pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
    def test_denied_access_says_what_the_credentials_must_allow(self, tmp_path, code):
        told = str(from_system(self.answered(code), tmp_path))
        assert told.startswith(f"Object store: access denied ({code}: the store's words).")
        assert "list, read, write and remove objects" in told

    def test_without_credentials_it_says_how_to_give_some(self, tmp_path):
        from botocore.exceptions import NoCredentialsError

        told = str(from_system(NoCredentialsError(), tmp_path))
        assert told.startswith("Object store: no credentials found. Set AWS_ACCESS_KEY_ID")

    def test_a_store_that_is_not_there_points_to_the_endpoint(self, tmp_path):
        from botocore.exceptions import EndpointConnectionError

        told = str(from_system(EndpointConnectionError(endpoint_url="http://minio:9000"), tmp_path))
        assert "cannot be reached" in told
        assert "http://minio:9000" in told
        assert "AWS_ENDPOINT_URL" in told

    def test_any_other_answer_is_an_unexpected_error(self, tmp_path):
        assert from_system(self.answered("InternalError"), tmp_path) is None
