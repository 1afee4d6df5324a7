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
