"""Problems with ground truth: a task draws them, a template wraps them, a checker reads answers.

A `Problem` is a question, one right answer, and a `key`: the identity that survives renaming,
reordering and rewording. The key's hash decides whether a problem is for training or held out, so
the two can never overlap, whatever the seed. The generators draw until they hit the split that was
asked for.

    problem.py     the record, and which side of the fence it is on
    countdown.py   Countdown: its generator and its checker
    knights.py     Knights and Knaves: its generator and its checker; perturbed puzzles
    arithmetic.py  arithmetic: its generator and its checker
    sums.py        sums of two numbers, for a small instruct model: the generator
    words.py       word problems, for a small instruct model: the generator
    data.py        the checkers of problems from files: as text or number, or as mathematics
    catalogue.py   the tables of tasks; from a name to problems, from an answer to a verdict
    rows.py        the rows of a file: JSON lines, a JSON array, parquet
    fields.py      what a row says: its question and its one answer
    records.py     a row that holds all of a problem
    files.py       problems from files: which rows, and on which side of the fence
    templates.py   prompts
    traces.py      how the embedded base was taught to work on them; plain traces for a cold start
    pairs.py       pairs of a prompt and a response for sft.py: read, generated, turned into ids
    order.py       which of these a step of sft.py has

To add a task, write a file with its generator (a function of a random.Random and a size that gives
a Problem) and its checker (a function of an answer's text and the problem that gives right, parsed
and why), and put a line for each into the tables GENERATORS and CHECKS of catalogue.py. A generator
whose problems say `data` needs no checker of its own, and one whose answers are numbers can take
that of arithmetic.

Left out on purpose: curricula within a run (docs/data.md has them of several), weights between
tasks, anything a model has to judge.
"""

from tasks.catalogue import (
    CHECKS,
    GENERATORS,
    PATIENCE,
    batch,
    check,
    generator,
    make_problems,
    other_problems,
    up_to,
)
from tasks.countdown import LARGEST, moves, read_countdown, value_as_text
from tasks.files import read_jsonl, read_rows
from tasks.knights import identities, perturbed
from tasks.problem import SPLITS, Problem, split_of
from tasks.records import are_all, fault_in, problem_in, row_of
from tasks.templates import (
    TEMPLATES,
    check_ids,
    encode,
    encode_prompts,
    prompt,
    stop_strings,
)

__all__ = [
    "CHECKS",
    "GENERATORS",
    "LARGEST",
    "PATIENCE",
    "SPLITS",
    "TEMPLATES",
    "Problem",
    "are_all",
    "batch",
    "check",
    "check_ids",
    "encode",
    "encode_prompts",
    "fault_in",
    "generator",
    "identities",
    "make_problems",
    "moves",
    "other_problems",
    "perturbed",
    "problem_in",
    "prompt",
    "read_countdown",
    "read_jsonl",
    "read_rows",
    "row_of",
    "split_of",
    "stop_strings",
    "up_to",
    "value_as_text",
]
