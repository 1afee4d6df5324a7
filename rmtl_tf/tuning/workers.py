"""Workers of a study as processes: started, watched, started again where they die, ended with the leader."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from optuna.trial import TrialState
from tqdm import tqdm

from rmtl_tf.errors import UserError
from rmtl_tf.tuning.hparams import remove_trial
from rmtl_tf.tuning.study import ATTEMPTS, Study

MENDABLE = 2  # exit code of the command line for an error that a person can mend
_HOPELESS = 3  # failed trials without one that did not fail
_PAUSE = 0.3

log = logging.getLogger(__name__)


def lead(study: Study, command: Callable[[int], Sequence[str]], workers: int) -> None:
    """Runs workers until every trial has ended, with a progress bar.

    Args:
        study: nobody else works on it.
        command: of worker 0, 1, ...; what it writes goes to `<study>/worker-<number>.log`.

    Raises:
        UserError: of a worker; or the first trials all fail; or workers die again and again.
    """
    for number in study.bury():
        remove_trial(study.folder, number)
    children: dict[int, subprocess.Popen[bytes]] = {}
    deaths = 0
    with ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=study.tune.trials, desc="trials", unit="trial", disable=None))
        stack.callback(_end, children)
        for number in range(workers):
            children[number] = _start(command(number), study.folder, number)
        while children:
            time.sleep(_PAUSE)
            for number, child in list(children.items()):
                code = child.poll()
                if code is None:
                    continue
                del children[number]
                if code == 0:
                    continue
                if code == MENDABLE:
                    raise UserError(_last_error(_log(study.folder, number)))
                deaths += 1
                for trial in study.bury(child.pid):
                    remove_trial(study.folder, trial)
                _give_up(deaths, workers, _log(study.folder, number))
                log.warning("tune: worker %d was lost (exit code %d); it is started again", number, code)
                children[number] = _start(command(number), study.folder, number)
            finished = _show(bar, study)
            deaths = 0 if finished > bar.n else deaths
            bar.update(finished - bar.n)
            _check_hope(study)


def _start(command: Sequence[str], folder: Path, number: int) -> subprocess.Popen[bytes]:
    with _log(folder, number).open("ab") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL)


def _end(children: dict[int, subprocess.Popen[bytes]]) -> None:
    for child in children.values():
        child.kill()
        child.wait()


def _log(folder: Path, number: int) -> Path:
    return folder / f"worker-{number}.log"


def _show(bar: tqdm, study: Study) -> int:
    """Says how it stands; the number of trials that ended."""
    finished = study.finished
    states = [trial.state for trial in finished]
    counts = {"pruned": states.count(TrialState.PRUNED), "failed": states.count(TrialState.FAIL)}
    best = study.best
    found = {} if best is None else {"best": f"{best.value:.4f}"}
    bar.set_postfix({**found, **counts}, refresh=False)
    return len(finished)


def _give_up(deaths: int, workers: int, file: Path) -> None:
    if deaths > ATTEMPTS * workers:
        raise UserError(
            f"tune: {deaths} times a worker died before any trial ended. Look at {file}; if memory is short, "
            "take fewer --workers. The same command goes on from here."
        )


def _check_hope(study: Study) -> None:
    finished = study.finished
    if len(finished) >= _HOPELESS and all(trial.state == TrialState.FAIL for trial in finished):
        raise UserError(
            f"tune: the first {len(finished)} trials all failed; the last: {study.error(finished[-1])} "
            f"Change the space, or the configuration, and give the study another name (tune.study) or remove "
            f"{study.folder}."
        )


def _last_error(file: Path) -> str:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    return "\n".join(lines[errors[-1] :]).removeprefix("error: ") if errors else f"see {file}"
