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


def keep(tokenizer, rollout, text: str) -> Response:
    """A rollout as its response; `text` is what a reward reads of it.

    Marks count decoded pieces: a character that two pieces share shifts them by one.
    """
    ids = rollout.response
    pieces = [ids[i : i + STRIDE] for i in range(0, len(ids), STRIDE)]
    decoded = tokenizer.batch_decode(pieces, skip_special_tokens=True)
    marks = tuple(accumulate(map(len, decoded)))
    return Response(text, len(ids), rollout.finished, marks)


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

FACTS = {"countdown": ("numbers", "target"), "kk": ("names", "knights")}  # what the checkers read


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
                if number == 1:
                    settings = dict(row["config"])
                    total = int(row["responses"])
                else:
                    add_row(row, found)
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise UserError(
                    f"{path}, line {number}: damaged, or not written by --save ({error})"
                ) from None
    check_whole(path, number, total, found)
    return settings, found


def add_row(row: dict, found: dict[str, list[Ungraded]]) -> None:
    """Put the response of one line beside those to the same problem.

    ValueError, TypeError or KeyError if the line is damaged.
    """
    response = response_of(row)
    problem = problem_of(row)
    problems = found.setdefault(str(row["benchmark"]), [])
    index = int(row["index"])
    if index == len(problems):
        problems.append((problem, []))
    if index != len(problems) - 1:
        raise ValueError("out of order")
    _, responses = problems[index]
    responses.append(response)


def response_of(row: dict) -> Response:
    """The response of one line, if grading has all that it needs."""
    if int(row["tokens"]) < 0 or lacks_facts(row):
        raise ValueError("tokens below 0, or facts that its checker needs are missing")
    return Response(
        text=str(row["text"]),
        tokens=int(row["tokens"]),
        finished=bool(row["finished"]),
        marks=tuple(map(int, row["marks"])),
    )


def lacks_facts(row: dict) -> bool:
    """Whether facts are missing that the checker of the line's task reads."""
    needed = set(FACTS.get(row["task"], ()))
    return not needed <= set(row["facts"])


def problem_of(row: dict) -> tasks.Problem:
    """The problem of one line."""
    return tasks.Problem(
        task=str(row["task"]),
        question=str(row["question"]),
        answer=str(row["gold"]),
        key=str(row["key"]),
        facts=dict(row["facts"]),
    )


def check_whole(path: str, lines: int, total: int, found: dict[str, list[Ungraded]]) -> None:
    """Refuse a file that lacks responses: `total` were saved, one a line after the first."""
    count = max(lines - 1, 0)
    if lines < 2 or count != total:
        raise UserError(
            f"{path}: {count} responses, not the {total} that were saved: the file is damaged"
        )
    for name, problems in found.items():
        sizes = {len(responses) for _, responses in problems}
        if len(sizes) > 1:
            raise UserError(
                f"{path}: the problems of {name} have different numbers of responses: "
                "the file is damaged"
            )
