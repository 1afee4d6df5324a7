"""The local runner, with light components that count how often they are executed."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from components import run_status
from components.base import EXAMPLES, MODEL, PUSHED_MODEL, Component
from components.run_status import StepResult, read_status
from components.runner import run
from rmtl_tf.config import Strict
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_json, digest_tree

REPOSITORY = Path(__file__).resolve().parents[2]
CALLS: list[str] = []


class Text(Strict):
    text: str = "hello"


class External(Strict):
    path: str


class Source(Component):
    OUTPUTS: ClassVar[Mapping[str, str]] = {"examples": EXAMPLES}
    PARAMETERS: ClassVar[type[Strict]] = Text

    @staticmethod
    def execute(inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: Any) -> None:
        CALLS.append("Source")
        assert list(outputs["examples"].iterdir()) == []
        # Upper and lower case are one: a change of parameters that does not change the output.
        (outputs["examples"] / "text").write_text(parameters.text.lower())


class Sink(Component):
    INPUTS: ClassVar[Mapping[str, str]] = {"examples": EXAMPLES}
    OUTPUTS: ClassVar[Mapping[str, str]] = {"model": MODEL}
    PARAMETERS: ClassVar[type[Strict]] = Text

    @staticmethod
    def execute(inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: Any) -> None:
        CALLS.append("Sink")
        text = (inputs["examples"] / "text").read_text()
        if text == "bad":
            (outputs["model"] / "half").write_text("half")
            (outputs["model"] / "quarantine.csv").write_text("line,reason\n7,bad\n")
            raise UserError("1 bad row.", keep=[outputs["model"] / "quarantine.csv"])
        if text == "bug":
            raise ZeroDivisionError("a bug")
        if text == "stop":
            raise KeyboardInterrupt
        (outputs["model"] / "sub").mkdir()
        (outputs["model"] / "sub" / "weights").write_text(text + parameters.text)


class Reader(Component):
    """Depends on a file outside."""

    OUTPUTS: ClassVar[Mapping[str, str]] = {"examples": EXAMPLES}
    PARAMETERS: ClassVar[type[Strict]] = External

    @staticmethod
    def external(inputs: Mapping[str, Path], parameters: Any) -> dict[str, str]:
        return {"raw": Path(parameters.path).read_text()}

    @staticmethod
    def execute(inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: Any) -> None:
        CALLS.append("Reader")
        (outputs["examples"] / "text").write_text(Path(parameters.path).read_text())


class Resumed(Component):
    """Counts to 3 with a checkpoint after each number; dies at the number in the file `die`."""

    OUTPUTS: ClassVar[Mapping[str, str]] = {"model": MODEL}
    PARAMETERS: ClassVar[type[Strict]] = External
    RESUMABLE: ClassVar[bool] = True

    @staticmethod
    def execute(inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: Any) -> None:
        checkpoint = outputs["model"] / ".checkpoints" / "step"
        checkpoint.parent.mkdir(exist_ok=True)
        done = int(checkpoint.read_text()) if checkpoint.exists() else 0
        for step in range(done + 1, 4):
            CALLS.append(f"Resumed {step}")
            if (Path(parameters.path) / f"die-at-{step}").exists():
                raise ZeroDivisionError
            checkpoint.write_text(str(step))
        (outputs["model"] / "weights").write_text("3")


class Publisher(Component):
    """Its result is also outside the root."""

    OUTPUTS: ClassVar[Mapping[str, str]] = {"pushed": PUSHED_MODEL}
    PARAMETERS: ClassVar[type[Strict]] = External

    @staticmethod
    def execute(inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: Any) -> None:
        CALLS.append("Publisher")
        Path(parameters.path).write_text("published")
        (outputs["pushed"] / "path").write_text(parameters.path)

    @staticmethod
    def still_valid(outputs: Mapping[str, Path], parameters: Any) -> bool:
        return Path((outputs["pushed"] / "path").read_text()).exists()


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


def pipeline(text: str = "hello", suffix: str = "!") -> list[Component]:
    source = Source(Text(text=text))
    return [source, Sink(Text(text=suffix), source.outputs)]


def states(results: list[StepResult]) -> list[str]:
    return [result.state for result in results]


def visible(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.name.startswith((".work", ".stale")))


class TestCaching:
    def test_first_run_executes_every_step_and_returns_where_the_outputs_are(self, tmp_path: Path) -> None:
        results = run(pipeline(), tmp_path)
        assert states(results) == ["ran", "ran"]
        assert (results[1].outputs["model"] / "sub" / "weights").read_text() == "hello!"
        assert results[1].outputs["model"].parent == tmp_path / "Sink" / results[1].key[:16]
        assert visible(tmp_path) == []

    def test_rerun_with_nothing_changed_executes_nothing(self, tmp_path: Path) -> None:
        first = run(pipeline(), tmp_path)
        before = digest_tree(tmp_path / "Sink")
        again = run(pipeline(), tmp_path)
        assert CALLS == ["Source", "Sink"]
        assert states(again) == ["cached", "cached"]
        assert [r.key for r in again] == [r.key for r in first]
        assert [r.outputs for r in again] == [r.outputs for r in first]
        assert again[0].made_in == first[0].made_in
        assert digest_tree(tmp_path / "Sink") == before

    def test_changed_parameters_execute_the_step_and_what_follows(self, tmp_path: Path) -> None:
        run(pipeline("hello"), tmp_path)
        assert states(run(pipeline("world"), tmp_path)) == ["ran", "ran"]
        assert states(run(pipeline("world", "?"), tmp_path)) == ["cached", "ran"]

    def test_earlier_outputs_stay_and_are_found_again(self, tmp_path: Path) -> None:
        for text in ("a", "b"):
            run(pipeline(text), tmp_path)
        assert states(run(pipeline("a"), tmp_path)) == ["cached", "cached"]

    def test_step_that_writes_the_same_bytes_leaves_later_steps_cached(self, tmp_path: Path) -> None:
        run(pipeline("hello"), tmp_path)
        assert states(run(pipeline("HELLO"), tmp_path)) == ["ran", "cached"]

    def test_changed_external_state_executes_the_step(self, tmp_path: Path) -> None:
        raw = tmp_path / "raw.csv"
        raw.write_text("1")
        components = [Reader(External(path=str(raw)))]
        run(components, tmp_path / "root")
        assert states(run(components, tmp_path / "root")) == ["cached"]
        raw.write_text("2")
        assert states(run(components, tmp_path / "root")) == ["ran"]

    def test_changed_source_executes_the_step(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run(pipeline(), tmp_path)
        monkeypatch.setattr("components.runner.source_digest", lambda component: f"new {component.__name__}")
        assert states(run(pipeline("HELLO"), tmp_path)) == ["ran", "ran"]

    @pytest.mark.parametrize("damage", ["record", "output"])
    def test_damaged_output_directory_is_made_again(self, tmp_path: Path, damage: str) -> None:
        directory = run(pipeline(), tmp_path)[1].outputs["model"].parent
        if damage == "record":
            (directory / "execution.json").write_text('{"key": ')
        else:
            (directory / "model").rename(directory / "elsewhere")
        assert states(run(pipeline(), tmp_path)) == ["cached", "ran"]
        assert (directory / "model" / "sub" / "weights").read_text() == "hello!"
        assert visible(tmp_path) == []

    def test_component_may_say_that_its_cached_result_is_gone(self, tmp_path: Path) -> None:
        components = [Publisher(External(path=str(tmp_path / "there")))]
        run(components, tmp_path / "root")
        assert states(run(components, tmp_path / "root")) == ["cached"]
        (tmp_path / "there").unlink()
        assert states(run(components, tmp_path / "root")) == ["ran"]
        assert (tmp_path / "there").read_text() == "published"
        assert visible(tmp_path) == []


class TestRecord:
    def test_execution_record_says_what_made_the_outputs(self, tmp_path: Path) -> None:
        source, sink = run(pipeline("hello", "!"), tmp_path)
        record = json.loads((sink.outputs["model"].parent / "execution.json").read_text())
        assert record["component"] == "Sink"
        assert record["key"] == sink.key
        assert record["parameters"] == {"text": "!"}
        assert record["external"] == {}
        assert record["inputs"]["examples"] == {
            "path": f"Source/{source.key[:16]}/examples",
            "digest": digest_json(digest_tree(source.outputs["examples"])),
            "producer": source.key,
        }
        digest = digest_json(digest_tree(sink.outputs["model"]))
        assert record["outputs"] == {"model": {"type": MODEL, "digest": digest}}
        assert len(record["source"]) == 64
        assert record["seconds"] >= 0
        assert record["started"].endswith("+00:00")
        assert {"python", "numpy", "tensorflow"} <= set(record["versions"])
        assert record["commit"] is None or len(record["commit"].removesuffix("-dirty")) == 40

    def test_key_is_the_digest_of_inputs_parameters_external_and_source(self, tmp_path: Path) -> None:
        _, sink = run(pipeline(), tmp_path)
        record = json.loads((sink.outputs["model"].parent / "execution.json").read_text())
        identity = {key: record[key] for key in ("component", "parameters", "external", "source")}
        identity["inputs"] = {key: artifact["digest"] for key, artifact in record["inputs"].items()}
        assert sink.key == digest_json(identity)


class TestOrder:
    def test_input_from_a_later_component_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="Sink reads 'examples' from Source, not a component before it"):
            run(list(reversed(pipeline())), tmp_path)
        assert not (tmp_path / "status.json").exists()

    def test_component_that_stands_twice_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="Source stands twice"):
            run([Source(Text()), Source(Text(text="b"))], tmp_path)


class TestFailure:
    def test_kept_files_of_a_user_error_are_saved_and_named(self, tmp_path: Path) -> None:
        with pytest.raises(UserError) as caught:
            run(pipeline("bad"), tmp_path)
        kept = tmp_path / "failed" / "Sink" / "quarantine.csv"
        assert kept.read_text() == "line,reason\n7,bad\n"
        assert str(caught.value) == f"1 bad row.\nKept: {kept}"
        assert caught.value.keep == (kept,)
        assert list((tmp_path / "Sink").iterdir()) == []

    def test_kept_files_go_once_the_step_succeeds(self, tmp_path: Path) -> None:
        with pytest.raises(UserError):
            run(pipeline("bad"), tmp_path)
        run(pipeline("good"), tmp_path)
        assert not (tmp_path / "failed" / "Sink").exists()

    def test_status_names_the_failed_step_and_those_not_run(self, tmp_path: Path) -> None:
        last = Publisher(External(path=str(tmp_path / "published")))
        with pytest.raises(ZeroDivisionError):
            run([*pipeline("bug"), last], tmp_path)
        status = read_status(tmp_path)
        assert status["state"] == "failed"
        assert [(step["name"], step["state"]) for step in status["steps"]] == [
            ("Source", "ran"),
            ("Sink", "failed"),
            ("Publisher", "not run"),
        ]
        assert status["steps"][1]["error"] == "ZeroDivisionError: a bug"

    def test_error_before_the_key_is_known_is_recorded(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            run([Reader(External(path=str(tmp_path / "absent")))], tmp_path / "root")
        step = read_status(tmp_path / "root")["steps"][0]
        assert (step["state"], step["key"]) == ("failed", "")

    def test_interrupt_is_recorded_and_a_rerun_continues_there(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt):
            run(pipeline("stop"), tmp_path)
        status = read_status(tmp_path)
        assert (status["state"], status["steps"][1]["state"]) == ("interrupted", "interrupted")
        with pytest.raises(KeyboardInterrupt):
            run(pipeline("stop"), tmp_path)
        assert CALLS == ["Source", "Sink", "Sink"]


class TestResume:
    def test_resumable_step_goes_on_from_its_checkpoint_and_publishes_without_it(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "die-at-3").touch()
        components = [Resumed(External(path=str(tmp_path)))]
        with pytest.raises(ZeroDivisionError):
            run(components, tmp_path / "root")
        (tmp_path / "die-at-3").unlink()
        (result,) = run(components, tmp_path / "root")
        assert CALLS == ["Resumed 1", "Resumed 2", "Resumed 3", "Resumed 3"]
        assert [path.name for path in result.outputs["model"].iterdir()] == ["weights"]
        assert sorted(path.name for path in result.outputs["model"].parent.iterdir()) == [
            "execution.json",
            "model",
        ]

    def test_kill_between_the_end_of_the_work_and_publishing_repeats_no_work(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        components = [Resumed(External(path=str(tmp_path)))]
        with monkeypatch.context() as patch:
            patch.setattr("components.store.publish", _die)
            with pytest.raises(KeyboardInterrupt):
                run(components, tmp_path / "root")
        CALLS.clear()
        (result,) = run(components, tmp_path / "root")
        assert CALLS == []
        assert (result.outputs["model"] / "weights").read_text() == "3"
        assert result.made_in is not None

    def test_step_that_is_not_resumable_starts_from_empty_outputs(self, tmp_path: Path) -> None:
        first = run(pipeline(), tmp_path)[0]
        final = first.outputs["examples"].parent
        left = final.rename(final.with_name(f".work-{final.name}"))
        assert (left / "examples" / "text").exists()
        assert states(run(pipeline(), tmp_path)) == ["ran", "cached"]

    def test_what_killed_runs_with_other_keys_left_is_removed(self, tmp_path: Path) -> None:
        for name in (".work-0000", ".stale-1111"):
            (tmp_path / "Source" / name / "examples").mkdir(parents=True)
        run(pipeline(), tmp_path)
        assert visible(tmp_path) == []


def _die(*_: Any) -> None:
    raise KeyboardInterrupt


class TestProgress:
    def test_events_say_when_a_step_starts_and_ends(self, tmp_path: Path) -> None:
        seen: list[tuple[str, str]] = []

        def listen(step: StepResult) -> None:
            seen.append((step.name, step.state))
            status = json.loads((tmp_path / "status.json").read_text())
            assert {s["name"]: s["state"] for s in status["steps"]}[step.name] == step.state

        run(pipeline(), tmp_path, listen)
        run(pipeline("hello", "?"), tmp_path, listen)
        assert seen == [
            ("Source", "running"),
            ("Source", "ran"),
            ("Sink", "running"),
            ("Sink", "ran"),
            ("Source", "cached"),
            ("Sink", "running"),
            ("Sink", "ran"),
        ]

    def test_console_gets_a_line_for_each_change(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            run(pipeline(), tmp_path)
            run(pipeline(), tmp_path)
        words = [record.getMessage().split()[:2] for record in caplog.records]
        assert words == [
            ["Source", "running"],
            ["Source", "ran"],
            ["Sink", "running"],
            ["Sink", "ran"],
            ["Source", "cached"],
            ["Sink", "cached"],
        ]

    def test_status_is_named_as_asked_or_after_the_root(self, tmp_path: Path) -> None:
        run(pipeline(), tmp_path / "shop")
        assert read_status(tmp_path / "shop")["run"] == "shop"
        run(pipeline(), tmp_path / "shop", name="nightly")
        assert read_status(tmp_path / "shop")["run"] == "nightly"


# A pipeline in a process of its own: python script ROOT SECONDS
SCRIPT = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from components.base import EXAMPLES, Component
    from components import runner
    from rmtl_tf.config import Strict

    class Slow(Component):
        OUTPUTS = {"examples": EXAMPLES}
        @staticmethod
        def execute(inputs, outputs, parameters):
            for number in range(5):
                (outputs["examples"] / str(number)).write_text(str(number))
                time.sleep(float(sys.argv[2]))

    import logging; logging.basicConfig(level=logging.INFO, format="%(message)s")
    runner.run([Slow(Strict())], Path(sys.argv[1]))
    heavy = {"tensorflow", "keras", "apache_beam", "polars", "pyarrow", "matplotlib", "numpy"}
    print(sorted(heavy & set(sys.modules)))
    """
)


