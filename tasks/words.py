"""Word problems of one or two steps with small whole numbers: a very easy GSM8K.

It is a task for a small instruct model with `--template chat --answer-style last-number`. Training
and held-out problems differ in their numbers and in their wording: a calculation that is held out
is told by stories and about people that no training problem has.
"""

import random

from tasks.problem import Problem, split_of

# The numbers of a story go from 2 to LARGEST_GIVEN; one that something is taken from at once, or
# that is shared at once, goes to LARGEST_VALUE. No value on the way is larger than that.
LARGEST_GIVEN = 8
LARGEST_VALUE = 20

# The operators of a calculation, worked out from left to right, by the number of its steps.
PLANS = {
    1: ("+", "-", "*", "/"),
    2: ("++", "+-", "-+", "--", "*+", "*-", "+/"),
}

# What stands before a story: without it a small model does not come to an end.
INSTRUCTIONS = {
    "train": ("Answer in one short sentence.", "Answer with one short sentence."),
    "held-out": ("Give the answer in one short sentence.", "Reply in one short sentence."),
}

NAMES = {
    "train": ("Tom", "Ann", "Ben", "Lucy", "Max", "Sara", "Paul", "Emma", "Jack", "Nina"),
    "held-out": ("Oscar", "Clara", "Leo", "Julia", "Hugo", "Alice", "Victor", "Ruth"),
}

THINGS = {
    "train": ("apples", "books", "pencils", "marbles", "cards", "stickers", "cookies", "coins"),
    "held-out": ("oranges", "balls", "shells", "stamps", "candles", "buttons", "nuts"),
}

# A story tells its numbers {a}, {b} and {c} in the order in which they are worked with.
STORIES = {
    "train": {
        "+": (
            "{name} has {a} {things}. {name} buys {b} more. "
            "How many {things} does {name} have now?",
            "{name} has {a} {things} and {friend} has {b} {things}. "
            "How many {things} do they have together?",
            "There are {a} {things} in a box. {name} puts in {b} more. "
            "How many {things} are in the box now?",
        ),
        "-": (
            "{name} has {a} {things}. {name} gives {b} of them to {friend}. "
            "How many {things} does {name} have left?",
            "There are {a} {things} on the table. {name} takes away {b} of them. "
            "How many {things} are left on the table?",
            "{name} has {a} {things}. {friend} has {b} fewer than {name}. "
            "How many {things} does {friend} have?",
        ),
        "*": (
            "{name} has {a} bags. There are {b} {things} in each bag. "
            "How many {things} does {name} have?",
            "{name} buys {a} boxes with {b} {things} in each box. "
            "How many {things} does {name} buy?",
        ),
        "/": (
            "{name} shares {a} {things} equally among {b} friends. "
            "How many {things} does each friend get?",
            "{name} puts {a} {things} into {b} boxes, the same number into each box. "
            "How many {things} are in one box?",
        ),
        "++": (
            "{name} has {a} {things}. {name} buys {b} more and then gets {c} more from {friend}. "
            "How many {things} does {name} have now?",
            "There are {a} {things} in a box. {name} puts in {b} more, and {friend} puts in "
            "{c} more. How many {things} are in the box now?",
        ),
        "+-": (
            "{name} has {a} {things}. {name} buys {b} more and gives {c} to {friend}. "
            "How many {things} does {name} have now?",
            "There are {a} {things} in a box. {name} puts in {b} more, and {friend} takes away "
            "{c} of them. How many {things} are in the box now?",
        ),
        "-+": (
            "{name} has {a} {things}. {name} gives {b} to {friend} and then buys {c} more. "
            "How many {things} does {name} have now?",
            "There are {a} {things} on the table. {name} takes away {b} of them, and {friend} "
            "puts {c} more there. How many {things} are on the table now?",
        ),
        "--": (
            "{name} has {a} {things}. {name} gives {b} to {friend} and loses {c}. "
            "How many {things} does {name} have left?",
            "There are {a} {things} on the table. {name} takes away {b}, and {friend} takes away "
            "{c}. How many {things} are left on the table?",
        ),
        "*+": (
            "{name} has {a} bags with {b} {things} in each bag. {name} buys {c} more {things}. "
            "How many {things} does {name} have now?",
        ),
        "*-": (
            "{name} has {a} bags with {b} {things} in each bag. {name} gives {c} {things} to "
            "{friend}. How many {things} does {name} have left?",
        ),
        "+/": (
            "{name} has {a} {things} and buys {b} more. {name} shares all of them equally among "
            "{c} friends. How many {things} does each friend get?",
        ),
    },
    "held-out": {
        "+": (
            "{name} finds {a} {things} in the morning and {b} more in the evening. "
            "How many {things} does {name} find in all?",
            "{name} keeps {a} {things} at home. {friend} brings another {b}. "
            "What is the number of {things} now?",
        ),
        "-": (
            "{name} had {a} {things} and lost {b} of them. How many {things} are still there?",
            "A shop has {a} {things}. It sells {b} of them to {name}. "
            "How many {things} are still in the shop?",
        ),
        "*": (
            "There are {a} shelves in the room of {name}, with {b} {things} on each shelf. "
            "How many {things} are on the shelves?",
        ),
        "/": (
            "{name} has {a} {things} and splits them equally between {b} children. "
            "How many {things} go to each child?",
        ),
        "++": (
            "{name} finds {a} {things} on Monday, another {b} on Tuesday and another {c} on "
            "Friday. How many {things} does {name} find in all?",
        ),
        "+-": (
            "A shop has {a} {things}. It receives another {b} and then sells {c} to {name}. "
            "How many {things} are still in the shop?",
        ),
        "-+": (
            "A shop has {a} {things}. It sells {b} to {name} and then receives another {c}. "
            "How many {things} are in the shop at the end?",
        ),
        "--": (
            "A shop has {a} {things}. It sells {b} to {name} and {c} to {friend}. "
            "How many {things} are still in the shop?",
        ),
        "*+": (
            "There are {a} shelves with {b} {things} on each shelf. {name} brings another {c} "
            "{things}. What is the number of {things} now?",
        ),
        "*-": (
            "There are {a} shelves with {b} {things} on each shelf. {name} sells {c} {things}. "
            "How many {things} are still there?",
        ),
        "+/": (
            "{name} finds {a} {things} and {friend} finds another {b}. They split all of them "
            "equally between {c} children. How many {things} go to each child?",
        ),
    },
}


