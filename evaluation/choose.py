"""Which problems, and which responses to them, are worth training on: chosen by a rule.

    python eval.py --data problems.jsonl --split all --k 8 --save responses.jsonl
    python -m evaluation.choose responses.jsonl --by difficulty --n 100 --out chosen.jsonl
    python -m evaluation.choose responses.jsonl --by diversity --problems chosen-problems.jsonl

The rules, a function each:

    difficulty   problems whose solve rate, the share of right responses, lies within two bounds
                 (SimpleRL-Zoo, arXiv 2503.18892; LIMO, 2502.03387, keeps what is rarely solved)
    diversity    as many problems from each class: number of people, level, benchmark, ... (s1,
                 2501.19393, draws the domain first and the problem in it then)
    quality      of each problem the right response that verifies and backtracks most (LIMO)
    length       of each problem the longest right response, and the longest of these (s1)
    random       any, the control of the others

difficulty, diversity and random choose problems and keep all their responses, or with --one a right
one, drawn by the seed. quality and length choose one response a problem. A response that is chosen
singly is right, has ended by itself and keeps the format of the file's reward.

What is written has the form of eval.py --save, so one rule's choice can be the input of the next,
`sft.py --data` trains on it, and `eval.py --regrade` counts it.
"""

import random
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from config import UserError, check_settings, parse, run_program, setting
from evaluation import behaviour, problems, responses
from evaluation.responses import Graded
from storage.folders import check_file

NUMBER = re.compile("[0-9]+")
NAME = re.compile(r"\b[A-Z][a-z]+\b")
CLASSES = ("all", "benchmark", "task", "level", "size", "shape")


@dataclass(frozen=True)
class ChooseConfig:
    """The settings of a choice."""

    files: tuple = setting((), "one file of responses, by eval.py --save", positional=True)
    by: str = setting(
        "difficulty",
        "the rule",
        choices=("difficulty", "diversity", "quality", "length", "random"),
    )
    n: int = setting(
        100, "most problems that are chosen; 0: all that the rule lets through", at_least=0
    )
    lowest: float = setting(
        0.1, "difficulty: lowest solve rate that is chosen, a share up to 1", at_least=0
    )
    highest: float = setting(
        0.9, "difficulty: highest solve rate that is chosen, a share up to 1", at_least=0
    )
    rates: str | None = setting(
        None,
        "difficulty: file of another model's responses to the same problems; its solve rates count",
    )
    classes: str = setting(
        "all",
        "diversity: what a class has in common; shape is the form of the right answer, all is "
        "benchmark, task, level and size",
        choices=CLASSES,
    )
    one: bool = setting(False, "keep one right response of each problem, not all of them")
    seed: int = setting(0, "seed of what is drawn")
    out: str = setting("chosen.jsonl", "file to write")
    problems: str | None = setting(
        None, "write the chosen problems alone to this file, for train.py --data"
    )

    def __post_init__(self):
        check_settings(self)
        if len(self.files) != 1:
            raise UserError("give one file of eval.py --save: python -m evaluation.choose FILE")
        if self.lowest > self.highest or self.highest > 1:
            raise UserError(
                f"--lowest {self.lowest} --highest {self.highest}: give two shares up to 1, "
                "the lower one first"
            )
        if self.rates and self.by != "difficulty":
            raise UserError("--rates gives solve rates, which only --by difficulty asks for")
        read = {Path(file).resolve() for file in (*self.files, self.rates) if file}
        written = [Path(file).resolve() for file in (self.out, self.problems) if file]
        if len(set(written)) < len(written) or read & set(written):
            raise UserError("--out and --problems: name files of their own, not what is read")


@dataclass(frozen=True)
class Candidate:
    """A problem with its responses, and the benchmark where it stands."""

    benchmark: str
    graded: Graded


# ---------------------------------------------------------------- the rules

# A rule takes candidates and gives those that may be chosen, those to take first in front.


def by_difficulty(
    candidates: list[Candidate],
    rates: dict[str, float],
    lowest: float,
    highest: float,
    rng: random.Random,
) -> list[Candidate]:
    """Those whose solve rate lies within the bounds, both included, in an order that rng draws."""
    within = []
    for candidate in candidates:
        rate = rates[candidate.graded.problem.key]
        if lowest <= rate <= highest:
            within.append(candidate)
    return by_chance(within, rng)


