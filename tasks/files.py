"""Problems from files: which rows become problems, and on which side of the fence they are.

A file is JSON lines, a JSON array or parquet (rows.py); what a row says stands in fields.py, or the
row is a whole problem (records.py), whose task and key stay what they are. A row that no response
could be right about, and questions whose answers contradict each other, are passed over aloud: they
would only ever teach that an answer is wrong.
"""

import re
import sys
import unicodedata
from collections.abc import Callable

from config import UserError
from tasks.catalogue import check
from tasks.fields import PassedOver, answer_of, facts_of, question_of
from tasks.problem import SPLITS, Problem, decisive_part, split_of
from tasks.records import is_whole, problem_in
from tasks.rows import rows

MOST_NAMED = 3  # of what is passed over, that the message names
SHOWN = 40  # characters of a text in a message
BOUND = "([0-9]{1,3}(?:\\.[0-9]{1,3})?)"
LEVELS = re.compile(f" *{BOUND}(?: *- *{BOUND})? *")

# The levels that are taken, as ranges that hold both their ends.
Levels = tuple[tuple[float, float], ...]

# ---------------------------------------------------------------- all problems of a file


def read_jsonl(
    path: str,
    question_field: str = "",
    answer_field: str = "",
    task: str = "data",
    levels: Levels = (),
    can_be_right: Callable[[Problem], bool] | None = None,
) -> dict[str, list[Problem]]:
    """The different problems of a file as {"train": [...], "held-out": [...]}, neither empty.

    A question decides its side, whatever its capitals and spacing. can_be_right: see read_rows.
    """
    problems = read_rows(path, question_field, answer_field, task, levels, can_be_right)
    sides = {split: [] for split in SPLITS}
    for problem in different(problems, path):
        sides[split_of(problem.key)].append(problem)
    for split, found in sides.items():
        if not found:
            raise UserError(
                f"{path}: no problem falls on the {split} side (one in ten is held out): "
                "too few lines; train.py --eval-data takes the held-out problems from another "
                "file, eval.py --split all takes all of this one"
            )
    return sides


def read_rows(
    path: str,
    question_field: str = "",
    answer_field: str = "",
    task: str = "math",
    levels: Levels = (),
    can_be_right: Callable[[Problem], bool] | None = None,
) -> list[Problem]:
    """The problems of a file in its order, of these levels if any are given; never none.

    can_be_right: whether a response that says the problem's own answer is right; by default its
    task's checker decides. Rows where it is not are passed over aloud, and so are those with
    several answers and maths rows with none. UserError names the line and what is wrong with it, or
    says that there are no levels.
    """
    problems = []
    passed_over = {}  # why: which rows
    known_levels = set()
    for where, row in rows(path):
        try:
            problem = problem_of(row, question_field, answer_field, task, where)
            level = problem.facts.get("level")
            known_levels.add(level)
            if is_taken(level, levels):
                check_own_answer(problem, can_be_right or own_answer_is_right)
                problems.append(problem)
        except PassedOver as reason:
            place = where.removeprefix(f"{path}, ") + reason.shown
            passed_over.setdefault(reason.why, []).append(place)
    notes = []
    for why, places in passed_over.items():
        notes.append("passed over " + counted(f"of its rows, {why}", places))
    if not problems:
        if levels and not any(is_taken(level, levels) for level in known_levels):
            raise no_such_level(path, levels, known_levels)
        raise UserError("; ".join([f"{path}: no problem in it", *notes]))
    for note in notes:
        say(path, note)
    warn_of_system_messages(problems, path)
    return problems


def problem_of(row: dict, question_field: str, answer_field: str, task: str, where: str) -> Problem:
    """The problem that a row states; PassedOver if it states none.

    Key: the question in small letters, which alone decides the split, and below it the question as
    it is, but for spacing: f(a) is another problem than f(A) and on the same side. A row that is a
    whole problem has its own key and task, unless a field is named by hand.
    """
    if is_whole(row) and not question_field and not answer_field:
        try:
            return problem_in(row)
        except ValueError as error:
            raise UserError(f"{where}: {error}") from None
    question, system = question_of(row, question_field, where)
    answer = answer_of(row, answer_field, task, where)
    facts = facts_of(row)
    if system:
        facts["system"] = system
    spaced = " ".join(unicodedata.normalize("NFC", question).split())
    return Problem(task, question, answer, f"data {spaced.lower()}\n{spaced}", facts)


def check_own_answer(problem: Problem, can_be_right: Callable[[Problem], bool]) -> None:
    """PassedOver if no response can be right."""
    if not can_be_right(problem):
        shown = f" ({shortened(problem.answer)})"
        raise PassedOver("with an answer that no response can match", shown)


def own_answer_is_right(problem: Problem) -> bool:
    """Whether a problem's own answer is right by its checker."""
    right, _, _ = check(problem.answer, problem)
    return right


