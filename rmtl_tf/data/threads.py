"""Several elements of a Beam step at a time, in threads of one worker.

polars, Arrow and numpy compute outside Python's lock, so threads use all cores while the process holds its
libraries once. (Beam's own local workers are not used for it: on a busy machine a run with
`direct_running_mode=multi_threading` once came back without the output of a bundle, and no error.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.typehints import no_annotations
from apache_beam.utils.windowed_value import WindowedValue


class Threaded(beam.DoFn):
    """Gives what `function(element, *arguments, *side_inputs)` yields, elements in their order.

    Args:
        function: element -> outputs; tagged ones too. Runs in another thread than Beam's.
        arguments: passed on.
        threads: elements worked on at a time.
    """

    def __init__(self, function: Callable[..., Iterable[Any]], *arguments: Any, threads: int = 1) -> None:
        self._function, self._arguments, self._threads = function, arguments, threads

    def setup(self) -> None:
        self._pool = ThreadPoolExecutor(self._threads)

    def teardown(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def start_bundle(self) -> None:
        self._running: deque[Future[list[Any]]] = deque()

    @no_annotations
    def process(self, element: Any, *side_inputs: Any) -> Iterator[Any]:
        self._running.append(self._pool.submit(self._outputs, element, side_inputs))
        if len(self._running) > self._threads:
            yield from self._running.popleft().result()

    @no_annotations
    def finish_bundle(self) -> Iterator[Any]:
        while self._running:
            yield from map(_in_window, self._running.popleft().result())

    def _outputs(self, element: Any, side_inputs: tuple[Any, ...]) -> list[Any]:
        return list(self._function(element, *self._arguments, *side_inputs))


def _in_window(output: Any) -> Any:
    """An output as it must be when no element is being processed."""
    window = GlobalWindow()
    if isinstance(output, beam.pvalue.TaggedOutput):
        value = WindowedValue(output.value, window.max_timestamp(), [window])
        return beam.pvalue.TaggedOutput(output.tag, value)
    return WindowedValue(output, window.max_timestamp(), [window])
