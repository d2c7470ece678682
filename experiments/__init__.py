"""The laboratory: each finding of the R1-Zero papers by one command, `python -m experiments`.

An experiment is one file, to be read like a lab report: claim, mechanism, what is planted, what
would falsify it, arms, world, measurement, predictions, figure. The other files are the bench
that the experiments share:

    lab.py        one experiment from start to end; its docstring says what such a file holds
    catalogue.py  the experiments by name
    training.py   bases made on the spot, RL runs, evaluations of what came out of them
    workers.py    the bases and all arms with all seeds, in this process or in several
    evidence.py   what the seeds say: intervals, predictions, verdict, table
    results.py    NAME.json, NAME.png and what is printed of them
    figures.py    what the experiments draw with
"""

from experiments.catalogue import NAMES, claim, seeds
from experiments.lab import conduct

__all__ = ["NAMES", "claim", "conduct", "seeds"]
