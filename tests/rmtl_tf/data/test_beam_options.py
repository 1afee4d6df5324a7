from __future__ import annotations

import os

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import DirectOptions, FlinkRunnerOptions, GoogleCloudOptions

from rmtl_tf.data.beam_options import parse, pipeline, work_folder
from rmtl_tf.errors import UserError


def test_options_reach_beam_with_their_types():
    options = parse(
        ["runner=FlinkRunner", "parallelism=3", "flink_submit_uber_jar=true", "flink_master=host:8081"]
    )
    flink = options.view_as(FlinkRunnerOptions)
    assert (flink.parallelism, flink.flink_submit_uber_jar, flink.flink_master) == (3, True, "host:8081")
    assert not parse(["flink_submit_uber_jar=false"]).view_as(FlinkRunnerOptions).flink_submit_uber_jar
    assert parse(["temp_location=gs://a/b=c"]).view_as(GoogleCloudOptions).temp_location == "gs://a/b=c"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["paralelism=2"], r'Beam has no option "paralelism"; did you mean "parallelism"\?'),
        (["runner=FlinkRunner", "paralelism=2"], r'did you mean "parallelism"\?'),
        (["parallelism"], r'expected KEY=VALUE, received "parallelism"'),
        (["parallelism=two"], "parallelism.*invalid int value: 'two'"),
        (["direct_running_mode=fast"], "invalid choice: 'fast'"),
        (["flink_submit_uber_jar=perhaps"], 'expected true or false, received "perhaps"'),
        (["state_backend=rocksdb"], 'Beam has no option "state_backend"'),
    ],
)
def test_what_beam_does_not_take_is_refused_with_what_it_takes(options, message):
    with pytest.raises(UserError, match=message):
        parse(options)


def test_options_of_a_job_server_alone_are_left_to_it():
    given = parse(["runner=FlinkRunner", "state_backend=rocksdb"])
    assert "--state_backend=rocksdb" in given._flags


def _workers(options: list[str], size: int) -> tuple[str, int]:
    with pipeline(options, size) as made:
        _ = made | beam.Create([1])
        direct = made.options.view_as(DirectOptions)
    return direct.direct_running_mode, direct.direct_num_workers


def test_large_work_is_done_by_a_thread_for_every_core_unless_options_say_otherwise():
    assert _workers([], 0) == ("in_memory", 1)
    assert _workers([], 1 << 30) == ("multi_threading", len(os.sched_getaffinity(0)))
    assert _workers(["direct_running_mode=in_memory"], 1 << 30) == ("in_memory", 1)


@pytest.mark.parametrize("mode", ["in_memory", "multi_threading"])
def test_an_error_of_a_worker_is_shown_as_it_was_raised(mode):
    def refuse(_):
        raise UserError("logs.csv: torn at byte 7.\nMend it [while you can].")

    options = [f"direct_running_mode={mode}"]
    with pytest.raises(UserError) as caught, pipeline(options, 0) as made:
        _ = made | beam.Create([1]) | beam.Map(refuse)
    assert str(caught.value) == "logs.csv: torn at byte 7.\nMend it [while you can]."


def test_other_errors_stay_what_they_are():
    with pytest.raises(ZeroDivisionError), pipeline([], 0) as made:
        _ = made | beam.Create([0]) | beam.Map(lambda x: 1 / x)


def test_the_work_folder_is_below_the_temp_location_or_local(tmp_path):
    assert work_folder([], "here") == "here"
    one, other = (work_folder([f"temp_location={tmp_path}"], "here") for _ in range(2))
    assert one.startswith(f"{tmp_path}/rmtl-tf-")
    assert one != other
