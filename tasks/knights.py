"""Knights and knaves: who always tells the truth, who always lies?

The generator draws one statement a person until exactly one assignment fits them all. The checker
reads `Name is a knight` and `Name is a knave`, in a sentence or a list, and nothing else. A puzzle
can be perturbed: one word of it is changed, and with it the solution, so that who has learned the
solution by heart is found out.
"""

import itertools
import random
import re
from dataclasses import replace

from tasks.problem import Problem, split_of

NAMES = (
    "Ava Ben Chloe David Emma Felix Grace Henry Ivy Jack "
    "Lily Mason Nora Oliver Penelope Riley Sofia Theo Violet Zoey"
).split()


def role(knight: bool) -> str:
    """What a person is, in a word."""
    if knight:
        return "knight"
    return "knave"


# ---------------------------------------------------------------- statements

KINDS = ("is", "not", "and", "or", "if", "iff")
SENTENCES = {
    "not": "it is not so that {0}",
    "and": "{0} and {1}",
    "or": "{0} or {1}",
    "if": "if {0} then {1}",
    "iff": "{0} if and only if {1}",
}


def statement(rng: random.Random, size: int, speaker: int) -> tuple:
    """What `speaker` says, as a tree.

    A tree is ("is", person, knight?) or ("not", s), ("and" | "or" | "if" | "iff", s, s).
    """
    kind = rng.choice(KINDS)
    if kind == "is":
        return simple_statement(rng, size, speaker)
    if kind == "not":
        return ("not", simple_statement(rng, size, speaker))
    left = simple_statement(rng, size, speaker)
    right = left
    while right == left:
        right = simple_statement(rng, size, speaker)
    return (kind, left, right)


def simple_statement(rng: random.Random, size: int, speaker: int) -> tuple:
    """What `speaker` says that one person is; nobody can say "I am a knave"."""
    while True:
        person = rng.randrange(size)
        knight = rng.random() < 0.5
        if person != speaker or knight:
            return ("is", person, knight)


def holds(said: tuple, knights: tuple[bool, ...]) -> bool:
    """Whether a statement is true when `knights[i]` tells if person i is a knight."""
    kind = said[0]
    if kind == "is":
        _, person, knight = said
        return knights[person] == knight
    first = holds(said[1], knights)
    if kind == "not":
        return not first
    second = holds(said[2], knights)
    if kind == "and":
        return first and second
    if kind == "or":
        return first or second
    if kind == "if":
        return not first or second
    assert kind == "iff"
    return first == second


def consistent(statements: tuple, knights: tuple[bool, ...]) -> bool:
    """A knight's statement is true and a knave's is false, for everybody at once."""
    for said, knight in zip(statements, knights):
        if holds(said, knights) != knight:
            return False
    return True


def wording(said: tuple, names: tuple[str, ...]) -> str:
    """A statement in English."""
    kind = said[0]
    if kind == "is":
        _, person, knight = said
        return f"{names[person]} is a {role(knight)}"
    texts = [wording(part, names) for part in said[1:]]
    return SENTENCES[kind].format(*texts)


# ---------------------------------------------------------------- the generator


def make_kk(rng: random.Random, size: int | None = None) -> Problem:
    """`size` people (2 or 3 if not given), one statement each, exactly one assignment fits."""
    n = size or rng.choice((2, 3))
    while True:
        statements = tuple(statement(rng, n, i) for i in range(n))
        solutions = solutions_of(statements)
        if len(solutions) == 1:
            break
    names = tuple(rng.sample(NAMES, n))
    return puzzle(names, statements, solutions[0])


def solutions_of(statements: tuple) -> list[tuple[bool, ...]]:
    """Every consistent assignment, found by brute force."""
    assignments = itertools.product((True, False), repeat=len(statements))
    return [knights for knights in assignments if consistent(statements, knights)]


def puzzle(names: tuple[str, ...], statements: tuple, knights: tuple[bool, ...]) -> Problem:
    """The problem of these people, with what each of them says and which of them are knights.

    facts: names, knights (tuple of bool), statements (trees). Key: the statements with people as
    numbers, so a puzzle keeps its identity when it is told about other people.
    """
    told = []
    for name, said in zip(names, statements):
        told.append(f"{name} says: {wording(said, names)}.")
    question = (
        "Knights always tell the truth and knaves always lie. You meet "
        f"{', '.join(names[:-1])} and {names[-1]}. {' '.join(told)} "
        "Who is a knight and who is a knave?"
    )
    return Problem(
        task="kk",
        question=question,
        answer=identities(names, knights),
        key=f"kk {statements}",
        facts={"names": names, "knights": knights, "statements": statements},
    )


def identities(names: tuple[str, ...], knights: tuple[bool, ...]) -> str:
    """The answer in the form that Logic-RL's prompt asks for, one person a line."""
    lines = []
    for i, name in enumerate(names):
        lines.append(f"({i + 1}) {name} is a {role(knights[i])}")
    return "\n".join(lines)


# ---------------------------------------------------------------- perturbed puzzles


