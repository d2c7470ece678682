"""What a row of a problem file says: its question, its one answer, its level.

The files are the field's own, one JSON object a line or one JSON array of objects, and each has names of its own: MATH
and AIME have `problem` and `answer`, GSM8K `question` and a worked answer that counts from its `####`, OlympiadBench
`final_answer` (a list: the first element holds them all), Minerva only a `solution` with a box. A field named by hand
is taken instead of these.

Left out on purpose: chat messages as questions, several right answers that exclude each other.
"""
import json
import math
import re
from decimal import Decimal

from config import Refusal
from grader import last_boxed

QUESTIONS = ("problem", "question", "prompt")  # the first that a row has
ANSWERS = ("answer", "final_answer", "solution")  # the first that holds an answer; of a solution its last box
LEVEL = re.compile(r"(?:Level )?([0-9]+(?:\.[0-9]+)?)")
TOLERANCE = re.compile(r"[0-9]*\.?[0-9]+(?:[eE]-[0-9]{1,2})?")


def rows(path: str):
    """(where, object) for each row of a JSONL file or a JSON array; Refusal names a row that is not a JSON object."""
    with open(path, "rb") as file:
        array = file.read(1) == b"["
        file.seek(0)
        for number, text in enumerate([file.read()] if array else file, 1):
            where = path if array else f"{path}, line {number}"
            try:
                value = json.loads(text.decode("utf-8")) if text.strip() else None
                str(value).encode("utf-8")  # an escaped half of a surrogate pair is JSON, but no text
            except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, brackets without end
                raise Refusal(f"{where}: not JSON ({error})") from None
            named = [(f"{path}, row {i}", row) for i, row in enumerate(value, 1)] if array else [(where, value)]
            for where, row in named:
                if not isinstance(row, dict):
                    raise Refusal(f"{where}: {'empty' if row is None else 'not a JSON object'}")
                yield where, row


def written(value) -> str:
    """Text or a number as text, "" for anything else: 27.0 is `27`, and nothing is written with an exponent."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return ""
        return str(int(value)) if value.is_integer() else f"{Decimal(str(value)):f}"
    return str(value).strip() if isinstance(value, (str, int)) else ""


def no_text(where: str, names: tuple[str, ...], row: dict) -> Refusal:
    """For a row of which none of the fields `names` holds text: those it has are blamed, else all."""
    blamed = [name for name in names if name in row] or names
    return Refusal(f"{where}: no text in field {' or '.join(map(repr, blamed))} (fields: {', '.join(row) or 'none'})")


def question_of(row: dict, field: str, where: str) -> str:
    """The question; Refusal if there is none."""
    names = (field,) if field else QUESTIONS
    question = written(row.get(next((name for name in names if name in row), "")))
    if not question:
        raise no_text(where, names, row)
    return question


def answer_of(row: dict, field: str, where: str) -> str:
    """The answer, "" where all its fields that the row has are empty or null; Refusal if it has none of them."""
    names = (field,) if field else ANSWERS
    for name in names:
        value = row.get(name)
        text = written(value[0] if name == "final_answer" and isinstance(value, list) and value else value)
        text = text.rpartition("####")[2].strip()  # after GSM8K's marks, or all of it
        if name == "solution":
            text = (last_boxed(text) or (text if field else "")).strip()
        if text:
            return text
    known = [row[name] for name in names if name in row]
    if all(value is None or value == "" for value in known) and known:  # MATH's training file has such rows
        return ""
    raise no_text(where, names, row)


def without_dollars(answer: str) -> str:
    """A maths answer without the `$` that only say "mathematics"; `\\$` is money and stays."""
    return re.sub(r"(?<!\\)\$", "", answer).strip()


def facts_of(row: dict) -> dict:
    """level (MATH's 1 to 5, or a model's `difficulty`), tolerance (OlympiadBench's `error`, absolute), unit: if given."""
    facts = {}
    if level := LEVEL.fullmatch(str(row.get("difficulty") if row.get("level") is None else row["level"])):
        facts["level"] = float(level[1])
    if isinstance(row.get("error"), (str, float)) and TOLERANCE.fullmatch(str(row["error"])):
        facts["tolerance"] = float(row["error"])  # else null, or several for several answers: exact
    if isinstance(row.get("unit"), str) and row["unit"].strip():
        facts["unit"] = row["unit"].strip()
    return facts


def levels_of(text: str) -> tuple[int, ...]:
    """`3,4,5` or `3-5` as numbers, "" as none; Refusal for anything else."""
    levels = []
    for part in text.split(",") if text.strip() else []:
        bounds = re.fullmatch(r" *([0-9]{1,3})(?:-([0-9]{1,3}))? *", part)
        if not bounds or int(bounds[2] or bounds[1]) < int(bounds[1]):
            raise Refusal(f"--levels {text}: write levels as 3,4,5 or 3-5")
        levels += range(int(bounds[1]), int(bounds[2] or bounds[1]) + 1)
    return tuple(levels)
