"""Errors a person can act on."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path


class UserError(Exception):
    """A mistake in the data, the configuration or the way of calling: shown without a traceback.

    The message says what was expected, what was received and what to do.

    Args:
        message: the whole text a person reads.
        keep: files that help to understand the error; the runner saves them before it
            removes the unfinished output they lie in.
    """

    def __init__(self, message: str, keep: Sequence[Path] = ()) -> None:
        super().__init__(message)
        self.keep = tuple(keep)


_FULL = {
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file is larger than this process (ulimit -f) or its file system allows",
}
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


def from_system(error: BaseException, place: Path) -> UserError | None:
    """What a full disk, a missing permission or bucket means for a person; None for any other error.

    Libraries wrap the system's error or only quote its text: causes and texts are searched too.

    Args:
        place: the file that is read, or the folder below which results are written.
    """
    for cause in _causes(error):
        if told := _of_store(cause):
            return UserError(told)
        code, path = _system_error(cause)
        if code in _FULL:
            free = ", ".join(f"{folder} {_free(folder)} MB" for folder in (place, tempfile.gettempdir()))
            return UserError(
                f"{path or place}: cannot be written: {_FULL[code]}. Free now: {free}. Make room, or write "
                "elsewhere (--set root=FOLDER, TMPDIR). Nothing unfinished is shown as a result; the same "
                "command goes on from here."
            )
        if code in _DENIED:
            return UserError(
                f"{path or place}: {os.strerror(code).lower()} for the user with id {os.geteuid()}. Expected "
                "raw files that can be read and a root that can be written. Change the permissions, or give "
                "another place (--set data.path=FOLDER, root=FOLDER)."
            )
    return None


def _of_store(error: BaseException) -> str | None:
    """What an error of an object store's client (botocore) means; None for another."""
    if not type(error).__module__.startswith("botocore"):
        return None
    name, answer = type(error).__name__, getattr(error, "response", {}).get("Error", {})
    code = answer.get("Code", "")
    if name in ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError"):
        return (
            "Object store: no credentials found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE, or give this machine a role."
        )
    if code == "NoSuchBucket":
        bucket = answer.get("BucketName", "of that name")
        return (
            f"Object store: there is no bucket {bucket}. Create it, or give another place (--set "
            "root=s3://BUCKET/PREFIX, data.path, push.directory)."
        )
    if code in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "403"):
        return (
            f"Object store: access denied ({code}: {answer.get('Message', '')}). Expected credentials that "
            "may list, read, write and remove objects in the places of this run. Change them or the policy."
        )
    if name in (
        "EndpointConnectionError",
        "ConnectTimeoutError",
        "ConnectionClosedError",
        "ReadTimeoutError",
    ):
        return f"Object store: it cannot be reached: {error}. Check the network and AWS_ENDPOINT_URL."
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _system_error(error: BaseException) -> tuple[int, str]:
    """Its number (0: none of ours) and the path it names (or "")."""
    known = (*_FULL, *_DENIED)
    if isinstance(error, OSError) and error.errno in known:
        return error.errno or 0, str(error.filename2 or error.filename or "")
    return next((code for code in known if os.strerror(code) in str(error)), 0), ""


def _free(folder: str | Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free // 1_000_000:,}"
    except OSError:
        return "unknown"


def nearest(word: str, known: Sequence[str]) -> str:
    """The ending of an "unknown word" message: the nearest known word, or all of them."""
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f'did you mean "{close[0]}"?'
    return "known: " + ", ".join(sorted(known))
