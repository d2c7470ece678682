"""Which of a run's groups, texts and tokens a page of limited size shows.

A long run has logged a thousand times more than a page can hold. Every beginning of the order in
which groups are taken is a fair picture of the run: the last step and the first one, then those
halfway between, and of each group the best and the worst paid response before the others.
"""

import itertools
from dataclasses import dataclass

from evaluation.logs import Group

LONGEST_TEXT = 20_000  # characters of a response, or of a question
SHORT_QUESTION = 300  # characters, where no text of the group is in the page
# In the page, about:
BYTES_PER_TOKEN = 100
BYTES_PER_CHARACTER = 2
REASONS_BYTES = 600  # of a response
# Shares of the room: strips, texts; tokens take the rest.
STRIPS_SHARE = 0.35
TEXTS_SHARE = 0.2

# A response: its group's number and its own.
Place = tuple[int, int]


@dataclass
class Chosen:
    """What a page shows: numbers of groups, and of each group numbers of responses."""

    strips: set[int]
    texts: list[set[int]]
    tokens: list[set[int]]


def select(groups: list[Group], room: float) -> Chosen:
    """What of these groups goes into a page that has `room` bytes for them."""
    # 1. Strips of whole groups.
    order = in_order_of_interest(groups)
    strips = fitting(order, lambda i: strips_cost(groups[i]), STRIPS_SHARE * room)

    # 2. Texts of single responses.
    places = response_order(groups, [i for i in order if i in strips])
    with_text = fitting(places, lambda place: text_cost(groups, place), TEXTS_SHARE * room)

    # 3. Tokens of responses whose text is there.
    places = [place for place in places if place in with_text and has_tokens(groups, place)]
    rest = (1 - STRIPS_SHARE - TEXTS_SHARE) * room
    with_tokens = fitting(places, lambda place: token_cost(groups, place), rest)
    return Chosen(strips, by_group(groups, with_text), by_group(groups, with_tokens))


def fitting(order: list, cost_of, room: float) -> set:
    """Those that come first in the order, as long as what they cost fits."""
    chosen = set()
    for item in order:
        room -= cost_of(item)
        if room < 0:
            break
        chosen.add(item)
    return chosen


def by_group(groups: list[Group], places: set[Place]) -> list[set[int]]:
    """Of each group the numbers of its responses that are among these places."""
    found = [set() for _ in groups]
    for i, k in places:
        found[i].add(k)
    return found


# ---------------------------------------------------------------- costs, in bytes


def strips_cost(group: Group) -> int:
    reasons = sum(len(response["why"]) for response in group.responses)
    question = min(len(group.question), SHORT_QUESTION)
    return 250 + question + 30 * len(group.responses) + reasons


def text_cost(groups: list[Group], place: Place) -> int:
    i, k = place
    characters = min(groups[i].characters[k], LONGEST_TEXT)
    return REASONS_BYTES + BYTES_PER_CHARACTER * characters


def token_cost(groups: list[Group], place: Place) -> int:
    i, k = place
    return 200 + BYTES_PER_TOKEN * groups[i].responses[k]["tokens"]


def has_tokens(groups: list[Group], place: Place) -> bool:
    i, k = place
    return groups[i].with_tokens[k]


# ---------------------------------------------------------------- the order


def in_order_of_interest(groups: list[Group]) -> list[int]:
    """Numbers of groups; those to train on and held-out problems take turns."""
    by_kind = {}
    for i, group in enumerate(groups):
        by_kind.setdefault(group.kind, []).append(i)
    queues = [in_order_of_steps(groups, numbers) for numbers in by_kind.values()]
    order = []
    for taken in itertools.zip_longest(*queues):
        order += [i for i in taken if i is not None]
    return order


def in_order_of_steps(groups: list[Group], numbers: list[int]) -> list[int]:
    """The numbers of groups of one kind: the first place of every step, then the second ones."""
    steps = sorted({groups[i].step for i in numbers})
    rank = {}
    for step in spread(steps):
        rank.setdefault(step, len(rank))
    return sorted(numbers, key=lambda i: (groups[i].place, rank[groups[i].step]))


def spread(steps: list[int]) -> list[int]:
    """Steps in an order of which every beginning is spread out: last, first, halfway, quarters."""
    order = [*steps[-1:], *steps[:1]]
    gaps = [(0, len(steps) - 1)]
    while gaps:
        halves = []
        for low, high in gaps:
            middle = (low + high) // 2
            if low < middle < high:
                order.append(steps[middle])
                halves += [(low, middle), (middle, high)]
        gaps = halves
    return order


def response_order(groups: list[Group], order: list[int]) -> list[Place]:
    """Responses in order of interest: of each group the best and the worst paid, then others."""
    first = []
    others = []
    for i in order:
        responses = groups[i].responses
        ranked = sorted(range(len(responses)), key=lambda k: responses[k]["total"])
        ends = dict.fromkeys([ranked[-1], ranked[0]])
        first += [(i, k) for k in ends]
        others += [(i, k) for k in ranked if k not in ends]
    return first + others
