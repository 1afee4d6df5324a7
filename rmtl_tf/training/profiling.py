"""TensorBoard profiles of the phases of training: which operations a step spends its time on.

Whether there are any is no setting of a training: it changes neither its results nor its cache key.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FIRST, LAST = 10, 20  # batches of a phase that are profiled; those before warm up

log = logging.getLogger(__name__)
_wanted = False


@contextmanager
def profiled_phases(wanted: bool = True) -> Iterator[None]:
    """Inside, every phase that trains writes a profile into its log directory."""
    global _wanted
    before, _wanted = _wanted, wanted
    try:
        yield
    finally:
        _wanted = before


class PhaseProfile:
    """Profiles batches `FIRST` to `LAST` of a phase, counted from where it starts or goes on; over a few more
    where one execution takes several. A phase that ends before has a shorter profile, or none.

    It is written to `<directory>/plugins/profile/`, where TensorBoard's Profile tab looks.

    Args:
        directory: log directory of the phase.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.batches, self.running, self.over = 0, False, not _wanted

    def after(self, batches: int) -> None:
        """Called after an execution of so many batches."""
        self.batches += batches
        if self.running and self.batches >= LAST:
            self.stop()
        elif not self.running and not self.over and self.batches >= FIRST:
            self._start()

    def stop(self) -> None:
        """Writes what is profiled; called at the end of an epoch too: evaluation is no step."""
        if not self.running:
            return
        import tensorflow as tf

        tf.profiler.experimental.stop()
        self.running, self.over = False, True
        log.info("profile of a few steps: %s", self.directory / "plugins" / "profile")

    def _start(self) -> None:
        import tensorflow as tf

        try:
            tf.profiler.experimental.start(str(self.directory))
            self.running = True
        except tf.errors.AlreadyExistsError:  # somebody else profiles this process
            log.warning("no profile of %s: another profile is being written", self.directory.name)
            self.over = True
