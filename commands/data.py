"""`validate` and `infer-schema`: requests held against a schema, and a first draft of one."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from commands.base import FORM, Commands, a_place, configuration, positive
from components.summary import shown
from rmtl_tf import storage
from rmtl_tf.errors import UserError

INFER_SCHEMA = """\
Reads a sample of a CSV (.gz too) or Parquet table and drafts the schema that a run needs: which columns are
user, item, session, time (seconds to nanoseconds) and labels, what only happens after what (parents), which
are numbers, categories or several values, and their bounds. It guesses from names and values, so read the
numbered comments at the top of the draft: each is a decision that only someone who knows the data can make.
The most important one: a column that is known only after the item was shown must not stay an input.

  draft it          python pipeline.py infer-schema day1.csv -o data_schemas/shop.pbtxt
  decide, edit      data_schemas/shop.pbtxt; docs/data.md says what the tags mean
  configure         configs/shop.yaml: data: {dataset: table, path: FOLDER, schema: data_schemas/shop.pbtxt}
  run               python pipeline.py run --config configs/shop.yaml
"""


def add(commands: Commands) -> None:
    of_validate = commands.add_configured("validate", "hold serving requests against the schema", validate)
    of_validate.add_argument(
        "--examples",
        type=a_place,
        required=True,
        metavar="FILE",
        help="TFRecords of one-record tf.train.Examples",
    )
    of_validate.add_argument(
        "--environment", default="SERVING", metavar="NAME", help="of the schema; default: SERVING"
    )
    of_validate.add_argument(
        "--statistics",
        type=a_place,
        metavar="FOLDER",
        help="of ExampleGen: report the skew to its train split",
    )
    of_schema = commands.parsers.add_parser(
        "infer-schema",
        help="draft a data schema from a sample of a table",
        description=INFER_SCHEMA,
        formatter_class=FORM,
    )
    of_schema.set_defaults(command=infer_schema)
    of_schema.add_argument("file", type=a_place, metavar="FILE", help="CSV (with a header) or Parquet file")
    of_schema.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write; default: print")
    of_schema.add_argument(
        "--rows", type=positive("number of rows"), default=200_000, help="rows to look at (default: 200000)"
    )
    of_schema.add_argument("--debug", action="store_true", help="the traceback of an error")


def validate(arguments: argparse.Namespace) -> None:
    from rmtl_tf.data.feedback import feedback_columns
    from rmtl_tf.data.validation.artifact import stop_on_errors, summary
    from rmtl_tf.data.validation.requests import validate_requests
    from rmtl_tf.schema import read_schema

    data = configuration(arguments).data
    schema = read_schema(data.data_schema)
    statistics = arguments.statistics
    found = validate_requests(
        storage.local(arguments.examples),
        schema,
        feedback_columns(data.feedback, schema),
        data.validation.severity,
        arguments.environment,
        None if statistics is None else storage.local(statistics),
    )
    for comparison in found.comparisons:
        if comparison.passed:
            print(f"{comparison.feature}: {comparison.sentence}")
    for anomaly in found.anomalies:
        print(f"{anomaly.severity}: {anomaly.sentence}")
    print(summary(found))
    stop_on_errors(found, [])


def infer_schema(arguments: argparse.Namespace) -> None:
    from rmtl_tf.data.infer_schema import draft_schema

    text = draft_schema(storage.local(arguments.file), arguments.rows)
    if arguments.output is None:
        print(text, end="")
        return
    if arguments.output.exists():
        raise UserError(f"{arguments.output} is there already. Give another file, or remove it first.")
    arguments.output.write_text(text, encoding="utf-8")
    decisions = len(re.findall(r"^#  \d+\. ", text, re.MULTILINE))
    print(f"Drafted {shown(arguments.output)}: {decisions} decisions stand at its top.")
