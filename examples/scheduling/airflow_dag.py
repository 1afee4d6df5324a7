"""A run every night by Airflow 3 (copy to its dags folder; docs/scheduling.md).

Airflow starts `pipeline.py run` where the repository and its environment are; what ran before and did not
change is skipped, and a task that was killed goes on where it was, so a retry costs what was left.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

REPOSITORY = os.environ.get("RMTL_TF_REPOSITORY", "/opt/rmtl-tf")
CONFIG = os.environ.get("RMTL_TF_CONFIG", "configs/simulator.yaml")
ROOT = os.environ.get("RMTL_TF_ROOT", "runs/airflow")

with DAG(
    dag_id="rmtl_tf",
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,  # a run reads all logs there are: missed nights need none of their own
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["rmtl-tf"],
) as dag:
    pipeline = f"cd {REPOSITORY} && .venv/bin/python pipeline.py"
    where = f"--config {CONFIG} --set root={ROOT} "
    train = BashOperator(
        task_id="run",
        bash_command=f"{pipeline} run {where}{os.environ.get('RMTL_TF_SET', '')}",
        execution_timeout=timedelta(hours=12),
    )
    clean = BashOperator(task_id="gc", bash_command=f"{pipeline} gc {where}--keep-days 30")
    train >> clean