def by_diversity(candidates: list[Candidate], classes: str, rng: random.Random) -> list[Candidate]:
    """One of each class, then a second of each, and so on; within a class as rng draws.

    The classes take turns in an order that rng draws too.
    """
    members = {}
    for candidate in by_chance(candidates, rng):
        members.setdefault(class_of(candidate, classes), []).append(candidate)
    order = []
    for turn in range(max(map(len, members.values()), default=0)):
        order += [queue[turn] for queue in members.values() if turn < len(queue)]
    return order


def by_quality(candidates: list[Candidate]) -> list[Candidate]:
    """Each with its right response of the best quality alone; the best of these first."""
    best = [with_best(candidate, quality) for candidate in candidates]
    return sorted(best, key=lambda candidate: quality(candidate.graded, 0), reverse=True)


def by_length(candidates: list[Candidate]) -> list[Candidate]:
    """Each with its longest right response alone, in tokens; the longest of these first."""
    longest = [with_best(candidate, length) for candidate in candidates]
    return sorted(longest, key=lambda candidate: length(candidate.graded, 0), reverse=True)


def by_chance(candidates: list[Candidate], rng: random.Random) -> list[Candidate]:
    """All of them in an order that rng draws."""
    return rng.sample(candidates, len(candidates))


# ---------------------------------------------------------------- what the rules look at


def solve_rate(graded: Graded) -> float:
    """The share of right responses to a problem."""
    return sum(graded.right) / len(graded.right)


def quality(graded: Graded, i: int) -> float:
    """How often response i verifies and backtracks, per 100 tokens."""
    response = graded.responses[i]
    counts = behaviour.count(response.text, graded.problem)
    return 100 * (counts["verification"] + counts["backtracking"]) / response.tokens


def length(graded: Graded, i: int) -> int:
    """The tokens of response i."""
    return graded.responses[i].tokens


def class_of(candidate: Candidate, classes: str) -> tuple:
    """What a candidate has in common with the others of its class."""
    problem = candidate.graded.problem
    known = {
        "benchmark": candidate.benchmark,
        "task": problem.task,
        "level": problem.facts.get("level"),
        "size": size_of(problem),
    }
    if classes == "all":
        return tuple(known.values())
    if classes == "shape":
        return (shape_of(problem.answer),)
    return (known[classes],)


def size_of(problem) -> int | None:
    """How many people or numbers a generated problem has; None of any other."""
    if problem.task == "kk":
        return len(problem.facts["names"])
    if problem.task == "countdown":
        return len(problem.facts["numbers"])
    return None


def shape_of(answer: str) -> str:
    """An answer with `n` for each number and `w` for each name: (4+16)*5 is (n+n)*n.

    Of a puzzle it says who is what, in the order of the people.
    """
    return NAME.sub("w", NUMBER.sub("n", answer))


# ---------------------------------------------------------------- one response a problem


def usable(graded: Graded) -> list[int]:
    """The responses that may be chosen singly: right, and paid by the file's own reward.

    A right one has ended by itself. What `dr_grpo` asks for beside that is the format.
    """
    found = []
    for i, earned in enumerate(graded.rewards):
        if graded.right[i] and earned.total > 0:
            found.append(i)
    return found


def with_one(candidate: Candidate, i: int) -> Candidate:
    """The candidate with its response i alone."""
    graded = candidate.graded
    alone = Graded(graded.problem, [graded.responses[i]], [graded.rewards[i]], [graded.answers[i]])
    return replace(candidate, graded=alone)


def with_best(candidate: Candidate, measure) -> Candidate:
    """The candidate with that usable response alone whose measure(graded, i) is highest."""
    graded = candidate.graded
    return with_one(candidate, max(usable(graded), key=lambda i: measure(graded, i)))


# ---------------------------------------------------------------- a choice


