"""The record that goes from a task to a prompt and from a response to its verdict."""

import hashlib
from dataclasses import dataclass, field

SPLITS = ("train", "held-out")


@dataclass(frozen=True)
class Problem:
    task: str  # a name in CHECKS (catalogue.py): which checker reads the answer
    question: str  # what a template wraps
    answer: str  # one right answer, written as it would stand between the answer tags
    key: str  # identity: equal keys are the same problem
    facts: dict = field(default_factory=dict, compare=False)  # ground truth, see the generators


def split_of(key: str) -> str:
    """Which side of the fence a problem is on, decided by the first line of its key alone.

    One in ten is held out. What follows a line break in a key tells problems apart that stay on
    one side: the same sum in other words.
    """
    first_byte = hashlib.sha256(decisive_part(key).encode()).digest()[0]
    if first_byte % 10 == 0:
        return "held-out"
    return "train"


def decisive_part(key: str) -> str:
    """The first line of a key: problems that share it are never on two sides."""
    return key.partition("\n")[0]
