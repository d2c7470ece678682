"""A problem as a row of a file that holds all of it: what only its generator knows, and its key.

Such a row has the fields task, question, answer, key and facts. A file of them carries problems
that a question and an answer alone do not state (the people of a puzzle, the numbers of a
Countdown), and because the key is in it, a problem is on the side of the fence where it came from.
"""

import math

from tasks.catalogue import CHECKS, check
from tasks.problem import Problem

FIELDS = {"task": str, "question": str, "answer": str, "key": str, "facts": dict}
# Tasks whose checker reads the right answer as a number.
NUMERIC = ("arithmetic", "sums", "words")
SHOWN = 100  # characters of a damaged field in a message


def row_of(problem: Problem) -> dict:
    """The row of a problem."""
    return {name: getattr(problem, name) for name in FIELDS}


def is_whole(row: dict) -> bool:
    """Whether a row has all the fields of a problem."""
    return all(name in row for name in FIELDS)


def problem_in(row: dict) -> Problem:
    """The problem of a row that has all the fields.

    ValueError if one is of another type, or if its checker needs facts that are not there.
    """
    for name, kind in FIELDS.items():
        if type(row[name]) is not kind:
            raise ValueError(f"{name} is {repr(row[name])[:SHOWN]}, not {kind.__name__}")
    problem = Problem(**{name: row[name] for name in FIELDS})
    if problem.task not in CHECKS:
        raise ValueError(f"no checker for task {problem.task!r}: have {', '.join(CHECKS)}")
    fault = fault_in(problem)
    if fault:
        raise ValueError(f"{fault}: {repr(problem.facts)[:SHOWN]}")
    return problem


def fault_in(problem: Problem) -> str:
    """Which of the facts that its checker reads a problem lacks, "" if none."""
    facts = problem.facts
    if problem.task == "countdown":
        if not are_all(facts.get("numbers"), int) or type(facts.get("target")) is not int:
            return "facts without numbers and a target"
    if problem.task == "kk":
        names = facts.get("names")
        knights = facts.get("knights")
        if not are_all(names, str) or not are_all(knights, bool) or len(names) != len(knights):
            return "facts without names and who is a knight"
    if problem.task in NUMERIC and not check(problem.answer, problem)[0]:
        return f"the gold {problem.answer!r} is no number"
    for name in ("tolerance", "level"):
        number = facts.get(name, 0.0)
        if type(number) not in (int, float) or not 0 <= number < math.inf:
            return f"facts with a {name} that is no number"
    for name in ("system", "unit"):
        if type(facts.get(name, "")) is not str:
            return f"facts with a {name} that is no text"
    return ""


def are_all(values, kind: type) -> bool:
    """Whether something is a list or a tuple that holds this type and nothing else."""
    return isinstance(values, (list, tuple)) and all(type(value) is kind for value in values)
