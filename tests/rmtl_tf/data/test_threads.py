from __future__ import annotations

import threading
import time

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from rmtl_tf.data.beam_options import pipeline
from rmtl_tf.data.threads import Threaded
from rmtl_tf.errors import UserError


def _halves(number, divisor, most):
    time.sleep(0.002 * (number % 3))
    yield beam.pvalue.TaggedOutput("odd" if number % divisor else "even", number)
    if number < most:
        yield number * 10


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_all_outputs_come_tagged_or_not_with_arguments_and_side_inputs(threads):
    with pipeline([]) as made:
        most = beam.pvalue.AsSingleton(made | "most" >> beam.Create([20]))
        results = (
            made
            | beam.Create(list(range(23)))
            | beam.ParDo(Threaded(_halves, 2, threads=threads), most).with_outputs("odd", "even", main="tens")
        )
        assert_that(results.tens, equal_to([10 * n for n in range(20)]), "tens")
        assert_that(results.odd, equal_to(list(range(1, 23, 2))), "odd")
        assert_that(results.even, equal_to(list(range(0, 23, 2))), "even")


def test_elements_are_worked_on_side_by_side():
    together = threading.Barrier(3, timeout=20)

    def wait(element):
        yield element, together.wait() >= 0

    worker = Threaded(wait, threads=3)
    worker.setup()
    worker.start_bundle()
    outputs = [output for element in range(3) for output in worker.process(element)]
    outputs += [value.value for value in worker.finish_bundle()]
    worker.teardown()
    assert outputs == [(element, True) for element in range(3)]


@pytest.mark.parametrize("place", [0, 5])
def test_an_error_stops_the_pipeline_whether_elements_follow_or_not(place):
    def refuse(element):
        if element == place:
            raise UserError(f"element {element} is bad. Mend it.")
        yield element

    with pytest.raises(UserError, match=f"^element {place} is bad"), pipeline([]) as made:
        _ = made | beam.Create(list(range(6))) | beam.ParDo(Threaded(refuse, threads=2))
