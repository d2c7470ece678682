"""What a run has logged, read for people: of runs that go on, and of runs made by earlier versions.

Nothing here needs a model. A log may be long: of its groups the texts and tokens stay in the files
until they are asked for.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from config import UserError
from storage import runs

# ---------------------------------------------------------------- metrics


def read_metrics(folder: str) -> list[dict]:
    """The lines of a run's metrics; a last line that is still being written is left out."""
    path = Path(folder) / runs.METRICS
    if not path.is_file():
        raise UserError(f"{folder}: no metrics.jsonl there, so no run to show")
    texts = path.read_bytes().splitlines()
    lines = []
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
            check_line(line)
            lines.append(line)
        except (ValueError, TypeError, KeyError):
            if number < len(texts):
                raise UserError(f"{path}, line {number}: not JSON of a step") from None
    if not lines:
        raise UserError(f"{path} is empty: the run has not logged a step yet")
    return lines


# What is drawn of a step, where it has a value.
DRAWN = (
    "accuracy",
    "eval_accuracy",
    "reward",
    "length",
    "length_right",
    "length_wrong",
    "entropy",
)


def check_line(line: dict) -> None:
    """ValueError, TypeError or KeyError if the line of a step lacks what is drawn of it.

    A figure may be null or missing; 0 is added to what must be a number.
    """
    int(line["step"] + 0)
    for key in DRAWN:
        if line.get(key) is not None:
            line[key] + 0
    if line.get("eval_accuracy") is not None:
        low, high = line["eval_accuracy_ci"]
        high - low


def read_object(path: Path) -> dict:
    """The object in a JSON file; {} if it is missing or damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return found


def read_config(folder: str) -> dict:
    """A run's resolved settings; {} if there are none to be read."""
    return read_object(Path(folder) / runs.CONFIG)


# What is wrong with a run, if a share of its responses or groups is above a half.
ILLS = {
    "truncated": "of the responses hit --max-new-tokens and earn nothing",
    "equal_groups": "of the groups have equal rewards: nothing in them is better than the rest",
}


def warnings(line: dict) -> list[str]:
    """What a step's metrics say of a sick run, a sentence an ill."""
    found = []
    for name, text in ILLS.items():
        if (line.get(name) or 0) > 0.5:
            found.append(f"{line[name]:.0%} {text}")
    return found


# ---------------------------------------------------------------- groups


# Where a line is: its file and byte, or the line's record itself.
Where = tuple[str, int] | dict


@dataclass
class Group:
    """A problem and the responses to it at one step; what is long stays in the file."""

    step: int
    kind: str  # train | held-out | eval
    place: int  # which group of the step, which held-out problem
    question: str
    answer: str
    responses: list[dict]  # without text: tokens, finished, total, accuracy, why, advantage
    characters: list[int]  # of each response's text
    texts: Where  # the line that holds the texts
    tokens: Where | None = None  # the line that holds the tokens
    benchmark: str = ""  # of an evaluation's

    @property
    def with_tokens(self) -> list[bool]:
        """Of each response whether the line of tokens has them: an evaluation's may lack some."""
        if self.tokens is None:
            return [False] * len(self.responses)
        if self.kind != "eval":
            return [True] * len(self.responses)
        return ["ids" in response for response in self.texts["responses"]]


# What the strips of a group need of a response.
OUTLINE = ("finished", "total", "accuracy", "why")
# How each line of tokens.jsonl begins.
HEAD = re.compile(rb'\{"step": ?(\d+), ?"kind": ?"([a-z-]+)", ?"place": ?(\d+)')


def lines_of(path: Path):
    """(byte, line) of each whole line of a log; nothing of a file that is not there."""
    if not path.is_file():
        return
    at = 0
    with open(path, "rb") as file:
        for line in file:
            if line.endswith(b"\n"):  # else it is still being written
                yield at, line
            at += len(line)


def read_line(where: Where) -> dict:
    """The record of a line."""
    if isinstance(where, dict):
        return where
    path, at = where
    with open(path, "rb") as file:
        file.seek(at)
        return json.loads(file.readline())


def read_groups(folder: str) -> list[Group]:
    """All groups that a run has logged, in the order of their steps."""
    groups = {}
    path = Path(folder) / runs.ROLLOUTS
    met = {}  # groups of a step so far
    for at, line in lines_of(path):
        record = parsed(path, at, line)
        place = met.get(record["step"], 0)
        met[record["step"]] = place + 1
        groups["train", record["step"], place] = outline(record, "train", place, (str(path), at))
    path = Path(folder) / runs.TOKENS
    for at, line in lines_of(path):
        head = HEAD.match(line)
        if not head:
            raise UserError(f"{path}: damaged at byte {at}")
        key = (head[2].decode(), int(head[1]), int(head[3]))
        if key[0] == "held-out":
            groups[key] = outline(parsed(path, at, line), key[0], key[2], (str(path), at))
        if key in groups:
            groups[key].tokens = (str(path), at)
    return sorted(groups.values(), key=lambda group: (group.step, group.kind, group.place))


def parsed(path: Path, at: int, line: bytes) -> dict:
    """The record of a line; UserError if it is damaged."""
    try:
        record = json.loads(line)
        int(record["step"])
        list(record["responses"])
        return record
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError(f"{path}: damaged at byte {at}") from None


def outline(record: dict, kind: str, place: int, where: Where) -> Group:
    """The group of a line, without its texts."""
    responses = []
    for response in record["responses"]:
        kept = {name: response[name] for name in OUTLINE}
        kept["tokens"] = response.get("tokens", len(response.get("ids", ())))
        kept["advantage"] = response.get("advantage")
        responses.append(kept)
    characters = [len(response["text"]) for response in record["responses"]]
    return Group(
        record["step"],
        kind,
        place,
        record["question"],
        record["answer"],
        responses,
        characters,
        where,
    )


def evaluations(folder: str) -> dict[int, list[bool]]:
    """Of each evaluated step, which held-out problems were answered right."""
    found = {}
    for _, line in lines_of(Path(folder) / runs.TOKENS):
        head = HEAD.match(line)
        if head and head[2] == b"evaluation":
            record = json.loads(line)
            found[record["step"]] = [mark == "1" for mark in record["right"]]
    return found
