"""What an evaluation keeps of a response: graded, saved, and graded again without a model.

The file is JSON lines. The first holds the settings and the number of responses; then a line a
response, with all that grading needs of its problem. Responses to one problem stand together.
"""

import json
from bisect import bisect_left
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path

import reward
import tasks
from config import UserError
from storage.folders import write_file

# Tokens between two marks: a place in the text is known to a few tokens, and the list stays short.
STRIDE = 16
SHOWN = 100  # characters of a damaged field in a message
TOO_LONG = reward.Reward(0.0, 0.0, 0.0, "the prompt does not fit the context")


@dataclass(frozen=True)
class Response:
    """The text of one rollout, and what its ids are still needed for."""

    text: str
    tokens: (
        int  # the stop token included; 0: nothing was drawn, the prompt does not fit the context
    )
    finished: bool  # ended by itself, not by the length limit
    marks: tuple[int, ...] = ()  # characters after every STRIDE tokens, and after the last
    forced: tuple = ()  # (begin, end) of tokens that were put there and not drawn (budget.py)


NOT_DRAWN = Response("", 0, False)


@dataclass
class Graded:
    """One problem, its k responses and what they earned."""

    problem: tasks.Problem
    responses: list[Response]
    rewards: list[reward.Reward] = field(default_factory=list)
    # As extracted; None where there is none.
    answers: list[str | None] = field(default_factory=list)

    @property
    def drawn(self) -> bool:
        """Whether anything was drawn: not if the prompt does not fit the context."""
        return self.responses[0].tokens > 0

    @property
    def right(self) -> list[bool]:
        """Of each response, whether it is right."""
        return [earned.accuracy == 1.0 for earned in self.rewards]


def keep(rollout, text_of) -> Response:
    """A rollout as its response; text_of(ids) is what a reward reads of them.

    Marks count decoded pieces: a character that two pieces share shifts them by one.
    """
    ids = rollout.response
    pieces = [ids[i : i + STRIDE] for i in range(0, len(ids), STRIDE)]
    marks = tuple(accumulate(len(text_of(piece)) for piece in pieces))
    return Response(text_of(ids), len(ids), rollout.finished, marks, tuple(rollout.forced))


def tokens_until(response: Response, position: int) -> float:
    """Tokens of the first `position` characters.

    Exact at the marks, by share of characters between two of them.
    """
    i = bisect_left(response.marks, position)
    if i == len(response.marks):
        return float(response.tokens)
    before = i * STRIDE
    low = 0
    if i > 0:
        low = response.marks[i - 1]
    high = response.marks[i]
    between = min(STRIDE, response.tokens - before)
    return before + between * (position - low) / (high - low)


def grade(
    problem: tasks.Problem, responses: list[Response], reward_name: str, style: str = "auto"
) -> Graded:
    """Each response's reward and extracted answer; what could not be drawn is wrong."""
    graded = Graded(problem, responses)
    for response in responses:
        earned = TOO_LONG
        if response.tokens:
            earned = reward.score(reward_name, response.text, problem, response.finished, style)
        graded.rewards.append(earned)
        graded.answers.append(reward.extract_answer(response.text, style))
    return graded


# ---------------------------------------------------------------- the file is written


def save(path: Path, settings: dict, graded: dict[str, list[Graded]]) -> None:
    """Write every response, by benchmark; the file is whole or as it was."""
    rows = []
    for name, groups in graded.items():
        for index, group in enumerate(groups):
            rows += rows_of(name, index, group)
    head = {"config": settings, "responses": len(rows)}
    lines = [json.dumps(row) + "\n" for row in [head, *rows]]
    write_file(path, "".join(lines))


def rows_of(benchmark: str, index: int, group: Graded) -> list[dict]:
    """The lines of one problem, the `index`-th of its benchmark."""
    problem = group.problem
    rows = []
    for response, earned, answer in zip(group.responses, group.rewards, group.answers):
        row = {
            "benchmark": benchmark,
            "index": index,
            "key": problem.key,
            "task": problem.task,
            "question": problem.question,
            "gold": problem.answer,
            "facts": problem.facts,
            **asdict(response),
            "answer": answer,
            "reward": asdict(earned),
        }
        rows.append(row)
    return rows


# ---------------------------------------------------------------- the file is read

# A problem and its responses.
Ungraded = tuple[tasks.Problem, list[Response]]


