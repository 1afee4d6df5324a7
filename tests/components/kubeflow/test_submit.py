"""A compiled pipeline to a server: one that answers as Kubeflow Pipelines' API does, and none."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from components.kubeflow.submit import Server, run_by_schedule, run_once
from rmtl_tf.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[3]
PIPELINE = Path(__file__).with_name("simulator.yaml")
API = "/apis/v2beta1"


class Api(BaseHTTPRequestHandler):
    """The part of Kubeflow Pipelines' API that kfp's client uses to start runs; keeps what it was sent."""

    sent: list[tuple[str, dict[str, Any], str | None]]
    refuse: bool

    def do_GET(self) -> None:
        if self.path.startswith(f"{API}/healthz"):
            self._answer({"multi_user": False})
        else:
            self._answer({"experiments": [{"experiment_id": "e1", "display_name": "rmtl-tf"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).sent.append((self.path, body, self.headers.get("Authorization")))
        if self.refuse:
            self._answer({"error": "no quota left"}, 403)
        else:
            self._answer(
                {"run_id": "r1", "recurring_run_id": "j1", "experiment_id": "e1", "display_name": "x"}
            )

    def _answer(self, value: dict[str, Any], status: int = 200) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Server, type[Api]]]:
    monkeypatch.setenv("HOME", str(tmp_path))  # kfp keeps a context there
    handler = type("Handler", (Api,), {"sent": [], "refuse": False})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Server(f"http://127.0.0.1:{server.server_port}"), handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_run_is_started_with_the_pipeline_and_its_parameters(api) -> None:
    server, handler = api
    page = run_once(PIPELINE, server, "rmtl-tf", ["training.batch_size=1024", "data.path=s3://b/logs"])
    ((path, body, _),) = handler.sent
    assert path == f"{API}/runs"
    assert body["runtime_config"]["parameters"] == {"training_batch_size": 1024, "data_path": "s3://b/logs"}
    assert body["pipeline_spec"]["pipelineInfo"]["name"] == "simulator"
    assert body["experiment_id"] == "e1"
    assert page == f"{server.host}/#/runs/details/r1"


def test_a_recurring_run_has_its_schedule_and_no_two_at_once(api) -> None:
    server, handler = api
    page = run_by_schedule(PIPELINE, server, "rmtl-tf", "30 3 * * 1-5", ["seed=7"])
    ((path, body, _),) = handler.sent
    assert path == f"{API}/recurringruns"
    assert body["trigger"]["cron_schedule"]["cron"] == "0 30 3 * * 1-5"
    assert (body["max_concurrency"], body["no_catchup"], body["mode"]) == (1, True, "ENABLE")
    assert body["runtime_config"]["parameters"] == {"seed": 7}
    assert page == f"{server.host}/#/recurringrun/details/j1"


def test_the_token_is_sent(api) -> None:
    server, handler = api
    run_once(PIPELINE, Server(server.host, token="secret"), "rmtl-tf")
    assert handler.sent[0][2] == "Bearer secret"


def test_a_refusal_is_the_servers_own_words(api) -> None:
    server, handler = api
    handler.refuse = True
    with pytest.raises(UserError, match=r"refused \(403\).*no quota left"):
        run_once(PIPELINE, server, "rmtl-tf")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.batchsize=8", 'did you mean "training.batch_size"'),
        ("training.batch_size=1", r"training\.batch_size.*greater than or equal to 2"),
        ("model.backbone=mmeo", 'did you mean "mmoe"'),
        ("seed", "FIELD=VALUE"),
        ("data.split=[1", "not valid YAML"),
        ("kubeflow.retries=1", "parameter of the pipeline"),
    ],
)
def test_a_wrong_parameter_is_told_before_a_server_is_asked(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_once(PIPELINE, Server("http://127.0.0.1:1"), "rmtl-tf", [override])


@pytest.mark.parametrize("cron", ["0 0 3 * * *", "daily", ""])
def test_a_schedule_that_is_none_is_told(cron: str) -> None:
    with pytest.raises(UserError, match="five fields"):
        run_by_schedule(PIPELINE, Server("http://127.0.0.1:1"), "rmtl-tf", cron)


def test_a_file_that_is_no_compiled_pipeline_is_told(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("root: {inputDefinitions: {parameters: {}}}")
    with pytest.raises(UserError, match="Compile it again"):
        run_once(tmp_path / "other.yaml", Server("http://127.0.0.1:1"), "rmtl-tf")
    with pytest.raises(UserError, match="Compile it first"):
        run_once(tmp_path / "none.yaml", Server("http://127.0.0.1:1"), "rmtl-tf")


def test_a_host_where_nothing_answers_is_one_sentence_on_the_command_line() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{unused.getsockname()[1]}"
        command = [sys.executable, "pipeline.py", "submit", str(PIPELINE), "--host", host]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --host {host}: nothing answers there")
    assert "Traceback" not in done.stderr


def test_help_and_compile_mistakes_import_no_kfp() -> None:
    script = (
        "import sys, pipeline\n"
        "try: pipeline.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print('KFP', sorted(name for name in sys.modules if name.split('.')[0].startswith('kfp')))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert "KFP []" in done.stdout
    assert "submit" in done.stdout
