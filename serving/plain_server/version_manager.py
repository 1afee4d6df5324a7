"""The versions that are loaded: those `models.config` labels, or the newest; a poll follows the directory."""

from __future__ import annotations

import gc
import logging
import threading
from pathlib import Path

from rmtl_tf import serving_versions
from rmtl_tf.serving_labels import read_labels
from serving.plain_server.errors import RequestError
from serving.plain_server.served_model import ServedModel

logger = logging.getLogger(__name__)


class VersionManager:
    """Keeps the wanted versions of one model loaded, a new one before an old one goes.

    Args:
        directory: model base path; its name is the model's.
        poll_seconds: between two looks at it.

    Raises:
        FileNotFoundError: there is no version.
    """

    def __init__(self, directory: Path, poll_seconds: float) -> None:
        self.directory, self.name = directory, directory.resolve().name
        self._poll_seconds = poll_seconds
        # Models and labels in one pair, replaced at once: a request never sees a label without its model.
        self._serving: tuple[dict[int, ServedModel], dict[str, int]] = ({}, {})
        self._stop = threading.Event()
        self.poll()
        if not self.versions:
            raise FileNotFoundError(f"{directory}: no version to serve")
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def versions(self) -> list[int]:
        """What is loaded, ascending."""
        return sorted(self._serving[0])

    @property
    def labels(self) -> dict[str, int]:
        """Label -> version, of what is loaded."""
        return dict(self._serving[1])

    def find(self, name: str, version: int | None = None, label: str | None = None) -> ServedModel:
        """The model of a request; without version and label the newest.

        Raises:
            RequestError: it is not loaded.
        """
        loaded, labels = self._serving
        if name != self.name:
            raise RequestError("NOT_FOUND", f"no model {name!r}; this server has {self.name!r}")
        if label is not None:
            if label not in labels:
                raise RequestError("INVALID_ARGUMENT", f"unrecognized servable version label: {label}")
            version = labels[label]
        if version is None:
            version = max(loaded)
        if version not in loaded:
            message = f"version {version} of {name} is not loaded; there is {sorted(loaded)}"
            raise RequestError("NOT_FOUND", message)
        return loaded[version]

    def poll(self) -> None:
        """Loads and unloads what the directory asks for now."""
        found, labels = serving_versions.versions(self.directory), read_labels(self.directory)
        wanted = sorted({version for version in labels.values() if version in found}) or found[-1:]
        before = self._serving[0]
        loaded = {version: before.get(version) or self._load(version) for version in wanted}
        if loaded:
            known = {label: version for label, version in labels.items() if version in loaded}
            self._serving = loaded, known
        if gone := before.keys() - loaded.keys():
            logger.info("unloaded %s of %s", sorted(gone), self.name)
            del before
            # A graph's Python objects refer to each other: without this a server that allocates little keeps
            # the sessions of several versions that are gone.
            gc.collect()

    def _load(self, version: int) -> ServedModel:
        model = ServedModel(self.directory / str(version))
        logger.info("loaded version %d of %s", version, self.name)
        return model

    def _watch(self) -> None:
        while not self._stop.wait(self._poll_seconds):
            try:
                self.poll()
            except Exception:  # a version that goes while it is read, or is broken: what is loaded serves on
                logger.exception("%s: cannot follow the directory now", self.directory)