def read(path: str) -> tuple[dict, dict[str, list[Ungraded]]]:
    """(settings, {benchmark: [(problem, its responses)]}) of a saved file.

    UserError names a damaged line.
    """
    settings = {}
    total = 0
    found = {}
    number = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                # An escaped half of a surrogate pair is JSON, but no text.
                json.dumps(row, ensure_ascii=False).encode("utf-8")
                if number == 1:
                    settings = typed(row, "config", dict)
                    total = typed(row, "responses", int)
                else:
                    add_row(row, found)
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise UserError(
                    f"{path}, line {number}: damaged, or not written by --save ({error})"
                ) from None
    check_whole(path, number, total, found)
    return settings, found


def read_graded(path: str) -> tuple[dict, dict[str, list[Graded]]]:
    """(settings, {benchmark: graded problems}) of a saved file, graded again as it was."""
    settings, found = read(path)
    rule = settings.get("reward", "dr_grpo")
    style = settings.get("answer_style", "auto")
    if rule not in [*reward.REWARDS] or style not in reward.STYLES:  # lists: it may be no text
        raise UserError(f"{path}: no reward {rule!r} with the answer style {style!r}")
    graded = {}
    for name, problems in found.items():
        graded[name] = [grade(problem, group, rule, style) for problem, group in problems]
    return settings, graded


def typed(row, name: str, kind: type):
    """A field of a row; ValueError if it is missing or of another type."""
    if not isinstance(row, dict):
        raise ValueError("no JSON object")
    if name not in row:
        raise ValueError(f"no field {name}")
    if type(row[name]) is not kind:  # to Python True is an int, here it is not
        raise ValueError(f"{name} is {repr(row[name])[:SHOWN]}, not {kind.__name__}")
    return row[name]


def add_row(row: dict, found: dict[str, list[Ungraded]]) -> None:
    """Put the response of a line beside those to the same problem; ValueError if it is damaged."""
    response = response_of(row)
    problem = problem_of(row)
    problems = found.setdefault(typed(row, "benchmark", str), [])
    index = typed(row, "index", int)
    if index == len(problems):
        problems.append((problem, []))
    if index != len(problems) - 1:
        raise ValueError("out of order")
    first, responses = problems[index]
    if problem.key != first.key:
        raise ValueError(f"another problem under the index {index}")
    responses.append(response)


def response_of(row: dict) -> Response:
    """The response of one line."""
    response = Response(
        text=typed(row, "text", str),
        tokens=typed(row, "tokens", int),
        finished=typed(row, "finished", bool),
        marks=tuple(typed(row, "marks", list)),
        forced=forced_of(row),
    )
    if response.tokens < 0:
        raise ValueError("tokens below 0")
    whole_numbers = tasks.are_all(response.marks, int)
    if not whole_numbers or list(response.marks) != sorted(response.marks):
        raise ValueError("marks that are no places in a text")
    if len(response.marks) > response.tokens:
        raise ValueError("marks that are no places in a text")
    return response


def forced_of(row: dict) -> tuple[tuple[int, int], ...]:
    """Where tokens of a line's response were put there; older files have no such field."""
    if "forced" not in row:
        return ()
    spans = []
    before = 0
    for span in typed(row, "forced", list):
        if not tasks.are_all(span, int) or len(span) != 2 or not before <= span[0] < span[1]:
            raise ValueError("forced spans that are no places in a response")
        spans.append(tuple(span))
        before = span[1]
    if spans and before > row["tokens"]:
        raise ValueError("forced spans that are no places in a response")
    return tuple(spans)


def problem_of(row: dict) -> tasks.Problem:
    """The problem of one line, if grading has all that it needs.

    What a row of problems calls its answer is the response's here; the right one is `gold`.
    """
    for name, kind in (("task", str), ("question", str), ("key", str), ("facts", dict)):
        typed(row, name, kind)
    return tasks.problem_in({**row, "answer": typed(row, "gold", str)})


def check_whole(path: str, lines: int, total: int, found: dict[str, list[Ungraded]]) -> None:
    """Refuse a file that lacks responses: `total` were saved, one a line after the first."""
    if lines == 0:
        raise UserError(f"{path} is empty: no file that --save has written")
    count = lines - 1
    if count != total:
        raise UserError(
            f"{path}: {count} responses, not the {total} that were saved: the file is damaged"
        )
    if count == 0:
        raise UserError(f"{path}: no response in it: nothing to grade")
    for name, problems in found.items():
        sizes = {len(responses) for _, responses in problems}
        if len(sizes) > 1:
            raise UserError(
                f"{path}: the problems of {name} have different numbers of responses: "
                "the file is damaged"
            )
