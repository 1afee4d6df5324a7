"""A compiled pipeline to a Kubeflow Pipelines server: one run, or a run by a schedule."""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from components.kubeflow.fields import BEAM, config_of, fields
from rmtl_tf.errors import UserError, nearest

_SECONDS = 10.0
_CRON_FIELDS = 5


@dataclass(frozen=True)
class Server:
    """Where Kubeflow Pipelines answers, and as whom to ask.

    Attributes:
        host: URL, as `kubectl port-forward svc/ml-pipeline-ui 8080:80` or an ingress gives it.
        namespace: of a cluster with several users; none: a cluster with one.
        token: that the cluster asks for; none: what kfp finds by itself.
    """

    host: str
    namespace: str | None = None
    token: str | None = None


def run_once(file: Path, server: Server, experiment: str, overrides: Sequence[str] = ()) -> str:
    """Starts a run; returns the URL of its page.

    Args:
        file: compiled pipeline.
        experiment: that lists the run; created.
        overrides: `path.to.field=value`, parameters of this run.

    Raises:
        UserError: no compiled pipeline, no such field, a value out of its bounds, or the server cannot be
            reached or refuses.
    """
    spec = _read(file)
    arguments = arguments_of(spec, overrides)
    with _talking(server) as client:
        run = client.create_run_from_pipeline_package(
            str(file), arguments=arguments, experiment_name=experiment, namespace=server.namespace
        )
    return f"{server.host.rstrip('/')}/#/runs/details/{run.run_id}"


def run_by_schedule(
    file: Path, server: Server, experiment: str, cron: str, overrides: Sequence[str] = ()
) -> str:
    """Starts a recurring run, one at a time and none after the event; returns the URL of its page.

    Args:
        cron: five fields, as crontab has them; UTC, if the server says nothing else.
    """
    if len(cron.split()) != _CRON_FIELDS:
        raise UserError(
            f'--cron: expected five fields as in crontab, such as "0 3 * * *", received "{cron}".'
        )
    spec = _read(file)
    arguments = arguments_of(spec, overrides)
    with _talking(server) as client:
        found = client.create_experiment(name=experiment, namespace=server.namespace)
        job = client.create_recurring_run(
            experiment_id=found.experiment_id,
            job_name=spec["pipelineInfo"]["name"],
            cron_expression=f"0 {cron}",  # kfp's first field is of seconds
            max_concurrency=1,
            no_catchup=True,
            params=arguments,
            pipeline_package_path=str(file),
        )
    return f"{server.host.rstrip('/')}/#/recurringrun/details/{job.recurring_run_id}"


def arguments_of(spec: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`path.to.field=value` as arguments of the compiled pipeline, checked together with its defaults.

    Raises:
        UserError: no such field, or a value out of its bounds.
    """
    known = {field.path: field for field in fields()}
    arguments = {}
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator or path not in known:
            hint = nearest(path, list(known)) if separator else "for example training.batch_size=512."
            raise UserError(
                f"--set {override}: expected FIELD=VALUE with a parameter of the pipeline; {hint}"
            )
        try:
            arguments[known[path].parameter] = known[path].encode(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise UserError(f"--set {override}: the value is not valid YAML: {error}") from None
    defaults = {
        name: each["defaultValue"] for name, each in spec["root"]["inputDefinitions"]["parameters"].items()
    }
    config_of({**defaults, **arguments})
    return arguments


def _read(file: Path) -> dict[str, Any]:
    """The pipeline in a file that `compile` wrote."""
    try:
        spec = yaml.safe_load(file.read_text(encoding="utf-8"))
        parameters = spec["root"]["inputDefinitions"]["parameters"]
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read ({error.strerror}). Compile it first: python pipeline.py compile "
            f"--config FILE --image IMAGE --pipeline-root ROOT -o {file}"
        ) from None
    except (yaml.YAMLError, KeyError, TypeError):
        parameters = {}
    missing = {field.parameter for field in fields() if field.path != BEAM} - set(parameters)
    if missing:
        raise UserError(
            f"{file}: expected a pipeline that this version's `compile` wrote; it has no parameter "
            f"{min(missing)}. Compile it again."
        )
    return spec


@contextlib.contextmanager
def _talking(server: Server) -> Iterator[Any]:
    """kfp's client; what goes wrong with the server is a sentence."""
    _check_reachable(server.host)
    import kfp_server_api
    import urllib3
    from kfp import Client

    try:
        # The client prints links as it goes; ours is printed at the end.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            logging.getLogger("urllib3").setLevel(logging.ERROR)
            yield Client(
                host=server.host, namespace=server.namespace or "kubeflow", existing_token=server.token
            )
    except kfp_server_api.ApiException as error:
        answer = " ".join(str(error.body or error.reason).split())[:300]
        raise UserError(f"--host {server.host}: the server refused ({error.status}): {answer}") from None
    except (urllib3.exceptions.HTTPError, TimeoutError, ValueError) as error:
        raise UserError(f"--host {server.host}: no Kubeflow Pipelines there: {error}") from None


def _check_reachable(host: str) -> None:
    """Asks for a connection: kfp itself would try for half a minute and longer."""
    url = urlsplit(host if "://" in host else f"https://{host}")
    try:
        port = url.port or (80 if url.scheme == "http" else 443)
        socket.create_connection((url.hostname or "", port), timeout=_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"--host {host}: nothing answers there ({error}). Expected the URL of Kubeflow Pipelines, such "
            "as http://localhost:8080 with: kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80"
        ) from None
