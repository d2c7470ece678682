"""Which rows a step of supervised training has: drawn or in turn, from one source or several.

Settings are those of sft.SFTConfig: steps, epochs, rows, seed and template.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.catalogue import batch
from tasks.pairs import Row, encode_pairs, generated_pairs


@dataclass(frozen=True)
class Source:
    """What gives some of the rows: a file, or generated traces."""

    share: float  # of all rows
    rows: list[Row] | None = None  # of the file, never none; None: traces are generated
    task: str | None = None  # of the generated traces; None: the embedded base's mixture
    avoid: frozenset[str] = frozenset()  # problems that no trace is generated for


def generated(source: Source, n: int, rng: random.Random, settings, model, tokenizer) -> list[Row]:
    """`n` rows of a source that generates them."""
    template = settings.template or "short"
    pairs = generated_pairs(rng, n, source.task, template, tokenizer, source.avoid)
    return encode_pairs(pairs, model, tokenizer)


def rows_of_steps(settings, sources: list[Source], model, tokenizer) -> Iterator[list[Row]]:
    """The rows of one step after the other: drawn by --steps, or in turn by --epochs."""
    if settings.epochs:
        in_turn = rows_in_turn(settings, sources, model, tokenizer)
        for _ in range(settings.steps):
            yield list(itertools.islice(in_turn, settings.rows))
    else:
        for step in range(settings.steps):
            yield rows_of_step(step, settings, sources, model, tokenizer)


def rows_of_step(step: int, settings, sources: list[Source], model, tokenizer) -> list[Row]:
    """The rows of a step, drawn with replacement: a function of the seed and the step's number."""
    rng = random.Random(f"{settings.seed}/{step}")
    counts = [settings.rows]
    if len(sources) > 1:
        shares = [source.share for source in sources]
        drawn = rng.choices(range(len(sources)), shares, k=settings.rows)
        counts = [drawn.count(i) for i in range(len(sources))]
    rows = []
    for source, count in zip(sources, counts):
        if source.rows is not None:
            rows += rng.choices(source.rows, k=count)
        elif count:
            rows += generated(source, count, rng, settings, model, tokenizer)
    return rows


def rows_in_turn(settings, sources: list[Source], model, tokenizer) -> Iterator[Row]:
    """Every row of the first source once an epoch, those of the others among them.

    The order is a function of the seed and the epoch. Of a mixed file no row comes twice before
    all have come once.
    """
    counts = rows_per_epoch(sources)
    for epoch in range(settings.epochs):
        rng = random.Random(f"{settings.seed}/epoch {epoch}")
        rows = list(sources[0].rows)
        for source, count in zip(sources[1:], counts[1:]):
            if source.rows is not None:
                rows += batch(source.rows, settings.seed, epoch, count)
            else:
                rows += generated(source, count, rng, settings, model, tokenizer)
        rng.shuffle(rows)
        yield from rows


def rows_per_epoch(sources: list[Source]) -> list[int]:
    """How many rows of an epoch each source gives: the first one all that it has."""
    first = sources[0]
    counts = [len(first.rows)]
    for source in sources[1:]:
        counts.append(max(1, round(len(first.rows) * source.share / first.share)))
    return counts
