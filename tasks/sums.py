"""Sums: two whole numbers to add, asked for in one of several wordings.

It is a task for a small instruct model with `--template chat --answer-style last-number`. Training
and held-out problems differ in their numbers and in their wording: a pair of numbers that is held
out is held out in both orders, and it is asked for in words that no training problem has.
"""

import random

from tasks.problem import Problem, split_of

WORDINGS = {
    "train": (
        "Reply with the number only. What is {a} + {b}?",
        "What is {a} + {b}? Reply with the number only.",
        "Add {a} and {b}. Reply with the number only.",
        "What is the sum of {a} and {b}? Reply with the number only.",
        "Reply with the number only. Calculate {a} + {b}.",
    ),
    "held-out": (
        "How much is {a} plus {b}? Answer with just the number.",
        "Answer with just the number. {a} plus {b} makes how much?",
        "Answer with just the number. Work out {a} + {b}.",
        "Give the total of {a} and {b}. Answer with just the number.",
        "Tell me how much {a} and {b} make together. Answer with just the number.",
    ),
}


def make_sums(rng: random.Random, size: int = 20) -> Problem:
    """Two numbers from 1 to `size` to add; the checker is that of arithmetic.

    The pairs up to 20 hold 215 different held-out problems, those up to 30 hold 395.

    facts: moves, a list of one (text, value). Key: the two numbers in order of size, which alone
    decide the split, and below them the question.
    """
    a = rng.randint(1, size)
    b = rng.randint(1, size)
    numbers = f"sums {min(a, b)}+{max(a, b)}"
    wording = rng.choice(WORDINGS[split_of(numbers)])
    question = wording.format(a=a, b=b)
    return Problem(
        task="sums",
        question=question,
        answer=str(a + b),
        key=f"{numbers}\n{question}",
        facts={"moves": [(f"{a}+{b}", a + b)]},
    )
