"""What the comparison of the arms allows to say, in sentences."""

from __future__ import annotations

from rmtl_tf.report.artifacts import Artifacts
from rmtl_tf.report.comparison import MEAN, difference, difference_entry
from rmtl_tf.report.text import METRIC, NO_CLEAR_DIFFERENCE, Estimate, joined, verdict


def compared(artifacts: Artifacts) -> list[str]:
    """The arms that are compared with the control: all but the pretrained model and the control itself."""
    return [arm for arm in artifacts.arms if arm not in ("pretrained", "control")]


def findings(artifacts: Artifacts) -> tuple[tuple[str, str], ...]:
    """(arm, sentence): one on mean AUC and mean Logloss against the control, one on the single tasks.

    An arm that is the same model as the control has none: `standing` names it.
    """
    sentences = []
    for arm in compared(artifacts):
        if artifacts.same_model(arm, "control"):
            continue
        mean = [_phrase(artifacts, arm, MEAN, key) for key in ("auc", "logloss")]
        known = [phrase for phrase in mean if phrase]
        if known:
            sentences.append((arm, f"against the control, mean over tasks: {'; '.join(known)}."))
        clear = [
            f"{METRIC[key].label} of {task} {word}"
            for task in artifacts.tasks
            for key in ("auc", "logloss")
            if (word := _verdict(artifacts, arm, task, key)) in ("better", "worse")
        ]
        judged = [
            _verdict(artifacts, arm, task, key) for task in artifacts.tasks for key in ("auc", "logloss")
        ]
        unclear = NO_CLEAR_DIFFERENCE in judged
        if clear:
            rest = f"; {NO_CLEAR_DIFFERENCE} elsewhere" if unclear else ""
            sentences.append((arm, f"task by task: {joined(clear)}{rest}."))
        elif unclear:
            sentences.append((arm, f"task by task: {NO_CLEAR_DIFFERENCE} in AUC or Logloss of any task."))
    return tuple(sentences)


def standing(artifacts: Artifacts) -> tuple[str, str] | None:
    """(arms, sentence): which are the pretrained model, and what that means; None where none is."""
    stood = artifacts.stood
    if not stood:
        return None
    sentence = "no epoch of fine-tuning beat the pretrained model on validation data"
    sentence = f"{sentence}, so the pretrained weights stand"
    if len(stood) == 1:
        return stood[0], f"{sentence}."
    rest = ", the control among them, and do not differ from it" if "control" in stood else ""
    return joined(stood), f"{sentence}. These arms are one and the same model{rest}."


def headline(artifacts: Artifacts) -> tuple[str, str]:
    """The finding on the exported arm's mean AUC and Logloss as a sentence, and its tone.

    The tone is "better" or "worse" only where no clear difference of the other metric speaks against it.
    """
    arm, stood = artifacts.export, artifacts.stood
    if stood and set(artifacts.arms) <= {"pretrained", *stood}:
        return (
            "No epoch of fine-tuning, in any arm, beat the pretrained model on validation data: the "
            f"pretrained weights stand, and the exported arm “{arm}” is the pretrained model.",
            "neutral",
        )
    if artifacts.same_model(arm, "control"):
        return (
            f"The exported arm “{arm}” and the control are both the pretrained model, which no epoch of "
            "their fine-tuning beat on validation data: there is no difference to measure.",
            "neutral",
        )
    sentence, tone = _unexplained(artifacts)
    pretrained = [name for name in dict.fromkeys((arm, "control")) if name in stood]
    if pretrained:
        sentence += (
            f" The arm “{pretrained[0]}” is the pretrained model: no epoch of its fine-tuning beat that on "
            "validation data."
        )
    return sentence, tone


def _unexplained(artifacts: Artifacts) -> tuple[str, str]:
    """The headline as the intervals alone give it."""
    arm = artifacts.export
    if arm == "control" and artifacts.chosen:
        return (
            "The exported model is the arm “control”: on validation data no other arm had a higher mean "
            "AUC, so nothing is claimed for one.",
            "neutral",
        )
    if arm in ("control", "pretrained"):
        return f"The exported model is the arm “{arm}”: nothing is claimed for another arm.", "neutral"
    auc, loss = (
        difference(METRIC[key], difference_entry(artifacts, arm, MEAN, key)) for key in ("auc", "logloss")
    )
    if auc is None or auc.verdict == "not defined":
        return f"The difference of “{arm}” to the control in mean AUC is not defined on this data.", "neutral"
    span = f"mean AUC {auc.value}, interval {auc.low} to {auc.high}"
    if auc.verdict == NO_CLEAR_DIFFERENCE:
        sentence = f"The exported arm “{arm}” shows {NO_CLEAR_DIFFERENCE} to the control in ranking ({span})"
    else:
        sentence = f"The exported arm “{arm}” ranks {auc.verdict} than the control ({span})"
    if loss is None or loss.verdict == "not defined":
        return f"{sentence}.", auc.tone
    words = (
        f"its mean Logloss is {loss.verdict}"
        if loss.tone != "neutral"
        else f"{NO_CLEAR_DIFFERENCE} in mean Logloss"
    )
    tone = auc.tone if loss.tone in (auc.tone, "neutral") else "neutral"
    return f"{sentence}; {words} ({loss.value}, {loss.low} to {loss.high}).", tone


def _phrase(artifacts: Artifacts, arm: str, task: str, key: str) -> str | None:
    shown = difference(METRIC[key], difference_entry(artifacts, arm, task, key))
    if shown is None or shown.verdict == "not defined":
        return None
    return f"{METRIC[key].label} {shown.value} ({shown.low} to {shown.high}): {shown.verdict}"


def _verdict(artifacts: Artifacts, arm: str, task: str, key: str) -> str:
    return verdict(METRIC[key], Estimate.read(difference_entry(artifacts, arm, task, key)))
