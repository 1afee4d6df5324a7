from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from components.example_gen import ExampleGen, ExampleGenParameters
from components.example_validator import ExampleValidator, ExampleValidatorParameters
from rmtl_tf.config import DataConfig, ValidationConfig
from rmtl_tf.data.simulator import EVENTS_FILE
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_file, read_json

CHECKOUT = Path(__file__).resolve().parents[2]
SCHEMA = CHECKOUT / "data_schemas" / "simulator.pbtxt"


def parameters(**validation) -> ExampleValidatorParameters:
    return ExampleValidatorParameters(schema=str(SCHEMA), validation=ValidationConfig(**validation))


@pytest.fixture(scope="module", params=["good", "conversion without click"])
def inputs(request, tmp_path_factory) -> tuple[bool, dict[str, Path]]:
    """What ExampleGen makes of logs, and whether they are good."""
    good = request.param == "good"
    root = tmp_path_factory.mktemp("logs")
    header = "session_id,timestamp,user_id,item_id,category,device,position,price,age_days,click,conversion"
    rows = [
        f"s{s},{10**9 + 900 * s + t},u{s % 5},i{t},c,phone,{t},9.5,3,{(s + t) % 2},"
        f"{int((s + t) % 4 == 1) if good or s != 2 else 1}"
        for s in range(30)
        for t in range(4)
    ]
    (root / EVENTS_FILE).write_text("\n".join([header, *rows]) + "\n")
    outputs = {"examples": root / "examples", "statistics": root / "statistics"}
    for path in outputs.values():
        path.mkdir()
    data = DataConfig.model_validate({"schema": str(SCHEMA)})
    ExampleGen.execute({"logs": root}, outputs, ExampleGenParameters.of(data))
    return good, outputs


def test_anomalies_are_written_and_errors_stop_the_run(inputs, tmp_path):
    good, paths = inputs
    if good:
        ExampleValidator.execute(paths, {"anomalies": tmp_path}, parameters())
    else:
        with pytest.raises(
            UserError, match=r"feature 'conversion'.*first in session s2 \[parent_label\]"
        ) as e:
            ExampleValidator.execute(paths, {"anomalies": tmp_path}, parameters())
        assert e.value.keep == (tmp_path / "anomalies.json",)
    written = read_json(tmp_path / "anomalies.json")
    assert (written["errors"], written["examples"]["train"]) == (0 if good else 1, 18)
    for split in ("train", "validation", "test"):
        assert (tmp_path / f"Split-{split}" / "SchemaDiff.pb").is_file()


def test_the_policy_lets_a_run_go_on(inputs, tmp_path):
    good, paths = inputs
    policy = parameters(severity={"parent_label": "WARNING"})
    ExampleValidator.execute(paths, {"anomalies": tmp_path}, policy)
    assert read_json(tmp_path / "anomalies.json")["warnings"] == (0 if good else 1)


def test_what_lies_outside_is_the_schema_and_the_baseline(inputs, tmp_path):
    schema = {"schema": digest_file(SCHEMA)}
    assert ExampleValidator.external({}, parameters()) == schema
    baseline = str(inputs[1]["statistics"])
    assert set(ExampleValidator.external({}, parameters(baseline=baseline))) == {"schema", "baseline"}
    with pytest.raises(UserError, match=r"data\.validation\.baseline: expected statistics"):
        ExampleValidator.external({}, parameters(baseline=str(tmp_path)))


def test_importing_it_loads_nothing_heavy():
    heavy = "{'tensorflow', 'apache_beam', 'polars', 'pyarrow', 'numpy'}"
    program = f"import sys, components.example_validator; sys.exit(len({heavy} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=CHECKOUT)