def warn_of_system_messages(problems: list[Problem], path: str) -> None:
    """Say aloud that questions come with words which most templates leave out."""
    count = sum("system" in problem.facts for problem in problems)
    if count:
        what = "of its questions have a system message: --template chat alone passes it on"
        say(path, f"{count} {what}")


# ---------------------------------------------------------------- doubles and overlaps


def different(problems: list[Problem], path: str) -> list[Problem]:
    """Each problem once, in order; those whose answers contradict each other are passed over aloud.

    Which of the answers would be right nobody knows.
    """
    contradicted = contradictions(problems)
    note = ""
    if contradicted:
        note = "passed over " + counted(
            "of its questions, with different answers", named(contradicted)
        )
    kept = {}
    for problem in problems:
        if problem.key not in contradicted:
            kept.setdefault(problem.key, problem)
    if not kept:
        raise UserError(f"{path}: no problem is left; {note}")
    if note:
        say(path, note)
    return list(kept.values())


def contradictions(problems: list[Problem]) -> dict[str, list[Problem]]:
    """{key: first problem and one that contradicts it} of the same questions with other answers."""
    first = {}
    found = {}
    for problem in problems:
        earlier = first.setdefault(problem.key, problem)
        if problem.answer == earlier.answer or problem.key in found:
            continue
        right, _, _ = check(problem.answer, earlier)
        if not right:
            found[problem.key] = [earlier, problem]
    return found


def warn_of_contradictions(problems: list[Problem], path: str) -> None:
    """Say aloud which questions of a list that stays whole have different answers."""
    found = contradictions(problems)
    if found:
        say(path, "kept " + counted("of its questions, with different answers", named(found)))


def named(contradicted: dict[str, list[Problem]]) -> list[str]:
    """Contradicted questions as a message names them."""
    texts = []
    for earlier, later in contradicted.values():
        answers = f"{shortened(earlier.answer)} and {shortened(later.answer)}"
        texts.append(f"{shortened(earlier.question)} ({answers})")
    return texts


def apart(training: list[Problem], held_out: list[Problem], path: str) -> list[Problem]:
    """The training problems that are not held out as well; the others are passed over aloud.

    Capitals and spacing do not make a question another one here.
    """
    fence = {decisive_part(problem.key) for problem in held_out}
    kept = []
    overlapping = []
    for problem in training:
        if decisive_part(problem.key) in fence:
            overlapping.append(shortened(problem.question))
        else:
            kept.append(problem)
    if not kept:
        raise UserError(f"{path}: every problem of it is in --eval-data too: nothing to train on")
    if overlapping:
        say(
            path,
            "passed over " + counted("of its problems, which --eval-data has too", overlapping),
        )
    return kept


def say(path: str, what: str) -> None:
    """One line on stderr about a file."""
    print(f"{path}: {what}", file=sys.stderr)


def counted(what: str, texts: list[str]) -> str:
    """How many there are, what they are, and the first of them: `2 of its rows: line 3, line 9`."""
    first = ", ".join(texts[:MOST_NAMED])
    more = ""
    if len(texts) > MOST_NAMED:
        more = f" and {len(texts) - MOST_NAMED} more"
    return f"{len(texts)} {what}: {first}{more}"


def shortened(text: str) -> str:
    """A text as a message shows it: not long, in quotes, what cannot be seen spelled out."""
    if len(text) > SHOWN:
        text = text[:SHOWN] + "..."
    return repr(text)


# ---------------------------------------------------------------- levels


def levels_of(text: str) -> Levels:
    """`3,4,5` or `3-5` as ranges, "" as none; UserError for anything else.

    A range is a range: 3.5 is in 3-5, and not in 3,4,5.
    """
    if not text.strip():
        return ()
    levels = []
    for part in text.split(","):
        bounds = LEVELS.fullmatch(part)
        if not bounds:
            raise unreadable_levels(text)
        first = float(bounds[1])
        last = float(bounds[2] or bounds[1])
        if last < first:
            raise unreadable_levels(text)
        levels.append((first, last))
    return tuple(levels)


def unreadable_levels(text: str) -> UserError:
    """For levels that are neither a list nor a range."""
    return UserError(f"--levels {text}: write levels as 3,4,5 or 3-5")


def is_taken(level: float | None, levels: Levels) -> bool:
    """Whether a row of this level is taken: all are where no levels are given."""
    if not levels:
        return True
    if level is None:
        return False
    return any(first <= level <= last for first, last in levels)


def no_such_level(path: str, levels: Levels, known_levels: set) -> UserError:
    """For a file of which no row has one of the levels that were asked for."""
    if known_levels <= {None}:
        return UserError(f"{path}: its rows have no level or difficulty: leave out --levels")
    asked = ", ".join(map(range_as_text, levels))
    have = ", ".join(f"{level:g}" for level in sorted(known_levels - {None}))
    return UserError(f"{path}: no problem of level {asked} (have: {have})")


def range_as_text(levels: tuple[float, float]) -> str:
    """A range of levels as it is written in --levels."""
    first, last = levels
    if first == last:
        return f"{first:g}"
    return f"{first:g}-{last:g}"
