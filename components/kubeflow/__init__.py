"""The same components on Kubeflow Pipelines (docs/kubeflow.md): a container a step, no shared disk.

    fields.py       every field of the configuration as a parameter; which steps read which
    interface.py    what kfp must know of a step: typed artifacts and parameters
    compiler.py     the pipeline as IR YAML
    step.py         what happens in a step's container
    records.py      what became of each step of a run, beside its artifacts
    run_report.py   the page that is written at the end of every run, failed ones too
    submit.py       a compiled pipeline to a server, once or by a schedule

Only `interface.py`, `compiler.py` and `submit.py` import kfp, inside functions or on the way to a command
that needs it.
"""