def perturbed(problem: Problem, rng: random.Random, split: str = "") -> Problem | None:
    """The puzzle with one person called the other thing in one place, and so with another solution.

    One leaf of one statement is flipped, knight to knave or back. The flips are tried in an order
    that `rng` draws; None if after none of them there is exactly one solution, and another one than
    before. split: the side that the new puzzle has to be on, by its own key; "" takes both. facts
    has in addition `original`, the key of the puzzle that it was made from. (Local perturbation,
    "On Memorization of Large Language Models in Logical Reasoning", arXiv 2410.23123: there
    a leaf is drawn anew, here it is flipped.)
    """
    statements = problem.facts["statements"]
    candidates = flipped_puzzles(statements)
    for candidate in rng.sample(candidates, len(candidates)):
        solutions = solutions_of(candidate)
        if len(solutions) != 1 or solutions[0] == problem.facts["knights"]:
            continue
        found = puzzle(problem.facts["names"], candidate, solutions[0])
        if split in ("", split_of(found.key)):
            return replace(found, facts={**found.facts, "original": problem.key})
    return None


def flipped_puzzles(statements: tuple) -> list[tuple]:
    """All statements with one leaf of one of them flipped, as far as the generator could draw them.

    Nobody says "I am a knave", and no statement joins two equal halves.
    """
    found = []
    for speaker, said in enumerate(statements):
        for flipped in flips(said):
            if can_be_said(flipped, speaker):
                found.append(statements[:speaker] + (flipped,) + statements[speaker + 1 :])
    return found


def flips(said: tuple) -> list[tuple]:
    """Every statement that differs from this one in one leaf: a knight for a knave or back."""
    if said[0] == "is":
        _, person, knight = said
        return [("is", person, not knight)]
    found = []
    for i in range(1, len(said)):
        for part in flips(said[i]):
            found.append(said[:i] + (part,) + said[i + 1 :])
    return found


def can_be_said(said: tuple, speaker: int) -> bool:
    """Whether the generator could let `speaker` say this."""
    if said[0] == "is":
        return said != ("is", speaker, False)
    parts = said[1:]
    if len(set(parts)) < len(parts):
        return False
    return all(can_be_said(part, speaker) for part in parts)


def make_perturbed(rng: random.Random, size: int | None = None) -> Problem:
    """The perturbed puzzle of a training puzzle of `size` people (2 or 3 if not given).

    Its own key decides its side. One that is held out is one word away from a puzzle that training
    draws, and training never draws it.
    """
    while True:
        original = make_kk(rng, size)
        if split_of(original.key) != "train":
            continue
        found = perturbed(original, rng)
        if found:
            return found


# ---------------------------------------------------------------- the checker

# `(1) Ava is a knight, and ` and the like: a number or a bullet before it, a comma or an "and"
# behind it.
CLAIM = re.compile(
    r"(?:\([0-9]{1,2}\) ?|[0-9]{1,2}[.):] ?|[-*•] )?"
    r"([a-z]+) is a (knight|knave)\b[.,;]? ?(?:and )?",
    re.ASCII | re.IGNORECASE,
)
# What Markdown puts around words to make them bold, italic or code; a bullet stands alone.
EMPHASIS = re.compile(r"\*\*|__|`|(?<![^ ,;.])\*(?=[^ ])|(?<=[^ *])\*(?![^ ,;.])")


def check_kk(answer: str, problem: Problem) -> tuple[bool, bool, str]:
    """Right: `Name is a knight` or `Name is a knave` once for each person, all of them true.

    The order does not matter, nor do numbers, bullets and emphasis: `- **Ava** is a knight`.
    """
    names = problem.facts["names"]
    knights = problem.facts["knights"]
    try:
        roles = claimed_roles(EMPHASIS.sub("", answer), names)
    except ValueError as error:
        return False, False, str(error)
    for i, name in enumerate(names):
        if roles[i] != role(knights[i]):
            return False, True, f"{name} is not a {roles[i]}"
    return True, True, "right"


def claimed_roles(answer: str, names: tuple[str, ...]) -> dict[int, str]:
    """What the answer says of each person, by number; ValueError unless it says it just once."""
    numbers = {name.lower(): i for i, name in enumerate(names)}
    roles = {}
    position = 0
    while position < len(answer):
        claim = CLAIM.match(answer, position)
        if not claim:
            raise ValueError(f"cannot read {answer[position : position + 20]!r}")
        position = claim.end()
        name = claim[1]
        if name.lower() not in numbers:
            raise ValueError(f"there is no {name}")
        person = numbers[name.lower()]
        if person in roles:
            raise ValueError(f"names {name} twice")
        roles[person] = claim[2].lower()
    for i, name in enumerate(names):
        if i not in roles:
            raise ValueError(f"does not say what {name} is")
    return roles


def roles_as_logic_rl(answer: str, names: tuple[str, ...]) -> list[str] | None:
    """What the answer says of each person, read as by Logic-RL's checker (kk.py of
    Unakar/Logic-RL): `Name is a knight` or `Name is a knave`, the first one, anywhere in the text.

    None unless everybody has one, and the words knight and knave stand there as often as there are
    people.
    """
    lower = answer.lower()
    if lower.count("knight") + lower.count("knave") != len(names):
        return None
    roles = []
    for name in names:
        claim = rf"\b{re.escape(name)}\s+is\s+a\s+(knight|knave)\b"
        found = re.search(claim, answer, re.IGNORECASE)
        if not found:
            return None
        roles.append(found[1].lower())
    return roles


def roles_of(problem: Problem) -> list[str]:
    """The role of each person of a problem, in the order of their names."""
    return [role(knight) for knight in problem.facts["knights"]]
