"""Why a response was paid: what was read as its answer, what that is worth, what each rule pays."""

from dataclasses import replace

import reward
import tasks


def explain(text: str, problem: tasks.Problem | None, finished: bool, style: str = "auto") -> dict:
    """The reasons for what a response earned, for people.

    answer: as it was read, None if there is none; span: (first, end) of its characters in the text,
    None if they are not found; fault: what breaks the format; value: what the answer comes to,
    where that is more than the answer itself; rewards: (name, total, why) under every rule, none
    if the problem is not known well enough to check an answer.
    """
    reading = reward.read_response(text, style)
    rewards = []
    for name in reward.REWARDS if problem else ():
        earned = reward.score(name, text, problem, finished, style)
        rewards.append((name, earned.total, earned.why))
    return {
        "answer": reading.answer,
        "span": span_of(text, reading),
        "fault": reading.fault,
        "value": value_of(reading.answer, problem),
        "rewards": rewards,
    }


def span_of(text: str, reading: reward.Reading) -> tuple[int, int] | None:
    """Where the answer that was read stands in the text.

    It is the last that counts, whatever the style; within tags it stands before the closing one.
    """
    if reading.answer is None:
        return None
    end = len(text)
    if reading.tagged:
        end = text.rfind("</answer>")
    first = text.rfind(reading.answer, 0, end)
    if first < 0:  # it was not read as it is written
        return None
    return first, first + len(reading.answer)


def value_of(answer: str | None, problem: tasks.Problem | None) -> str | None:
    """The value of an answer that is an expression."""
    if answer is None or problem is None or problem.task != "countdown":
        return None
    return tasks.value_as_text(answer)


def problem_of(record: dict, config: dict) -> tasks.Problem | None:
    """The problem of a logged group; None if its facts are not known.

    Logs of earlier versions name no task and hold no facts: then the task is that of the run's
    config, and a Countdown question is read again.
    """
    if "task" not in record:
        read = tasks.read_countdown(record["question"])
        if read:
            return replace(read, answer=record["answer"])
    task = record.get("task") or task_of(config)
    facts = record.get("facts", {})
    problem = tasks.Problem(task, record["question"], record["answer"], "", facts)
    if tasks.fault_in(problem):
        return None
    return problem


def task_of(config: dict) -> str:
    """Which checker the problems of a run have."""
    name = config.get("task", "data").partition(":")[0]
    if config.get("data") and name != "math":
        return "data"
    return name
