"""Problems from files: what a row says (its question, its one answer, its level), and all rows.

The files are the field's own, one JSON object a line or one JSON array of objects, and each has
names of its own: MATH and AIME have `problem` and `answer`, GSM8K `question` and a worked answer
that counts from its `####`, OlympiadBench `final_answer` (a list: the first element holds them
all), Minerva only a `solution` with a box. A field named by hand is taken instead of these.

Left out on purpose: chat messages as questions, several right answers that exclude each other.
"""

import json
import math
import re
import sys
from collections.abc import Iterator
from decimal import Decimal

from config import UserError
from grader import last_boxed
from tasks.problem import SPLITS, Problem, split_of

QUESTIONS = ("problem", "question", "prompt")  # the first that a row has
# The first that holds an answer; of a solution its last box.
ANSWERS = ("answer", "final_answer", "solution")
LEVEL = re.compile(r"(?:Level )?([0-9]+(?:\.[0-9]+)?)")
TOLERANCE = re.compile(r"[0-9]*\.?[0-9]+(?:[eE]-[0-9]{1,2})?")
MOST_NAMED = 5  # rows without an answer that the message names

# ---------------------------------------------------------------- all problems of a file


def read_jsonl(
    path: str,
    question_field: str = "",
    answer_field: str = "",
    task: str = "data",
    levels: tuple[int, ...] = (),
) -> dict[str, list[Problem]]:
    """The different problems of a file as {"train": [...], "held-out": [...]}.

    A question decides its side.
    """
    sides = {split: {} for split in SPLITS}
    for problem in read_rows(path, question_field, answer_field, task, levels):
        side = sides[split_of(problem.key)]
        side[problem.key] = problem
    for split, found in sides.items():
        if not found:
            raise UserError(
                f"{path}: no problem falls on the {split} side (one in ten is held out): "
                "too few lines"
            )
    return {split: list(found.values()) for split, found in sides.items()}


def read_rows(
    path: str,
    question_field: str = "",
    answer_field: str = "",
    task: str = "math",
    levels: tuple[int, ...] = (),
) -> list[Problem]:
    """The problems of a JSONL file or JSON array in file order, of these levels if any are given.

    Fields that are not named are found (QUESTIONS, ANSWERS). Maths rows with an empty or null
    answer are passed over aloud, in any other task they are refused. UserError names the line and
    what is wrong with it, or says that there are no levels.
    """
    problems = []
    without_answer = []
    known_levels = set()
    for where, row in rows(path):
        problem = problem_of(row, question_field, answer_field, task, where)
        level = problem.facts.get("level")
        known_levels.add(level)
        if not problem.answer:
            without_answer.append(where.removeprefix(f"{path}, "))
        elif not levels or level in levels:
            problems.append(problem)
    if levels and not problems:
        raise no_such_level(path, levels, known_levels)
    if without_answer:
        named = ", ".join(without_answer[:MOST_NAMED])
        if len(without_answer) > MOST_NAMED:
            named += f" and {len(without_answer) - MOST_NAMED} more"
        print(f"{path}: passed over, without an answer: {named}", file=sys.stderr)
    return problems


def problem_of(row: dict, question_field: str, answer_field: str, task: str, where: str) -> Problem:
    """The problem that a row states; of a maths row the answer may be "".

    Spacing and case of the question do not make a new problem.
    """
    question = question_of(row, question_field, where)
    answer = answer_of(row, answer_field, where)
    if task == "math":
        answer = without_dollars(answer)
    elif not answer:
        raise no_text(where, answer_names(answer_field), row)
    key = "data " + " ".join(question.lower().split())
    return Problem(task, question, answer, key, facts_of(row))


def no_such_level(path: str, levels: tuple[int, ...], known_levels: set) -> UserError:
    """For a file of which no row has one of the levels that were asked for."""
    if known_levels <= {None}:
        return UserError(f"{path}: its rows have no level or difficulty: leave out --levels")
    asked = ", ".join(map(str, levels))
    have = ", ".join(f"{level:g}" for level in sorted(known_levels - {None}))
    return UserError(f"{path}: no problem of level {asked} (have: {have})")


def levels_of(text: str) -> tuple[int, ...]:
    """`3,4,5` or `3-5` as numbers, "" as none; UserError for anything else."""
    if not text.strip():
        return ()
    levels = []
    for part in text.split(","):
        bounds = re.fullmatch(r" *([0-9]{1,3})(?:-([0-9]{1,3}))? *", part)
        if not bounds:
            raise unreadable_levels(text)
        first = int(bounds[1])
        last = int(bounds[2] or bounds[1])
        if last < first:
            raise unreadable_levels(text)
        levels += range(first, last + 1)
    return tuple(levels)


