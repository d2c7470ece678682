"""What eval.py and report.py stand on: from saved responses and logs to figures and to a page.

    benchmarks   the benchmarks by name, and what the published systems report on them
    responses    what is kept of a response: graded, saved, read back and graded again
    behaviour    reflection, verification and other habits of a response, counted by rule
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

Nothing here draws a response or loads a model: eval.py and train.py do.
"""

from . import (
    behaviour,
    benchmarks,
    ending,
    logs,
    metrics,
    page,
    picture,
    responses,
    selection,
    statistics,
    summary,
    tables,
    tokens,
    why,
)
from .responses import Graded, Response
from .summary import behaviours, figures

__all__ = [
    "Graded",
    "Response",
    "behaviour",
    "behaviours",
    "benchmarks",
    "ending",
    "figures",
    "logs",
    "metrics",
    "page",
    "picture",
    "responses",
    "selection",
    "statistics",
    "summary",
    "tables",
    "tokens",
    "why",
]
