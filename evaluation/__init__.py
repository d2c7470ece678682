"""What eval.py stands on: from saved responses to figures with their uncertainty.

    benchmarks   the benchmarks by name, and what the published systems report on them
    responses    what is kept of a response: graded, saved, read back and graded again
    behaviour    reflection, verification and other habits of a response, counted by rule
    statistics   pass@k, the majority's vote, and intervals: numbers in, numbers out
    summary      the figures of graded responses, each with its interval
    tables       figures as text

Nothing here draws a response or loads a model: eval.py does.
"""

from . import behaviour, benchmarks, responses, statistics, summary, tables
from .responses import Graded, Response
from .summary import behaviours, figures

__all__ = [
    "Graded",
    "Response",
    "behaviour",
    "behaviours",
    "benchmarks",
    "figures",
    "responses",
    "statistics",
    "summary",
    "tables",
]
