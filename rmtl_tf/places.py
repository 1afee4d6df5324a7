"""Places: local paths, and URIs of an object store: `s3://bucket/prefix`, or what else fsspec can open.

A place is a `pathlib.Path`, or a `upath.UPath` with the same methods; annotations say `Path` for both. What a
place can do beyond that, copies above all, is in `rmtl_tf.storage`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from rmtl_tf.errors import UserError

SCRATCH = "RMTL_TF_SCRATCH"
_SAME = {"minio": "s3"}  # Kubeflow's name for its own S3-compatible store


def place(text: str | os.PathLike[str]) -> Path:
    """The place that a path or a URI names; a place is itself.

    Raises:
        UserError: the scheme is unknown or needs a package that is not installed, or no bucket is named.
    """
    if is_remote(text):
        return cast(Path, text)
    if not isinstance(text, str) or "://" not in text:
        return Path(text)
    scheme, _, rest = text.partition("://")
    if scheme == "file":
        return Path(rest)
    parts = [part for part in rest.split("/") if part]
    if not parts:
        raise UserError(f"{text}: expected a bucket, as in {scheme}://bucket/prefix. Name one.")
    return cast(Path, _remote(text, f"{_SAME.get(scheme, scheme)}://{'/'.join(parts)}"))


def _remote(text: str, uri: str) -> Any:
    from upath import UPath

    scheme = uri.partition("://")[0]
    try:
        # Others write there too: what a listing said a second ago may not hold.
        found = UPath(uri, use_listings_cache=False)
        found.fs  # noqa: B018 (its package is imported here)
    except ImportError as error:
        raise UserError(
            f"{text}: {scheme}:// needs a package that is missing. {error}: with pip, beside the others."
        ) from None
    except ValueError:
        raise UserError(
            f"{text}: expected a local path or a URI such as s3://bucket/prefix, received the unknown scheme "
            f"{scheme}://. Give one of these."
        ) from None
    return found


def is_remote(path: Any) -> bool:
    return hasattr(path, "fs")


def key(path: Path) -> str:
    """Bucket and name of a remote place, as its file system wants them."""
    return str(path.path).strip("/")  # type: ignore[attr-defined]


def scratch() -> Path:
    """Where local copies and unfinished work of remote places are: `$RMTL_TF_SCRATCH` or the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get(SCRATCH) or cache / "rmtl-tf").resolve()


def twin(path: Path) -> Path:
    """The local folder or file that stands for a remote place, there or not; a local path is its own."""
    if not is_remote(path):
        return path
    return scratch() / path.protocol / key(path)  # type: ignore[attr-defined]


def origin(path: Path) -> Path:
    """The remote place whose `twin` a local path is; any other path as it is."""
    if is_remote(path) or not path.is_relative_to(scratch()):
        return path
    protocol, *parts = path.relative_to(scratch()).parts
    return place(f"{protocol}://{'/'.join(parts)}")
