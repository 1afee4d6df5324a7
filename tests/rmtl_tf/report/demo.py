"""Small artifacts of a run with invented but plausible numbers, laid out as the pipeline leaves them.

To look at the page: `python tests/rmtl_tf/report/demo.py FOLDER` writes FOLDER/report.html.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from rmtl_tf.files import write_json

TASKS = ("click", "conversion")
ARMS = ("pretrained", "control", "paper", "recommended")
METRICS = ("auc", "logloss", "s_logloss", "session_auc", "ece", "ratio")

# Input key of the Reporter -> (component, output key).
PLACES = {
    "statistics": ("ExampleGen", "statistics"),
    "anomalies": ("ExampleValidator", "anomalies"),
    "transform_graph": ("Transform", "transform_graph"),
    "model_run": ("Trainer", "model_run"),
    "evaluation": ("Evaluator", "evaluation"),
    "blessing": ("Evaluator", "blessing"),
    "infra_blessing": ("InfraValidator", "infra_blessing"),
    "pushed": ("Pusher", "pushed"),
}
UPSTREAM = {
    "ExampleGen": ("LogSimulator/logs",),
    "LogSimulator": (),
    "ExampleValidator": ("ExampleGen/examples", "ExampleGen/statistics"),
    "Transform": ("ExampleGen/examples",),
    "Trainer": ("ExampleGen/examples", "Transform/transform_graph", "Transform/transformed"),
    "Evaluator": ("ExampleGen/examples", "Transform/transformed", "Trainer/model", "Trainer/model_run"),
    "InfraValidator": ("Trainer/model",),
    "Pusher": ("Trainer/model", "Evaluator/blessing", "InfraValidator/infra_blessing"),
}
CONFIG = {
    "name": "demo",
    "seed": 0,
    "data": {"dataset": "simulator", "simulate": {"events": 60000, "seed": 0}, "split": [0.6, 0.2, 0.2]},
    "model": {"backbone": "ple", "embedding_dim": 16, "bottom": [64, 32], "tower": [32], "dropout": 0.2},
    "training": {"batch_size": 512, "export": "recommended", "arms": list(ARMS[1:])},
    "evaluation": {"bootstrap": 200, "confidence": 0.95},
}

ANOMALIES: dict[str, Any] = {
    "examples": {"train": 6_402, "validation": 2_133, "test": 2_140},
    "errors": 0,
    "warnings": 102,
    "anomalies": [
        {
            "rule": "skew",
            "severity": "WARNING",
            "feature": "device",
            "count": 1,
            "sentence": "test: feature 'device' is distributed unlike the train split [skew]",
        },
        *(
            {
                "rule": "new_feature",
                "severity": "WARNING",
                "feature": f"weather_{n}",
                "count": 14,
                "sentence": f"Split-train: feature 'weather_{n}' is not in the schema [new_feature]",
            }
            for n in range(101)
        ),
    ],
    "comparisons": [
        {
            "feature": "device",
            "before": "train",
            "after": split,
            "measure": "infinity_norm",
            "distance": distance,
            "threshold": 0.05,
            "passed": distance <= 0.05,
            "value": "phone",
            "share_before": 0.6,
            "share_after": 0.6 + distance,
        }
        for split, distance in (("validation", 0.012), ("test", 0.083))
    ],
}


def key(component: str) -> str:
    """The key under which the demo keeps a component's outputs."""
    return f"{sum(component.encode()) * 7919:016x}"[-16:]


def build_demo(root: Path, records: int = 3000, seed: int = 0) -> dict[str, Path]:
    """Writes all input artifacts of the Reporter below `root`; returns them by input key."""
    random = np.random.default_rng(seed)
    inputs = {
        name: root / component / key(component) / output for name, (component, output) in PLACES.items()
    }
    for path in inputs.values():
        path.mkdir(parents=True, exist_ok=True)
    _statistics(inputs["statistics"], inputs["transform_graph"])
    write_json(inputs["anomalies"] / "anomalies.json", ANOMALIES)
    _run(inputs["model_run"], random)
    _evaluation(inputs["evaluation"], records, random)
    _verdicts(inputs)
    for component, upstream in UPSTREAM.items():
        _execution(root, component, upstream)
    return inputs