def start(root: Path, seconds: float) -> subprocess.Popen[str]:
    script = root.parent / "slow.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(root), str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, cwd=root.parent)


def wait_for(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


class TestProcesses:
    def test_cached_rerun_is_fast_and_imports_nothing_heavy(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        assert start(root, 0).wait(30) == 0
        before = os.times()
        output, log = start(root, 0).communicate(timeout=30)
        after = os.times()
        # Of the processor, not of the clock: another process may be busy.
        assert after.children_user + after.children_system < before.children_user + before.children_system + 2
        assert output.strip() == "[]"
        assert "Slow           cached" in log

    def test_killed_run_shows_as_interrupted_and_leaves_nothing_half_visible(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        process = start(root, 0.3)
        wait_for(lambda: list(root.glob("Slow/.work-*/examples/1")))
        status = read_status(root)
        assert (status["state"], status["steps"][0]["state"], status["pid"]) == (
            "running",
            "running",
            process.pid,
        )
        assert status["steps"][0]["seconds"] > 0
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        status = read_status(root)
        assert (status["state"], status["steps"][0]["state"]) == ("interrupted", "interrupted")
        assert [path for path in (root / "Slow").iterdir() if not path.name.startswith(".")] == []
        assert start(root, 0).wait(30) == 0
        assert read_status(root)["state"] == "finished"
        (examples,) = root.glob("Slow/*/examples")
        assert sorted(path.name for path in examples.iterdir()) == ["0", "1", "2", "3", "4"]

    def test_second_run_of_a_root_waits_and_says_for_whom(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        first = start(root, 0.3)
        wait_for(lambda: list(root.glob("Slow/.work-*/examples/0")))
        second = start(root, 0.3)
        _, log = second.communicate(timeout=30)
        assert first.wait(30) == 0
        assert f"another run works here (process {first.pid}); waiting" in log
        # It found the outputs of the first: the work was not done twice.
        assert "Slow           cached" in log


class TestStatus:
    def test_root_without_a_run_is_a_user_error(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"no run found.*pipeline\.py run --config"):
            read_status(tmp_path)

    def test_running_status_of_a_dead_process_is_interrupted(self, tmp_path: Path) -> None:
        status = run_status.StatusFile(tmp_path, "shop", ["A", "B"])
        status.update(StepResult("A", state="running"))
        # This process lives, but holds no lock on the root.
        assert [step["state"] for step in read_status(tmp_path)["steps"]] == ["interrupted", "not run"]

    def test_finished_status_keeps_keys_outputs_and_durations(self, tmp_path: Path) -> None:
        results = run(pipeline(), tmp_path)
        run(pipeline(), tmp_path)
        step = read_status(tmp_path)["steps"][1]
        assert step["state"] == "cached"
        assert step["key"] == results[1].key
        assert step["outputs"] == {"model": f"Sink/{results[1].key[:16]}/model"}
        assert step["made_in"] == results[1].made_in
