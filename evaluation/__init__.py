"""What eval.py and report.py stand on: from saved responses and logs to figures and to a page.

    benchmarks   the benchmarks by name, and what the published systems report on them
    responses    what is kept of a response: graded, saved, read back and graded again
    keeping      which responses a supervised training keeps, and why it leaves the others out
    behaviour    reflection, verification and other habits of a response, counted by rule
    thoughts     where a thought begins (the switch penalty TIP), and which is the first right one
    budget       budget forcing: a response is made to think on, or to answer
    scaling      s1's figures of several evaluations: control, scaling, performance
    statistics   pass@k, the majority's vote, and intervals: numbers in, numbers out
    summary      the figures of graded responses, each with its interval
    tables       figures as text

    metrics      what a step and an evaluation leave in the logs
    tokens       what a run keeps of single tokens
    logs         what a run has logged, read for people
    why          what was read as a response's answer, and what each reward pays for it
    page         runs as one HTML page, made of the files in html/
    selection    what of a long run fits into a page
    picture      the curves of runs by matplotlib
    ending       the last lines of a training

    Programs of their own, by `python -m evaluation.NAME`:
    problems     problems of a task as a file, and perturbed puzzles beside them
    memorised    how much of what is solved was learned by heart
    choose       problems and responses to train on, by a rule

Nothing here draws a response or loads a model: eval.py and train.py do.
"""

from . import (
    behaviour,
    benchmarks,
    budget,
    ending,
    keeping,
    logs,
    metrics,
    page,
    picture,
    responses,
    selection,
    statistics,
    summary,
    tables,
    thoughts,
    tokens,
    why,
)
from .responses import Graded, Response
from .summary import behaviours, figures, votes

__all__ = [
    "Graded",
    "Response",
    "behaviour",
    "behaviours",
    "benchmarks",
    "budget",
    "ending",
    "figures",
    "keeping",
    "logs",
    "metrics",
    "page",
    "picture",
    "responses",
    "selection",
    "statistics",
    "summary",
    "tables",
    "thoughts",
    "tokens",
    "votes",
    "why",
]
