from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from components.base import EXAMPLE_STATISTICS, EXAMPLES, RAW_LOGS, Output
from components.example_gen import ExampleGen, ExampleGenParameters, FileExampleGen, example_gen
from rmtl_tf.config import DataConfig
from rmtl_tf.data.simulator import EVENTS_FILE
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_file, digest_tree, read_json

CHECKOUT = Path(__file__).resolve().parents[2]
SCHEMA = CHECKOUT / "data_schemas" / "simulator.pbtxt"
LOGS = Output("LogSimulator", "logs", RAW_LOGS)


def _data(**values) -> DataConfig:
    return DataConfig.model_validate({"schema": str(SCHEMA), **values})


def _write_logs(folder: Path) -> Path:
    folder.mkdir()
    header = "session_id,timestamp,user_id,item_id,category,device,position,price,age_days,click,conversion"
    rows = [
        f"s{s},{10**9 + 900 * s + t},u{s % 5},i{t},c,phone,{t},9.5,3,{(s + t) % 2},{int((s + t) % 4 == 1)}"
        for s in range(30)
        for t in range(4)
    ]
    (folder / EVENTS_FILE).write_text("\n".join([header, *rows]) + "\n")
    return folder


def _outputs(root: Path) -> dict[str, Path]:
    outputs = {"examples": root / "examples", "statistics": root / "statistics"}
    for path in outputs.values():
        path.mkdir(parents=True)
    return outputs


def test_from_simulated_logs_it_takes_them_as_input():
    step = example_gen(_data(), LOGS)
    assert (step.name, dict(step.INPUTS), step.inputs) == ("ExampleGen", {"logs": RAW_LOGS}, {"logs": LOGS})


def test_from_files_it_is_the_same_step_without_input():
    step = example_gen(_data(path="logs"))
    assert isinstance(step, FileExampleGen)
    assert (step.name, dict(step.INPUTS)) == ("ExampleGen", {})
    assert {key: output.type for key, output in step.outputs.items()} == {
        "examples": EXAMPLES,
        "statistics": EXAMPLE_STATISTICS,
    }
    assert step.outputs["examples"].component == "ExampleGen"


def test_what_other_steps_read_is_no_parameter_of_it():
    small = ExampleGenParameters.of(_data(simulate={"events": 100}))
    assert ExampleGenParameters.of(_data(validation={"severity": {"skew": "ERROR"}})) == small
    large = ExampleGenParameters.of(_data(simulate={"events": 10**6, "seed": 3}))
    assert small == large
    assert ExampleGenParameters.of(_data(shards=7)) != small


def test_beams_options_reach_it_but_are_no_part_of_its_key():
    plain, elsewhere = (example_gen(_data(), LOGS, beam) for beam in ([], ["runner=FlinkRunner"]))
    assert elsewhere.parameters.beam == ("runner=FlinkRunner",)
    assert elsewhere.parameters.model_dump(mode="json") == plain.parameters.model_dump(mode="json")


def test_it_works_on_the_runner_that_its_options_name(tmp_path):
    logs = _write_logs(tmp_path / "logs")
    outputs = _outputs(tmp_path / "a")
    with pytest.raises(UserError, match='Beam has no option "runer"'):
        ExampleGen.execute({"logs": logs}, outputs, ExampleGenParameters.of(_data(), ["runer=FlinkRunner"]))


def test_it_reads_a_folder_and_an_input_alike(tmp_path):
    logs = _write_logs(tmp_path / "logs")
    from_files, from_input = _outputs(tmp_path / "a"), _outputs(tmp_path / "b")
    FileExampleGen.execute({}, from_files, ExampleGenParameters.of(_data(path=str(logs))))
    ExampleGen.execute({"logs": logs}, from_input, ExampleGenParameters.of(_data()))
    assert digest_tree(tmp_path / "a") == digest_tree(tmp_path / "b")
    assert read_json(from_files["statistics"] / "statistics.json")["records"] == 120
    assert sorted(path.name for path in from_files["examples"].iterdir()) == [
        "Split-test",
        "Split-train",
        "Split-validation",
        "dataset_info.json",
        "features.json",
    ]


def test_what_lies_outside_is_the_schema_and_without_input_the_files(tmp_path):
    logs = _write_logs(tmp_path / "logs")
    schema = {"schema": digest_file(SCHEMA)}
    assert ExampleGen.external({"logs": logs}, ExampleGenParameters.of(_data())) == schema
    parameters = ExampleGenParameters.of(_data(path=str(logs)))
    before = FileExampleGen.external({}, parameters)
    assert before == schema | {f"file {EVENTS_FILE}": digest_file(logs / EVENTS_FILE)}
    with (logs / EVENTS_FILE).open("a") as stream:
        stream.write("\n")
    assert FileExampleGen.external({}, parameters) != before


def test_tables_beside_the_events_count_as_the_schema_needs_them(tmp_path):
    for name in ("events.csv", "item_properties_part1.csv", "item_properties_part2.csv", "category_tree.csv"):
        (tmp_path / name).write_text(name)
    schema = CHECKOUT / "data_schemas" / "retailrocket.pbtxt"
    data = {"dataset": "retailrocket", "path": str(tmp_path)}
    parameters = ExampleGenParameters.of(_data(**data, schema=str(schema)))
    before = FileExampleGen.external({}, parameters)
    assert before["file category_tree.csv"] == digest_file(tmp_path / "category_tree.csv")
    (tmp_path / "item_properties_part2.csv").write_text("another")
    changed = FileExampleGen.external({}, parameters)
    assert {name for name in before if before[name] != changed[name]} == {"file item_properties_part2.csv"}
    lines = schema.read_text().splitlines()
    without = tmp_path / "without.pbtxt"
    without.write_text("\n".join(line for line in lines if "property_" not in line and "level_" not in line))
    few = FileExampleGen.external({}, ExampleGenParameters.of(_data(**data, schema=str(without))))
    assert set(few) == {"schema", "file events.csv"}


@pytest.mark.parametrize(
    "call", [lambda p: FileExampleGen.external({}, p), lambda p: FileExampleGen.execute({}, {}, p)]
)
def test_without_a_path_it_says_how_to_give_one(call):
    with pytest.raises(UserError, match=r"data\.path is not given.*--set data\.path="):
        call(ExampleGenParameters.of(_data()))


def test_a_path_without_logs_says_how_to_give_one(tmp_path):
    parameters = ExampleGenParameters.of(_data(path=str(tmp_path / "absent")))
    with pytest.raises(UserError, match=r"absent does not exist.*--set data\.path="):
        FileExampleGen.external({}, parameters)


def test_a_missing_schema_is_named(tmp_path):
    parameters = ExampleGenParameters.of(_data(schema=str(tmp_path / "absent.pbtxt")))
    with pytest.raises(UserError, match=r"absent\.pbtxt: no such file.*--set data\.schema="):
        FileExampleGen.external({}, parameters)


def test_importing_it_loads_nothing_heavy():
    heavy = "{'tensorflow', 'apache_beam', 'polars', 'pyarrow', 'numpy'}"
    program = f"import sys, components.example_gen; sys.exit(len({heavy} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=CHECKOUT)
