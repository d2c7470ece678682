"""What a row of a file says: its question, its one answer, its level, tolerance and unit.

Each published file has field names of its own: MATH and AIME have `problem` and `answer`, GSM8K
`question` and a worked answer that counts from its `####`, OlympiadBench `final_answer` (a list:
the first element holds them all), Minerva only a `solution` with a box, verl a `prompt` of chat
messages and `reward_model` with `ground_truth`, TRL a `prompt` of chat messages and a `solution`
that is the answer. The first field of these that holds something is taken, or the one that is named
by hand: `reward_model.ground_truth` names a field within a field.

Left out on purpose: conversations of several turns, several right answers that exclude each other.
"""

import ast
import math
import re
from decimal import Decimal

from config import UserError
from grader import last_boxed

QUESTIONS = ("problem", "question", "prompt")
ANSWERS = ("answer", "final_answer", "reward_model.ground_truth", "ground_truth", "solution")
# What stands in the answer's place where a file of maths has none (NuminaMath; pandas).
NO_ANSWERS = ("", "proof", "notfound", "not found", "nan")
LEVEL = re.compile(r"(?:Level )?([0-9]+(?:\.[0-9]+)?)")
TOLERANCE = re.compile(r"[0-9]*\.?[0-9]+(?:[eE]-[0-9]{1,2})?")
TAGGED = re.compile(r"<answer>(.*?)</answer>", re.S)
# A list of strings that was written as text: ['2'], ["1/2"]
LIST_AS_TEXT = re.compile(r"\[ *(['\"]).*\1 *\]", re.S)
# Letters that are no variable and no LaTeX command: the text is prose.
WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
MISSING = object()  # beside None, which is JSON's null


class PassedOver(Exception):
    """A row is no problem to work on: why, and what is shown of it."""

    def __init__(self, why: str, shown: str = ""):
        super().__init__(why)
        self.why = why
        self.shown = shown


# ---------------------------------------------------------------- fields


def value_at(row: dict, field: str):
    """The value of a field; `a.b` and `a.0` go into objects and lists. MISSING if there is none."""
    if field in row:
        return row[field]
    value = row
    for part in field.split("."):
        if isinstance(value, list) and part.isascii() and part.isdecimal():
            value = dict(enumerate(value)).get(int(part), MISSING)
        elif isinstance(value, dict):
            value = value.get(part, MISSING)
        else:
            return MISSING
    return value


def present(row: dict, fields: tuple[str, ...]) -> list[str]:
    """Those of the fields that a row has."""
    return [name for name in fields if value_at(row, name) is not MISSING]


def no_text(where: str, fields: tuple[str, ...], row: dict) -> UserError:
    """For a row of which none of the fields holds text.

    Those that it has are blamed, else all.
    """
    blamed = present(row, fields) or fields
    named = " or ".join(map(repr, blamed))
    have = ", ".join(row) or "none"
    return UserError(f"{where}: no text in field {named} (fields: {have})")


def written(value) -> str:
    """Text, a number or a truth as text, "" for anything else.

    27.0 is `27`, nothing is written with an exponent, and a truth is written as JSON has it.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        if not math.isfinite(value):
            return ""
        if value.is_integer():
            return str(int(value))
        value = Decimal(str(value))
    if isinstance(value, Decimal) and value.is_finite():  # parquet has them
        return f"{value:f}"
    if isinstance(value, (str, int)):
        return str(value).strip()
    return ""


# ---------------------------------------------------------------- the question


def question_of(row: dict, field: str, where: str) -> tuple[str, str]:
    """(the question, the system message before it or ""); UserError if there is none."""
    fields = QUESTIONS
    if field:
        fields = (field,)
    for name in present(row, fields):
        value = value_at(row, name)
        if isinstance(value, list) and value:
            return question_in_chat(value, f"{where}: field {name!r}")
        question = written(value)
        if question:
            return question, ""
    raise no_text(where, fields, row)


def question_in_chat(messages: list, where: str) -> tuple[str, str]:
    """(the question, the system message or "") of chat messages.

    UserError if they are something else than one user message, or a system message before it.
    """
    roles = []
    texts = []
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise UserError(f"{where} is a list, but not of chat messages with a role and a text")
        roles.append(str(message.get("role")))
        texts.append(message["content"].strip())
    if roles not in (["user"], ["system", "user"]) or not texts[-1]:
        raise UserError(
            f"{where} has messages of {', '.join(roles)}: a question is one user message with text "
            "in it, or a system message and one user message"
        )
    system = ""
    if len(texts) == 2:
        system = texts[0]
    return texts[-1], system


# ---------------------------------------------------------------- the answer


def answer_of(row: dict, field: str, task: str, where: str) -> str:
    """The answer; PassedOver where there is none, or several.

    UserError if the row has no field for it, or only other things in it, or nothing in a task that
    is not maths.
    """
    fields = ANSWERS
    if field:
        fields = (field,)
    for name in fields:
        text = answer_in(value_at(row, name), name, task, by_hand=bool(field))
        if text:
            return text
    known = [value_at(row, name) for name in present(row, fields)]
    # MATH's training file has rows whose answer is empty.
    if task == "math" and known and all(map(says_no_answer, known)):
        raise PassedOver("without an answer")
    raise no_text(where, fields, row)


def says_no_answer(value) -> bool:
    """Whether a maths file says by this value that there is no answer."""
    if value is None:
        return True
    return isinstance(value, str) and without_dollars(value).lower() in NO_ANSWERS


def answer_in(value, field: str, task: str, by_hand: bool) -> str:
    """The answer that a field with this value holds, "" for none; PassedOver if it holds several.

    A solution in words holds one only behind `####` or in a box, or if the field was named
    `by_hand`: then all of it.
    """
    if task == "math":
        if says_no_answer(value):
            return ""
        value = list_in_text(value)
    name = field.rpartition(".")[2]
    if isinstance(value, list) and value:
        if len(value) > 1 and name != "final_answer":
            raise PassedOver("with several answers")
        value = value[0]
    text = written(value)
    if name == "solution":
        if is_worked(text) and not by_hand:
            return ""
        text = last_boxed(text) or text
    text = bare_answer(text)
    if task == "math":
        return without_dollars(text)
    return text


def is_worked(text: str) -> bool:
    """Whether a text is words and marks no answer in them."""
    marked = last_boxed(text) or "####" in text or TAGGED.search(text)
    return not marked and bool(WORD.search(text))


def list_in_text(value):
    """The list that a text writes out, any other value as it is."""
    if not isinstance(value, str) or not LIST_AS_TEXT.fullmatch(value.strip()):
        return value
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value


def bare_answer(text: str) -> str:
    """What stands behind GSM8K's `####`, in the only answer tags or in the only box; or all of it.

    A response's answer is taken out of its tags and its box as well, so one that holds them could
    never be the same.
    """
    text = text.rpartition("####")[2].strip()
    tagged = TAGGED.findall(text)
    if len(tagged) == 1:
        text = tagged[0].strip()
    if text.count("\\boxed") == 1:
        text = (last_boxed(text) or text).strip()
    return text


def without_dollars(answer: str) -> str:
    r"""A maths answer without the `$` that only say "mathematics"; `\$` is money and stays."""
    return re.sub(r"(?<!\\)\$", "", answer).strip()


# ---------------------------------------------------------------- what else


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
