"""The compiled pipeline on Vertex AI Pipelines, once or by a schedule (docs/scheduling.md).

    pip install google-cloud-aiplatform
    python pipeline.py compile --config FILE --image REGION-docker.pkg.dev/PROJECT/rmtl/rmtl-tf:1 \
        --pipeline-root gs://BUCKET/rmtl -o pipeline.yaml
    python examples/scheduling/vertex_submit.py pipeline.yaml --project P --region R --cron "0 3 * * *"
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml


def main(arguments: Sequence[str] | None = None) -> None:
    from google.cloud import aiplatform

    given = parser().parse_args(arguments)
    spec = yaml.safe_load(given.pipeline.read_text(encoding="utf-8"))
    aiplatform.init(project=given.project, location=given.region)
    job = aiplatform.PipelineJob(
        display_name=spec["pipelineInfo"]["name"],
        template_path=str(given.pipeline),
        pipeline_root=given.pipeline_root or spec["defaultPipelineRoot"],
        parameter_values=dict(_parameter(text) for text in given.set),
    )
    if given.cron is None:
        job.submit(service_account=given.service_account)
    else:
        job.create_schedule(
            display_name=spec["pipelineInfo"]["name"],
            cron=given.cron,
            max_concurrent_run_count=1,
            service_account=given.service_account,
        )


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("pipeline", type=Path, metavar="FILE", help="what pipeline.py compile wrote")
    found.add_argument("--project", required=True)
    found.add_argument("--region", required=True)
    found.add_argument("--pipeline-root", metavar="gs://...", help="default: as compiled")
    found.add_argument("--cron", metavar="FIELDS", help='a schedule, "0 3 * * *"; else one run, now')
    found.add_argument("--service-account", metavar="EMAIL")
    found.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="parameters: training_batch_size=1024"
    )
    return found


def _parameter(text: str) -> tuple[str, object]:
    name, _, value = text.partition("=")
    return name, yaml.safe_load(value)


if __name__ == "__main__":
    main()
