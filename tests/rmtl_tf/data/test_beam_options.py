from __future__ import annotations

import os

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import DirectOptions, FlinkRunnerOptions, GoogleCloudOptions

from rmtl_tf.data.beam_options import parse, pipeline, threads, work_folder
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


@pytest.mark.parametrize(
    ("options", "size", "expected"),
    [
        ([], 0, 1),
        ([], 1 << 30, len(os.sched_getaffinity(0))),
        (["direct_num_workers=3"], 0, 3),
        (["direct_num_workers=0"], 0, len(os.sched_getaffinity(0))),
        (["direct_num_workers=3", "direct_running_mode=multi_processing"], 1 << 30, 1),
        (["runner=FlinkRunner", "parallelism=2"], 1 << 30, 1),
    ],
)
def test_this_process_has_a_thread_for_every_core_and_other_runners_their_own_workers(
    options, size, expected
):
    assert threads(options, size) == expected


def test_threads_of_this_process_are_no_workers_of_beam():
    with pipeline(["direct_num_workers=3"]) as made:
        _ = made | beam.Create([1])
    assert made.options.view_as(DirectOptions).direct_num_workers == 1


@pytest.mark.parametrize("mode", ["in_memory", "multi_threading"])
def test_an_error_of_a_worker_is_shown_as_it_was_raised(mode):
    def refuse(_):
        raise UserError("logs.csv: torn at byte 7.\nMend it [while you can].")

    options = [f"direct_running_mode={mode}"]
    with pytest.raises(UserError) as caught, pipeline(options) as made:
        _ = made | beam.Create([1]) | beam.Map(refuse)
    assert str(caught.value) == "logs.csv: torn at byte 7.\nMend it [while you can]."


def test_other_errors_stay_what_they_are():
    with pytest.raises(ZeroDivisionError), pipeline([]) as made:
        _ = made | beam.Create([0]) | beam.Map(lambda x: 1 / x)


def test_the_work_folder_is_below_the_temp_location_or_local(tmp_path):
    assert work_folder([], "here") == "here"
    one, other = (work_folder([f"temp_location={tmp_path}"], "here") for _ in range(2))
    assert one.startswith(f"{tmp_path}/rmtl-tf-")
    assert one != other
