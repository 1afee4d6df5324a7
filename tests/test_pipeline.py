"""The command line and the wiring, without running a component."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import commands.run
import pipeline
from components.base import Component
from components.example_gen import FileExampleGen
from rmtl_tf.config import RunConfig, load_config
from rmtl_tf.errors import UserError
from rmtl_tf.files import write_json
from rmtl_tf.serving_labels import read_labels
from rmtl_tf.training.profiling import PhaseProfile

REPOSITORY = Path(__file__).resolve().parents[1]
STEPS = [
    "ExampleGen",
    "ExampleValidator",
    "Transform",
    "Trainer",
    "Evaluator",
    "InfraValidator",
    "Pusher",
    "Reporter",
]


@pytest.fixture(autouse=True)
def _console_as_before() -> Any:
    root = logging.getLogger()
    handlers, level, finders = root.handlers[:], root.level, sys.meta_path[:]
    with warnings.catch_warnings():
        yield
    root.handlers[:], root.level, sys.meta_path[:] = handlers, level, finders


def config(**data: Any) -> RunConfig:
    return RunConfig.model_validate({"name": "shop", "data": data})


def command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, str(REPOSITORY / "pipeline.py"), *arguments]
    return subprocess.run(script, capture_output=True, text=True, check=False, cwd=REPOSITORY, **options)


class TestWiring:
    def test_simulated_logs_come_first_and_feed_the_examples(self) -> None:
        components = pipeline.create_pipeline(config())
        assert [c.name for c in components] == ["LogSimulator", *STEPS]
        assert components[1].inputs["logs"].component == "LogSimulator"

    def test_files_need_no_simulator(self) -> None:
        components = pipeline.create_pipeline(config(path="data"))
        assert [c.name for c in components] == STEPS
        assert isinstance(components[0], FileExampleGen)

    def test_beams_options_reach_the_steps_on_beam_and_change_no_key(self) -> None:
        given, plain = pipeline.create_pipeline(config(), ["runner=x"]), pipeline.create_pipeline(config())
        on_beam = [c.name for c in given if getattr(c.parameters, "beam", ()) == ("runner=x",)]
        assert on_beam == ["ExampleGen", "Transform"]
        assert [c.parameters.model_dump(mode="json") for c in given] == [
            c.parameters.model_dump(mode="json") for c in plain
        ]

    def test_every_input_comes_from_an_earlier_component(self) -> None:
        known: set[Any] = set()
        for component in pipeline.create_pipeline(config()):
            assert set(component.inputs.values()) <= known, component.name
            known |= set(component.outputs.values())

    def test_examples_and_transformed_examples_are_not_mixed_up(self) -> None:
        steps = {c.name: c for c in pipeline.create_pipeline(config())}
        for name in ("Trainer", "Evaluator"):
            assert steps[name].inputs["examples"].component == "ExampleGen"
            assert steps[name].inputs["transformed"].component == "Transform"

    @pytest.mark.parametrize("name", ["simulator", "deskdrop"])
    def test_every_section_of_the_shipped_configurations_reaches_its_component(self, name: str) -> None:
        run = load_config(REPOSITORY / "configs" / f"{name}.yaml", ["seed=7", "push.keep=3"])
        steps: dict[str, Any] = {c.name: c.parameters for c in pipeline.create_pipeline(run)}
        assert steps["ExampleGen"].data.session == run.data.session
        assert steps["Transform"].transform == run.transform
        assert steps["ExampleValidator"].validation == run.data.validation
        for step in ("ExampleValidator", "Transform", "Trainer", "Evaluator"):
            assert steps[step].data_schema == run.data.data_schema
            assert steps[step].feedback == run.data.feedback
        assert (steps["Trainer"].model, steps["Trainer"].training) == (run.model, run.training)
        assert steps["Trainer"].serving == run.serving
        assert steps["Trainer"].seed == steps["Evaluator"].seed == 7
        assert steps["Evaluator"].evaluation == run.evaluation
        assert steps["Evaluator"].serving_directory == steps["Pusher"].directory == str(run.serving_directory)
        assert steps["Pusher"].keep == 3
        assert steps["Reporter"].name == name

    def test_parameters_of_early_steps_do_not_change_with_later_sections(self) -> None:
        before = pipeline.create_pipeline(config())
        after = pipeline.create_pipeline(
            RunConfig.model_validate({"name": "shop", "training": {"batch_size": 64}, "seed": 3})
        )
        same = [a.name for a, b in zip(before, after, strict=True) if a.parameters == b.parameters]
        assert same == ["LogSimulator", *STEPS[:3], "InfraValidator", "Pusher"]


class TestHelp:
    def test_help_answers_in_a_second_and_teaches_by_example(self) -> None:
        before = os.times()
        answer = command("--help")
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        assert spent < 2, "expected 0.5 s of a processor"
        assert answer.returncode == 0
        for example in (
            "run --config configs/",
            "--set data.path=FOLDER",
            "status --config",
            "rollback --config",
            "--beam runner=FlinkRunner",
        ):
            assert example in answer.stdout

    def test_wiring_a_pipeline_imports_nothing_heavy(self) -> None:
        script = (
            "import sys, pipeline; from rmtl_tf.config import load_config;"
            "pipeline.create_pipeline(load_config('configs/simulator.yaml'));"
            "print(sorted({'tensorflow', 'keras', 'apache_beam', 'polars', 'pyarrow', 'matplotlib', 'numpy'}"
            " & set(sys.modules)))"
        )
        answer = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY
        )
        assert answer.stdout.strip() == "[]"

    @pytest.mark.parametrize("arguments", [[], ["run"], ["status"], ["status", "--config=a", "--root=b"]])
    def test_incomplete_commands_are_refused_with_the_usage(
        self, arguments: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as caught:
            pipeline.main(arguments)
        assert caught.value.code == 2
        assert "usage:" in capsys.readouterr().err


@pytest.fixture
def broken_run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes `run` raise what the test sets."""

    def raising(error: BaseException) -> None:
        def run(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(commands.run, "run_components", run)

    return raising


RUN = ["run", "--config", str(REPOSITORY / "configs" / "simulator.yaml")]


class TestErrors:
    def test_user_error_is_shown_without_a_traceback(
        self, broken_run: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        broken_run(UserError("row 7 is bad. Mend it."))
        assert pipeline.main(RUN) == 2
        assert capsys.readouterr().err == "error: row 7 is bad. Mend it.\n"

    def test_unexpected_error_points_to_the_debug_option(
        self, broken_run: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        broken_run(ZeroDivisionError("a bug"))
        assert pipeline.main(RUN) == 1
        shown = capsys.readouterr().err
        assert "unexpected error: ZeroDivisionError: a bug" in shown
        assert "--debug" in shown
        assert "Traceback" not in shown

    @pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), UserError("bad row")])
    def test_debug_shows_the_traceback(
        self, broken_run: Any, capsys: pytest.CaptureFixture[str], error: Exception
    ) -> None:
        broken_run(error)
        assert pipeline.main([*RUN, "--debug"]) != 0
        assert "Traceback (most recent call last)" in capsys.readouterr().err

    def test_interrupt_has_the_exit_code_of_shells(self, broken_run: Any) -> None:
        broken_run(KeyboardInterrupt())
        assert pipeline.main(RUN) == 130

    def test_unknown_beam_option_is_refused_before_anything_runs(
        self, broken_run: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        broken_run(AssertionError("ran"))
        run = ["run", "--config", str(REPOSITORY / "configs" / "simulator.yaml")]
        assert pipeline.main([*run, "--beam", "paralelism=2"]) == 2
        assert 'Beam has no option "paralelism"; did you mean "parallelism"?' in capsys.readouterr().err

    def test_unknown_field_is_refused_naming_the_nearest(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert pipeline.main([*RUN, "--set", "training.batchsize=1"]) == 2
        assert 'training.batchsize: unknown key; did you mean "batch_size"?' in capsys.readouterr().err

    def test_several_fields_can_be_set_in_either_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[list[Component]] = []

        def run(components: list[Component], *_: Any, **__: Any) -> None:
            seen.append(components)
            raise UserError("enough")

        monkeypatch.setattr(commands.run, "run_components", run)
        pipeline.main([*RUN, "--set", "seed=3", "training.batch_size=64", "--set", "push.keep=2"])
        steps: dict[str, Any] = {c.name: c.parameters for c in seen[0]}
        trainer = steps["Trainer"]
        assert (trainer.seed, trainer.training.batch_size, steps["Pusher"].keep) == (3, 64, 2)

    @pytest.mark.parametrize("profile", [True, False])
    def test_profile_reaches_the_phases_and_changes_no_step(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, profile: bool
    ) -> None:
        seen: list[tuple[bool, Any]] = []

        def run(components: list[Component], *_: Any, **__: Any) -> None:
            seen.append((not PhaseProfile(tmp_path).over, [c.parameters for c in components]))
            raise UserError("enough")

        monkeypatch.setattr(commands.run, "run_components", run)
        pipeline.main([*RUN, *["--profile"] * profile])
        plain = pipeline.create_pipeline(load_config(Path(RUN[2])))
        assert seen == [(profile, [component.parameters for component in plain])]
        assert PhaseProfile(tmp_path).over


class TestRollback:
    def test_takes_the_newest_version_back_and_says_what_serves(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for version in ("1", "2"):
            (tmp_path / version).mkdir()
        arguments = ["rollback", *RUN[1:], "--set", f"push.directory={tmp_path}"]
        assert pipeline.main(arguments) == 0
        assert capsys.readouterr().out.startswith("Version 2 is taken back; TF Serving serves version 1 of ")
        assert (tmp_path / ".rolled-back-2").is_dir()
        assert pipeline.main(arguments) == 2
        assert "found only version 1" in capsys.readouterr().err
        assert (tmp_path / "1").is_dir()


class TestPushAndPromote:
    @pytest.fixture
    def options(self, tmp_path: Path) -> list[str]:
        """A root whose last run made a model, and where to push it."""
        outputs = {"model": "m", "blessing": "b", "infra_blessing": "i"}
        (tmp_path / "m" / "Format-Serving").mkdir(parents=True)
        (tmp_path / "m" / "Format-Serving" / "saved_model.pb").write_text("first")
        for folder, name in (("b", "BLESSED"), ("i", "INFRA_BLESSED")):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / name).touch()
        steps = [{"name": key, "state": "ran", "outputs": {key: path}} for key, path in outputs.items()]
        write_json(tmp_path / "status.json", {"state": "finished", "steps": steps})
        serving = tmp_path / "serving" / "shop"
        return [*RUN[1:], "--set", f"root={tmp_path}", f"push.directory={serving}"]

    def test_canary_is_pushed_beside_the_stable_version_and_promoted(
        self, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        serving = tmp_path / "serving" / "shop"
        assert pipeline.main(["push", *options]) == 0
        assert capsys.readouterr().out.startswith("Pushed as version 1; stable in ")
        (tmp_path / "m" / "Format-Serving" / "saved_model.pb").write_text("second")
        assert pipeline.main(["push", "--label", "canary", *options]) == 0
        assert capsys.readouterr().out.startswith("Pushed as version 2 (canary); canary in ")
        assert read_labels(serving) == {"stable": 1, "canary": 2}
        assert pipeline.main(["promote", *options]) == 0
        assert capsys.readouterr().out.startswith("Version 2 is stable, in place of 1, in ")
        assert read_labels(serving) == {"stable": 2, "canary": 2}
        assert pipeline.main(["promote", *options]) == 2
        assert "expected a canary beside the stable version" in capsys.readouterr().err

    def test_model_that_was_not_blessed_is_not_pushed(
        self, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "b" / "BLESSED").unlink()
        write_json(tmp_path / "b" / "blessing.json", {"checks": [{"name": "auc click", "passed": False}]})
        assert pipeline.main(["push", *options]) == 2
        assert "the Evaluator did not bless it (auc click)" in capsys.readouterr().err
        assert not (tmp_path / "serving").exists()

    def test_run_that_made_no_model_has_nothing_to_push(
        self, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_json(tmp_path / "status.json", {"state": "failed", "steps": []})
        assert pipeline.main(["push", *options]) == 2
        assert "found no model, blessing, infra_blessing" in capsys.readouterr().err


class TestStatus:
    def test_status_is_found_by_root_and_by_configuration(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        status = {"run": "shop", "pid": 1, "started": "now", "finished": "now", "state": "finished"}
        write_json(tmp_path / "status.json", {**status, "steps": []})
        assert pipeline.main(["status", "--root", str(tmp_path)]) == 0
        assert pipeline.main(["status", *RUN[1:], "--set", f"root={tmp_path}"]) == 0
        assert capsys.readouterr().out.count("Run shop in ") == 2

    def test_no_run_is_an_error(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert pipeline.main(["status", "--root", str(tmp_path)]) == 2
        assert "no run found" in capsys.readouterr().err


class TestLogging:
    def test_tensorflow_is_quiet_unless_told_otherwise(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
        pipeline.set_up_logging(debug=False)
        assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "2"
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
        pipeline.set_up_logging(debug=False)
        assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"

    def test_debug_hides_nothing_of_tensorflow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
        finders = sys.meta_path[:]
        pipeline.set_up_logging(debug=True)
        assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ
        assert sys.meta_path == finders

    def test_our_information_is_shown_others_is_not(self, capsys: pytest.CaptureFixture[str]) -> None:
        pipeline.set_up_logging(debug=False)
        logging.getLogger("components.runner").info("ours")
        logging.getLogger("components.runner").debug("detail")
        logging.getLogger("absl").warning("noise")
        logging.getLogger("urllib3").info("noise")
        shown = capsys.readouterr().err
        assert shown.strip().endswith("ours")
        assert len(shown.splitlines()) == 1