def make_words(rng: random.Random, size: int | None = None) -> Problem:
    """A story whose question takes `size` steps to answer; without a size one or two, as often.

    Every value on the way is a whole number from 2 to 20. The checker is that of arithmetic. facts:
    moves, the list of (text, value) in the order in which they are computed. Key: the calculation,
    which alone decides the split, and below it the question.
    """
    if size is None:
        size = rng.choice(tuple(PLANS))
    plan = rng.choice(PLANS[size])
    numbers, computed = draw_calculation(plan, rng)
    calculation = f"words {plan} {in_one_order(plan, numbers)}"
    split = split_of(calculation)
    story = rng.choice(STORIES[split][plan])
    name, friend = rng.sample(NAMES[split], 2)
    things = rng.choice(THINGS[split])
    given = dict(zip("abc", numbers))
    told = story.format(name=name, friend=friend, things=things, **given)
    instruction = rng.choice(INSTRUCTIONS[split])
    question = f"{instruction} {told}"
    _, result = computed[-1]
    return Problem(
        task="words",
        question=question,
        answer=str(result),
        key=f"{calculation}\n{question}",
        facts={"moves": computed},
    )


def draw_calculation(plan: str, rng: random.Random) -> tuple[list[int], list[tuple[str, int]]]:
    """The numbers of a story, and its steps as (text, value).

    Numbers are drawn until every value on the way is one that a story can have.
    """
    largest_first = LARGEST_GIVEN
    if plan[0] in "-/":
        largest_first = LARGEST_VALUE
    while True:
        numbers = [rng.randint(2, largest_first)]
        numbers += [rng.randint(2, LARGEST_GIVEN) for _ in plan]
        computed = []
        value = numbers[0]
        for operator, number in zip(plan, numbers[1:]):
            text = f"{value}{operator}{number}"
            value = result_of(value, operator, number)
            computed.append((text, value))
        if all(2 <= value <= LARGEST_VALUE for _, value in computed):
            return numbers, computed


def result_of(value: int, operator: str, number: int) -> int:
    """The result of one step; 0, which no story has, where a quotient is not whole."""
    if operator == "+":
        return value + number
    if operator == "-":
        return value - number
    if operator == "*":
        return value * number
    if value % number:
        return 0
    return value // number


def in_one_order(plan: str, numbers: list[int]) -> list[int]:
    """The numbers of a calculation with those that can be swapped in order of size."""
    if plan == "++":
        return sorted(numbers)
    if plan[0] in "+*":
        return [*sorted(numbers[:2]), *numbers[2:]]
    if plan == "--":
        return [numbers[0], *sorted(numbers[1:])]
    return numbers