def choose(
    candidates: list[Candidate], settings: ChooseConfig, rates: dict[str, float]
) -> list[Candidate]:
    """What the settings choose, in the order in which it is chosen.

    rates: the solve rate of each problem, by its key.
    """
    rng = random.Random(f"choose/{settings.seed}")
    if settings.one or settings.by in ("quality", "length"):
        candidates = [candidate for candidate in candidates if usable(candidate.graded)]
    if settings.by == "difficulty":
        order = by_difficulty(candidates, rates, settings.lowest, settings.highest, rng)
    elif settings.by == "diversity":
        order = by_diversity(candidates, settings.classes, rng)
    elif settings.by == "quality":
        order = by_quality(candidates)
    elif settings.by == "length":
        order = by_length(candidates)
    else:
        order = by_chance(candidates, rng)
    if settings.n:
        order = order[: settings.n]
    if settings.one:
        order = [with_one(candidate, rng.choice(usable(candidate.graded))) for candidate in order]
    return order


def rates_of(
    candidates: list[Candidate], others: list[Candidate], path: str | None
) -> dict[str, float]:
    """Solve rates by the key of a problem, of the `others` from `path` where there are any.

    UserError if a candidate is not among them.
    """
    source = candidates
    if path is not None:
        source = others
    rates = {candidate.graded.problem.key: solve_rate(candidate.graded) for candidate in source}
    keys = [candidate.graded.problem.key for candidate in candidates]
    missing = [key for key in keys if key not in rates]
    if missing:
        raise UserError(f"--rates {path}: lacks {len(missing)} of the {len(keys)} problems")
    return rates


def candidates_of(graded: dict[str, list[Graded]]) -> list[Candidate]:
    """The problems of all benchmarks for which something was drawn."""
    found = []
    for benchmark, groups in graded.items():
        found += [Candidate(benchmark, group) for group in groups if group.drawn]
    return found


def by_benchmark(chosen: list[Candidate]) -> dict[str, list[Graded]]:
    """What was chosen, as a file of responses has it."""
    found = {}
    for candidate in chosen:
        found.setdefault(candidate.benchmark, []).append(candidate.graded)
    return found


def line_of(name: str, candidates: list[Candidate], rates: dict[str, float]) -> str:
    """A line about candidates: how many, their solve rate and the tokens of a response."""
    groups = [candidate.graded for candidate in candidates]
    solved = [rates[group.problem.key] for group in groups]
    tokens = [response.tokens for group in groups for response in group.responses]
    return (
        f"{name:<8} {len(groups):>5} problems {len(tokens):>6} responses   "
        f"solve rate {sum(solved) / len(solved):.3f}   {sum(tokens) / len(tokens):.1f} tokens"
    )


def line_of_classes(name: str, candidates: list[Candidate], classes: str) -> str:
    """A line about the classes of candidates: how many there are, the largest and the smallest."""
    sizes = Counter(class_of(candidate, classes) for candidate in candidates).values()
    return f"{name:<8} {len(sizes):>5} classes of {min(sizes)} to {max(sizes)} problems"


def main():
    settings, _ = parse(ChooseConfig, "choose problems and responses to train on, by a rule")
    check_file("--out", settings.out)
    if settings.problems:
        check_file("--problems", settings.problems)
    source, graded = responses.read_graded(settings.files[0])
    candidates = candidates_of(graded)
    others = []
    if settings.rates:
        others = candidates_of(responses.read_graded(settings.rates)[1])
    rates = rates_of(candidates, others, settings.rates)
    chosen = choose(candidates, settings, rates)
    if not chosen:
        raise UserError(f"{settings.files[0]}: --by {settings.by} chooses none of its problems")
    print(line_of("of", candidates, rates))
    print(line_of("chosen", chosen, rates))
    if settings.by == "diversity":
        print(line_of_classes("of", candidates, settings.classes))
        print(line_of_classes("chosen", chosen, settings.classes))
    if len(chosen) < settings.n:
        print(f"--n {settings.n}: there are only {len(chosen)} that --by {settings.by} chooses")
    kept = by_benchmark(chosen)
    source["k"] = len(chosen[0].graded.responses)
    source["n"] = max(map(len, kept.values()))  # 0 would say that it is whole benchmarks
    responses.save(Path(settings.out), source, kept)
    if settings.problems:
        problems.write(settings.problems, [candidate.graded.problem for candidate in chosen])


if __name__ == "__main__":
    run_program(main)