def _statistics(directory: Path, graph: Path) -> None:
    reasons = {"out of range: price": 31, "unparsable timestamp": 9, "duplicate": 7, "missing user_id": 5}
    starts = (1_704_067_200, 1_706_659_200, 1_707_523_200, 1_708_387_200)
    sizes = ((35_890, 6_402, 6_411), (11_970, 2_133, 2_135), (12_088, 2_140, 2_140))
    statistics: dict[str, Any] = {
        "rows_read": 60_000,
        "bad_rows": sum(reasons.values()),
        "reasons": reasons,
        "files": {
            "events.csv": {"rows": 60_000, "bad": sum(reasons.values()), "sha256": "9f86d081884c7d65" * 4}
        },
        "records": 59_948,
        "sessions": 10_675,
        "split_times": list(starts[1:3]),
        "splits": {
            name: {
                "records": n,
                "sessions": sessions,
                "windows": windows,
                "start": starts[i],
                "end": starts[i + 1] - 60,
                "rates": {"click": 0.181 + 0.002 * i, "conversion": 0.0243 - 0.0007 * i},
            }
            for i, (name, (n, sessions, windows)) in enumerate(
                zip(("train", "validation", "test"), sizes, strict=True)
            )
        },
        "session_length": {
            "edges": [1, 2, 3, 4, 6, 11, 21, 51, 101],
            "counts": [2310, 1980, 1620, 2204, 1766, 640, 148, 7],
        },
        "features": {
            "user_id": _categorical(0, 1_997, "u%05d", 210),
            "item_id": _categorical(0, 742, "i%04d", 1_890),
            "category": _categorical(1_210, 24, "category %d", 8_120),
            "device": _categorical(0, 3, ("phone", "desktop", "tablet"), 39_410),
            "price": {
                "kind": "numeric",
                "missing": 1_801,
                "unique": None,
                "mean": 31.42,
                "std": 58.9,
                "min": 0.49,
                "max": 1_899.0,
            },
            "age_days": {
                "kind": "numeric",
                "missing": 0,
                "unique": None,
                "mean": 112.7,
                "std": 240.1,
                "min": 0.0,
                "max": 3_650.0,
            },
        },
    }
    write_json(directory / "statistics.json", statistics)
    rows = [
        "events.csv,118,unparsable timestamp,timestamp,yesterday",
        'events.csv,402,out of range: price,price,"-3,5"',
        "events.csv,977,duplicate,,",
        "events.csv,1203,missing user_id,user_id,",
    ]
    (directory / "quarantine.csv").write_text("\n".join(["file,line,reason,column,value", *rows]) + "\n")
    vocabulary = graph / "vocabulary"
    vocabulary.mkdir(exist_ok=True)
    for name, size in (("user_id", 1_702), ("item_id", 731), ("category", 24), ("device", 3)):
        (vocabulary / f"{name}.txt").write_text("".join(f"value {i}\n" for i in range(size)))


def _categorical(missing: int, unique: int, form: str | tuple[str, ...], first: int) -> dict[str, Any]:
    names = [form[i] if isinstance(form, tuple) else form % (37 * i % unique) for i in range(min(unique, 10))]
    top = [[name, round(first / (i + 1) ** 0.7)] for i, name in enumerate(names)]
    return {"kind": "categorical", "missing": missing, "unique": unique, "top": top}


def _run(directory: Path, random: np.random.Generator) -> None:
    weightings = {
        "control": {"name": "constant"},
        "paper": {"name": "rmtl", "lambda": 0.7, "power": 1.0, "normalise": "none"},
        "recommended": {"name": "rmtl", "lambda": 0.7, "power": -1.0, "normalise": "batch"},
    }
    history: list[dict[str, Any]] = []
    for epoch in range(1, 8):
        history.append({"phase": "pretrain", "arm": "pretrained", "epoch": epoch, **_epoch(epoch, 0, random)})
    for arm in ("paper", "recommended"):
        for epoch in range(1, 6):
            loss = (0.4 if arm == "paper" else 0.25) * 0.6**epoch + 0.11
            entry = {
                "phase": "critic",
                "arm": arm,
                "epoch": epoch,
                "loss": loss,
                "fit": -loss,
                "correlation/click": 0.5 - loss,
            }
            history.append(entry)
    for i, arm in enumerate(weightings):
        for epoch in range(1, 4 + i):
            history.append({"phase": "finetune", "arm": arm, "epoch": epoch, **_epoch(7 + epoch, i, random)})
    q = -random.gamma(1.4, 0.9, size=(4000, 2)) * (1.0, 0.35)
    omega = {
        "control": np.ones_like(q),
        "paper": 1 - 0.7 * q,
        "recommended": 1 / (1 - 0.7 * q) / (1 / (1 - 0.7 * q)).mean(),
    }
    np.savez(directory / "omega.npz", **{arm: values.astype(np.float32) for arm, values in omega.items()})
    run = {
        "tasks": list(TASKS),
        "arms": [
            {
                "name": "pretrained",
                "weighting": None,
                "critic": None,
                "best_epoch": 5,
                "validation_auc": {"click": 0.7301, "conversion": 0.7755},
                "seconds": 31.0,
                "incumbent_kept": False,
            },
            *(
                {
                    "name": arm,
                    "weighting": weighting,
                    "critic": None
                    if arm == "control"
                    else {"gamma": 0.95 if arm == "paper" else 0.5, "beta": 0.2},
                    "best_epoch": 0 if arm == "paper" else 2,
                    "validation_auc": {"click": 0.7312 + 0.001 * i, "conversion": 0.7761 + 0.001 * i},
                    "seconds": 14.2 + i,
                    "incumbent_kept": arm == "paper",
                }
                for i, (arm, weighting) in enumerate(weightings.items())
            ),
        ],
        "export": "recommended",
        "parameters": 118_210,
        "history": history,
        "omega": {
            arm: {
                task: {
                    "mean": float(values[:, k].mean()),
                    "std": float(values[:, k].std()),
                    "max": float(values[:, k].max()),
                    "p50": float(np.quantile(values[:, k], 0.5)),
                    "p99": float(np.quantile(values[:, k], 0.99)),
                }
                for k, task in enumerate(TASKS)
            }
            for arm, values in omega.items()
        },
        "critics": {
            "paper": {
                "click": {"correlation": 0.082, "bias": -0.413, "q_mean": -2.31, "return_mean": -1.897},
                "conversion": {"correlation": 0.151, "bias": -0.072, "q_mean": -0.52, "return_mean": -0.448},
            },
            "recommended": {
                "click": {"correlation": 0.412, "bias": 0.021, "q_mean": -0.803, "return_mean": -0.824},
                "conversion": {"correlation": 0.338, "bias": -0.006, "q_mean": -0.201, "return_mean": -0.195},
            },
        },
        "samples_per_second": {"pretrain": 31_200.0, "critic": 44_800.0, "finetune": 28_700.0},
        "config": CONFIG,
    }
    write_json(directory / "run.json", run)
    (directory / "tensorboard").mkdir(exist_ok=True)


