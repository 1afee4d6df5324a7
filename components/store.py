"""Where outputs are kept: `<root>/<Component>/<key[:16]>/`, a directory each, whole or absent.

They are written in `<root>/<Component>/.work-<key[:16]>/` and renamed when complete, with
`execution.json` beside them: what made them, from what. Only the holder of the root's lock writes.

Of a root on an object store that happens in its twin, a local folder; what is complete there is sent to the
root, `execution.json` last.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.base import Component
from components.provenance import commit, versions
from components.run_status import now
from rmtl_tf import storage
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_json, digest_tree, publish, read_json, write_json
from rmtl_tf.places import is_remote, twin

EXECUTION_FILE = "execution.json"
CHECKPOINTS = ".checkpoints"
_EXECUTED = ".executed"


@dataclass(frozen=True)
class Artifact:
    """An output that exists: where, the digest of its content, the key it was made under."""

    path: Path
    digest: str
    producer: str


def cached(component: Component, final: Path, key: str) -> dict[str, Any] | None:
    """The execution record of outputs that can be used as they are, else None."""
    try:
        record = read_json(final / EXECUTION_FILE)
        outputs = {output: final / output for output in component.OUTPUTS}
        whole = record["key"] == key and set(record["outputs"]) == set(outputs)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    # On an object store the record is written last and removed first: with it, all is there.
    if not whole or not (is_remote(final) or all(path.is_dir() for path in outputs.values())):
        return None
    return record if component.still_valid(outputs, component.parameters) else None


def execute(
    component: Component,
    inputs: Mapping[str, Artifact],
    identity: Mapping[str, Any],
    key: str,
    final: Path,
    root: Path,
) -> dict[str, Any]:
    """Runs the component aside and publishes its outputs; returns their execution record.

    Raises:
        UserError: from the component; or an input on an object store is not what was recorded.
    """
    if not is_remote(final):
        return _execute(component, inputs, identity, key, final, root)
    copy = twin(final)
    record = cached(component, copy, key)
    # What a run finished that was killed before it had sent everything need not be made again.
    if record is None or not _as_recorded(copy, record):
        copied = {k: _fetched(artifact) for k, artifact in inputs.items()}
        record = _execute(component, copied, identity, key, copy, twin(root))
    storage.publish(copy, final, last=(EXECUTION_FILE,))
    for output in component.OUTPUTS:
        storage.remember(final / output)
    return record


def _fetched(artifact: Artifact) -> Artifact:
    copy = twin(artifact.path)
    if artifact.digest == digest_json({}):
        copy.mkdir(parents=True, exist_ok=True)  # a store has no empty folders
    else:
        copy = storage.local(artifact.path)
    if digest_json(digest_tree(copy)) != artifact.digest:
        raise UserError(
            f"{artifact.path}: expected what its {EXECUTION_FILE} recorded, found something else. Remove the "
            f"folder {artifact.path.parent}, and the next run makes it again."
        )
    return replace(artifact, path=copy)


def _as_recorded(final: Path, record: Mapping[str, Any]) -> bool:
    return all(
        digest_json(digest_tree(final / key)) == output["digest"] for key, output in record["outputs"].items()
    )


def note(final: Path, record: Mapping[str, Any]) -> None:
    """Tells the twin of cached outputs what made them: steps after it, the report above all, look there."""
    if is_remote(final) and not (twin(final) / EXECUTION_FILE).is_file():
        write_json(twin(final) / EXECUTION_FILE, record)


def _execute(
    component: Component,
    inputs: Mapping[str, Artifact],
    identity: Mapping[str, Any],
    key: str,
    final: Path,
    root: Path,
) -> dict[str, Any]:
    work = work_directory(final)
    if not component.RESUMABLE:
        shutil.rmtree(work, ignore_errors=True)
    outputs = {output: work / output for output in component.OUTPUTS}
    for path in outputs.values():
        path.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    marker = work / _EXECUTED
    if not marker.exists():
        started, began = now(), time.monotonic()
        component.execute({k: artifact.path for k, artifact in inputs.items()}, outputs, component.parameters)
        made = {"started": started, "seconds": round(time.monotonic() - began, 3)}
        if component.RESUMABLE:
            # From here on checkpoints go: a kill must not bring back the work they stood for.
            os.sync()
            write_json(marker, made)
    else:
        made = read_json(marker)
    for path in outputs.values():
        for scratch in sorted(path.rglob(CHECKPOINTS)):
            shutil.rmtree(scratch, ignore_errors=True)
    record = {
        **identity,
        **made,
        "key": key,
        "inputs": {k: _input_record(artifact, root) for k, artifact in inputs.items()},
        "outputs": {
            k: {"type": component.OUTPUTS[k], "digest": digest_json(digest_tree(path))}
            for k, path in outputs.items()
        },
        "versions": versions(),
        "commit": commit(),
    }
    write_json(work / EXECUTION_FILE, record)
    _replace(work, final)
    (final / _EXECUTED).unlink(missing_ok=True)
    return record


def _replace(work: Path, final: Path) -> None:
    """Publishes `work` as `final`, in the place of outputs that no longer hold."""
    stale = final.with_name(f".stale-{final.name}")
    if final.exists():
        shutil.rmtree(stale, ignore_errors=True)
        final.rename(stale)
    publish(work, final)
    shutil.rmtree(stale, ignore_errors=True)


def work_directory(final: Path) -> Path:
    """Where outputs are written until they are complete: always a local folder."""
    final = twin(final)
    return final.with_name(f".work-{final.name}")


def _input_record(artifact: Artifact, root: Path) -> dict[str, str]:
    path = artifact.path.relative_to(root).as_posix()
    return {"path": path, "digest": artifact.digest, "producer": artifact.producer}


def sweep(final: Path) -> None:
    """Removes what killed runs left of this component, but for unfinished work with the same key."""
    for pattern in (".work-*", ".stale-*"):
        for path in twin(final).parent.glob(pattern):
            if path != work_directory(final):
                shutil.rmtree(path)
