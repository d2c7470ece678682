"""What an evaluation keeps of a response: graded, saved to a file, read back and graded again without a model.

The file is JSON lines. The first holds the settings and the number of responses; then a line a response, with all that
grading needs of its problem. Responses to one problem stand together.
"""
import json
from bisect import bisect_left
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path

import extract
import reward
import sample
import tasks
from config import Refusal
from storage.folders import write_file

STRIDE = 16  # tokens between two marks: a place in the text is known to a few tokens, in a list that stays short
TOO_LONG = reward.Reward(0.0, 0.0, 0.0, "the prompt does not fit the context")


@dataclass(frozen=True)
class Response:
    """The text of one rollout, and what its ids are still needed for."""
    text: str
    tokens: int  # the stop token included; 0: nothing was drawn, because the prompt does not fit the context
    finished: bool  # ended by itself, not by the length limit
    marks: tuple[int, ...] = ()  # characters after every STRIDE tokens, and after the last


@dataclass
class Graded:
    """One problem, its k responses and what they earned."""
    problem: tasks.Problem
    responses: list[Response]
    rewards: list[reward.Reward] = field(default_factory=list)
    answers: list[str | None] = field(default_factory=list)  # extracted text per response, None where there is none


def keep(tokenizer, rollout: sample.Rollout) -> Response:
    """A rollout as its response. Marks count decoded pieces: a character that two pieces share shifts them by one."""
    pieces = [rollout.response[i:i + STRIDE] for i in range(0, len(rollout.response), STRIDE)]
    marks = accumulate(map(len, tokenizer.batch_decode(pieces, skip_special_tokens=True)))
    return Response(sample.text_of(tokenizer, rollout), len(rollout.response), rollout.finished, tuple(marks))


def tokens_until(response: Response, position: int) -> float:
    """Tokens of the first `position` characters: exact at the marks, by share of characters between two of them."""
    i = bisect_left(response.marks, position)
    if i == len(response.marks):
        return float(response.tokens)
    low, high = response.marks[i - 1] if i else 0, response.marks[i]
    return i * STRIDE + min(STRIDE, response.tokens - i * STRIDE) * (position - low) / (high - low)


def grade(problem: tasks.Problem, responses: list[Response], reward_name: str, style: str = "auto") -> Graded:
    """Each response's reward and extracted answer; what could not be drawn is wrong."""
    graded = Graded(problem, responses)
    for r in responses:
        graded.rewards.append(reward.score(reward_name, r.text, problem, r.finished, style) if r.tokens else TOO_LONG)
        graded.answers.append(extract.extract_answer(r.text, style))
    return graded


# ---------------------------------------------------------------- the file

def save(path: Path, config: dict, graded: dict[str, list[Graded]]) -> None:
    """Write every response, by benchmark; the file is whole or as it was."""
    lines = []
    for name, problems in graded.items():
        for index, g in enumerate(problems):
            p = g.problem
            for r, earned, answer in zip(g.responses, g.rewards, g.answers):
                lines.append({"benchmark": name, "index": index, "key": p.key, "task": p.task, "question": p.question,
                              "gold": p.answer, "facts": p.facts, **asdict(r), "answer": answer, "reward": asdict(earned)})
    head = {"config": config, "responses": len(lines)}
    write_file(path, "".join(json.dumps(line) + "\n" for line in [head, *lines]))


FACTS = {"countdown": ("numbers", "target"), "kk": ("names", "knights")}  # what reward.py's checkers read


def read(path: str) -> tuple[dict, dict[str, list[tuple[tasks.Problem, list[Response]]]]]:
    """(settings, {benchmark: [(problem, its responses)]}) of a saved file; Refusal names a damaged line."""
    config, total, found, number = {}, 0, {}, 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                if number == 1:
                    config, total = dict(row["config"]), int(row["responses"])
                    continue
                if int(row["tokens"]) < 0 or set(FACTS.get(row["task"], ())) - set(row["facts"]):
                    raise ValueError("tokens below 0, or facts that its checker needs are missing")
                response = Response(str(row["text"]), int(row["tokens"]), bool(row["finished"]),
                                    tuple(map(int, row["marks"])))
                problem = tasks.Problem(str(row["task"]), str(row["question"]), str(row["gold"]), str(row["key"]),
                                        dict(row["facts"]))
                problems, index = found.setdefault(str(row["benchmark"]), []), int(row["index"])
                if index == len(problems):
                    problems.append((problem, []))
                if index != len(problems) - 1:
                    raise ValueError("out of order")
                problems[index][1].append(response)
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise Refusal(f"{path}, line {number}: damaged, or not written by --save ({error})") from None
    if number < 2 or number - 1 != total:
        raise Refusal(f"{path}: {max(number - 1, 0)} responses, not the {total} that were saved: the file is damaged")
    for name, problems in found.items():
        if len({len(responses) for _, responses in problems}) > 1:
            raise Refusal(f"{path}: the problems of {name} have different numbers of responses: the file is damaged")
    return config, found