def _epoch(epoch: int, arm: int, random: np.random.Generator) -> dict[str, float]:
    gain = 1 - 0.7**epoch
    return {
        "loss": 0.31 - 0.08 * gain + 0.004 * arm,
        "loss/click": 0.5 - 0.1 * gain,
        "gradient_norm": 1.0 / epoch,
        "auc": 0.62 + 0.13 * gain + 0.001 * arm + float(random.normal(0, 0.001)),
        "auc/click": 0.61 + 0.12 * gain + 0.001 * arm + float(random.normal(0, 0.001)),
        "auc/conversion": 0.64 + 0.14 * gain + 0.001 * arm + float(random.normal(0, 0.001)),
        "logloss/click": 0.28 - 0.05 * gain - 0.001 * arm,
    }


def _evaluation(directory: Path, records: int, random: np.random.Generator) -> None:
    from sklearn.metrics import log_loss, roc_auc_score

    session = np.sort(random.integers(0, records // 5, records))
    logits = random.normal(size=(records, 2)) * (1.0, 1.2) + (-1.7, -3.6)
    labels = (random.random((records, 2)) < 1 / (1 + np.exp(-logits))).astype(np.int8)
    noise = {"pretrained": 0.62, "control": 0.55, "paper": 0.6, "recommended": 0.45}
    shared = random.normal(size=(records, 2))
    probabilities = {
        arm: (1 / (1 + np.exp(-(logits + noise[arm] * shared)))).astype(np.float32) for arm in ARMS
    }
    np.savez(
        directory / "predictions.npz",
        labels=labels,
        session=session,
        **{f"probabilities/{arm}": values for arm, values in probabilities.items()},
    )
    metrics: dict[str, Any] = {}
    for arm, values in probabilities.items():
        metrics[arm] = {}
        for k, task in enumerate(TASKS):
            auc = float(roc_auc_score(labels[:, k], values[:, k]))
            loss = float(log_loss(labels[:, k], values[:, k].astype(np.float64)))
            ratio = float(values[:, k].mean() / labels[:, k].mean())
            numbers = (auc, loss, loss * 1.04, auc - 0.05, abs(ratio - 1) * 0.05 + 0.004, ratio)
            metrics[arm][task] = {
                m: _interval(v, min(0.02, v / 3)) for m, v in zip(METRICS, numbers, strict=True)
            }
    difference: dict[str, Any] = {}
    for arm in ARMS:
        if arm == "control":
            continue
        difference[arm] = {}
        for task in TASKS:
            difference[arm][task] = {
                m: _interval(metrics[arm][task][m]["value"] - metrics["control"][task][m]["value"], 0.0031)
                for m in METRICS
            }
        difference[arm]["mean"] = {
            m: _interval(float(np.mean([difference[arm][task][m]["value"] for task in TASKS])), 0.0024)
            for m in METRICS
        }
    evaluation = {
        "tasks": list(TASKS),
        "arms": list(ARMS),
        "export": "recommended",
        "records": records,
        "sessions": int(np.unique(session).size),
        "confidence": 0.95,
        "bootstrap": 200,
        "metrics": metrics,
        "difference": difference,
        "slices": _slices(random),
        "baseline": {
            "version": "3",
            "path": "runs/demo/serving/demo/3",
            "metrics": {
                task: {m: entry["value"] * 0.99 for m, entry in metrics["control"][task].items()}
                for task in TASKS
            },
            "mean_auc_difference": {"value": 0.0012, "low": -0.0017, "high": 0.0041},
        },
    }
    write_json(directory / "evaluation.json", evaluation)


def _interval(value: float, half: float) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half * 1.1}


def _slices(random: np.random.Generator) -> list[dict[str, Any]]:
    cuts = {
        "session length": ["1", "2-3", "4-7", "8-15", "16+"],
        "item": ["known", "new"],
        "hour (UTC)": [f"{hour:02d}-{hour + 6:02d}" for hour in range(0, 24, 6)],
    }
    rows = []
    for by, values in cuts.items():
        for i, value in enumerate(values):
            size = int(random.integers(150, 900))
            rows.append(
                {
                    "by": by,
                    "value": value,
                    "records": size,
                    "sessions": size // 4,
                    "metrics": {
                        "click": {"auc": 0.7 + 0.01 * i, "logloss": 0.41 - 0.01 * i, "rate": 0.15 + 0.01 * i},
                        "conversion": {
                            "auc": None if value == "16+" else 0.74 + 0.005 * i,
                            "logloss": 0.1,
                            "rate": 0.0 if value == "16+" else 0.02 + 0.002 * i,
                        },
                    },
                }
            )
    return rows


def _verdicts(inputs: dict[str, Path]) -> None:
    checks = [
        check("AUC of click", 0.7391, 0.5, "Every task must be ranked better than by guessing."),
        check("AUC of conversion", 0.7802, 0.5, "Every task must be ranked better than by guessing."),
        check("calibration error of click", 0.0061, 0.2, "Predicted rates must fit the observed ones."),
        check(
            "mean AUC against version 3",
            -0.0017,
            -0.01,
            "The lower bound must not show a drop beyond what is allowed.",
        ),
    ]
    write_json(inputs["blessing"] / "blessing.json", {"blessed": True, "checks": checks})
    (inputs["blessing"] / "BLESSED").touch()
    infra = {
        "blessed": True,
        "checks": [
            check("loads", None, None, "A process with TensorFlow and nothing of ours loads the model."),
            check("parity", 4.2e-8, 1e-6, "Largest difference to the trainer's predictions."),
        ],
        "timings": {
            signature: {
                "1": {"first_ms": 41.8 * factor, "p50_ms": 0.61 * factor, "p99_ms": 0.94 * factor},
                "100": {"first_ms": 6.1 * factor, "p50_ms": 2.31 * factor, "p99_ms": 3.02 * factor},
            }
            for signature, factor in (("serving_default", 1.0), ("serve_examples", 1.3))
        },
    }
    write_json(inputs["infra_blessing"] / "infra.json", infra)
    (inputs["infra_blessing"] / "INFRA_BLESSED").touch()
    pushed = {
        "pushed": True,
        "version": "4",
        "path": "runs/demo/serving/demo/4",
        "reason": "pushed as version 4",
    }
    write_json(inputs["pushed"] / "pushed.json", pushed)


def check(name: str, value: Any, threshold: Any, explanation: str, passed: bool = True) -> dict[str, Any]:
    """One entry of the checks of a blessing."""
    return {
        "name": name,
        "passed": passed,
        "value": value,
        "threshold": threshold,
        "explanation": explanation,
    }


def _execution(root: Path, component: str, upstream: tuple[str, ...]) -> None:
    inputs = {}
    for place in upstream:
        producer, output = place.split("/")
        inputs[output] = {
            "path": f"{producer}/{key(producer)}/{output}",
            "digest": "ab" * 32,
            "producer": producer,
        }
    record = {
        "component": component,
        "key": key(component),
        "inputs": inputs,
        "parameters": {"seed": 0, "of": component},
        "source": f"{component.encode().hex():0<64}"[:64],
        "versions": {"python": "3.11.9", "tensorflow": "2.21.0", "keras": "3.15.0"},
        "commit": "1f3870be274f6c49b3e31a0c6728957f1f3870be",
        "started": "2024-03-01T10:15:00.000+00:00",
        "seconds": 12.345,
    }
    write_json(root / component / key(component) / "execution.json", record)


def main(folder: str) -> None:
    """Writes the demo's artifacts and its page."""
    from rmtl_tf.report.build import build_report

    build_report(build_demo(Path(folder) / "artifacts"), Path(folder) / "report.html", "demo", CONFIG)


if __name__ == "__main__":
    main(*sys.argv[1:])