def unreadable_levels(text: str) -> UserError:
    """For levels that are neither a list nor a range."""
    return UserError(f"--levels {text}: write levels as 3,4,5 or 3-5")


# ---------------------------------------------------------------- rows


def rows(path: str) -> Iterator[tuple[str, dict]]:
    """(where, object) for each row of a JSONL file or a JSON array.

    UserError names a row that is not a JSON object.
    """
    with open(path, "rb") as file:
        is_array = file.read(1) == b"["
        file.seek(0)
        if is_array:
            for number, row in enumerate(parse_json(file.read(), path), 1):
                where = f"{path}, row {number}"
                yield where, object_of(row, where)
        else:
            for number, line in enumerate(file, 1):
                where = f"{path}, line {number}"
                yield where, object_of(parse_json(line, where), where)


def parse_json(text: bytes, where: str):
    """The value of a JSON text, None of a blank one; UserError if it is neither."""
    try:
        value = None
        if text.strip():
            value = json.loads(text.decode("utf-8"))
        str(value).encode("utf-8")  # an escaped half of a surrogate pair is JSON, but no text
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, brackets without end
        raise UserError(f"{where}: not JSON ({error})") from None
    return value


def object_of(value, where: str) -> dict:
    """The value itself if it is a JSON object; UserError if not."""
    if value is None:
        raise UserError(f"{where}: empty")
    if not isinstance(value, dict):
        raise UserError(f"{where}: not a JSON object")
    return value


# ---------------------------------------------------------------- what a row says


def question_of(row: dict, field: str, where: str) -> str:
    """The question; UserError if there is none."""
    names = QUESTIONS
    if field:
        names = (field,)
    present = [name for name in names if name in row]
    question = ""
    if present:
        question = written(row[present[0]])
    if not question:
        raise no_text(where, names, row)
    return question


def answer_names(field: str) -> tuple[str, ...]:
    """The fields that may hold the answer: the one named by hand, or those of the field's files."""
    if field:
        return (field,)
    return ANSWERS


def answer_of(row: dict, field: str, where: str) -> str:
    """The answer, "" where all its fields that the row has are empty or null.

    UserError if it has none of them, or only other things in them.
    """
    names = answer_names(field)
    for name in names:
        text = answer_in(row.get(name), name, by_hand=bool(field))
        if text:
            return text
    known = [row[name] for name in names if name in row]
    # MATH's training file has rows whose answer is empty.
    if known and all(value is None or value == "" for value in known):
        return ""
    raise no_text(where, names, row)


def answer_in(value, name: str, by_hand: bool) -> str:
    """The answer that the field `name` with this value holds, "" for none.

    A solution without a box holds one only if the field was named `by_hand`: then all of it.
    """
    if name == "final_answer" and isinstance(value, list) and value:
        value = value[0]
    # After GSM8K's marks, or all of it.
    text = written(value).rpartition("####")[2].strip()
    if name != "solution":
        return text
    boxed = last_boxed(text)
    if boxed:
        return boxed.strip()
    if by_hand:
        return text
    return ""


def facts_of(row: dict) -> dict:
    """What else a row states: level, tolerance and unit, each if it is given.

    level is MATH's 1 to 5, or a model's `difficulty`; tolerance is OlympiadBench's `error`,
    absolute.
    """
    facts = {}
    level = row.get("level")
    if level is None:
        level = row.get("difficulty")
    level_match = LEVEL.fullmatch(str(level))
    if level_match:
        facts["level"] = float(level_match[1])
    error = row.get("error")  # null, or several for several answers: exact
    if isinstance(error, (str, float)) and TOLERANCE.fullmatch(str(error)):
        facts["tolerance"] = float(error)
    unit = row.get("unit")
    if isinstance(unit, str) and unit.strip():
        facts["unit"] = unit.strip()
    return facts


def written(value) -> str:
    """Text or a number as text, "" for anything else.

    27.0 is `27`, and nothing is written with an exponent.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            return ""
        if value.is_integer():
            return str(int(value))
        return f"{Decimal(str(value)):f}"
    if isinstance(value, (str, int)):
        return str(value).strip()
    return ""


def without_dollars(answer: str) -> str:
    r"""A maths answer without the `$` that only say "mathematics"; `\$` is money and stays."""
    return re.sub(r"(?<!\\)\$", "", answer).strip()


def no_text(where: str, names: tuple[str, ...], row: dict) -> UserError:
    """For a row of which none of the fields `names` holds text.

    Those that it has are blamed, else all.
    """
    blamed = [name for name in names if name in row] or names
    fields = " or ".join(map(repr, blamed))
    have = ", ".join(row) or "none"
    return UserError(f"{where}: no text in field {fields} (fields: {have})")
