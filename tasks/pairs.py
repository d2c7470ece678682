"""Pairs of a prompt and a response: read or generated as texts, turned into the ids trained on.

A response is written without its stop token; one stands at its end when it is trained on.
"""

import random

from config import UserError
from tasks import files, traces
from tasks.catalogue import PATIENCE, generator
from tasks.problem import Problem, decisive_part, split_of
from tasks.templates import check_ids, encode, prompt

# (prompt ids, response ids), the stop token at the end.
Row = tuple[list[int], list[int]]

# ---------------------------------------------------------------- texts


def read_pairs(
    path: str,
    prompt_field: str,
    response_field: str,
    template: str | None = None,
    tokenizer=None,
) -> list[tuple[str, str]]:
    """(prompt, response) texts from a file of rows; UserError names the line.

    With a template the field holds the question, which the template wraps; without, it holds the
    whole prompt.
    """
    pairs = []
    for where, row in files.rows(path):
        for name in (prompt_field, response_field):
            if not isinstance(row.get(name), str):
                fields = ", ".join(row) or "none"
                raise UserError(f"{where}: no text in field {name!r} (fields: {fields})")
        text = row[prompt_field]
        if not text:
            raise UserError(f"{where}: field {prompt_field!r} is empty")
        if template:
            text = prompt(Problem("data", text, "", ""), template, tokenizer)
        pairs.append((text, row[response_field]))
    if not pairs:
        raise UserError(f"{path}: no pairs in it")
    return pairs


def generated_pairs(
    rng: random.Random,
    n: int,
    task: str | None = None,
    template: str = "short",
    tokenizer=None,
    avoid: frozenset[str] = frozenset(),
) -> list[tuple[str, str]]:
    """(prompt, response) texts on training problems alone: of one task, or in the stated mixture.

    A prompt that does not open the thinking leaves that to the response. avoid: the decisive parts
    of the keys of problems that are not drawn.
    """
    shares = traces.TASK_SHARE
    if task:
        shares = {task: 1.0}
    pairs = []
    for drawn in rng.choices(list(shares), list(shares.values()), k=n):
        problem = training_problem(drawn, rng, avoid)
        before = prompt(problem, template, tokenizer)
        habit = traces.pick(rng)
        response = traces.trace(problem, habit, rng)
        if not before.endswith("<think>"):
            response = "<think>" + response
        pairs.append((before, response))
    return pairs


def training_problem(task: str, rng: random.Random, avoid: frozenset[str]) -> Problem:
    """A training problem of a task, none of those to avoid; UserError if it seems to have no other.

    avoid: as of `generated_pairs`.
    """
    new_problem = generator(task)
    for _ in range(PATIENCE):
        problem = new_problem(rng)
        if split_of(problem.key) == "train" and decisive_part(problem.key) not in avoid:
            return problem
    raise UserError(
        f"task {task!r}: all of its training problems are among those of --validation: lower it, "
        "or mix in another task"
    )


# ---------------------------------------------------------------- ids


def encode_pairs(pairs: list[tuple[str, str]], model, tokenizer) -> list[Row]:
    """(prompt ids, response ids) of each pair, one stop token at the end.

    model: a model.Transformer. UserError if a pair does not fit its context, or has ids that it
    does not have.
    """
    context = model.config.max_position_embeddings
    vocabulary = model.config.vocab_size
    # Responses begin in mid-text: nothing is put before them.
    texts = [response for _, response in pairs]
    responses = tokenizer(texts, add_special_tokens=False)["input_ids"]
    rows = []
    for number, ((text, _), response) in enumerate(zip(pairs, responses), 1):
        check_ids(response, tokenizer, vocabulary)
        ended = with_stop(response, number, model, tokenizer)
        rows.append((encode(text, "", tokenizer, vocabulary), ended))
    for number, (before, response) in enumerate(rows, 1):
        tokens = len(before) + len(response)
        if tokens > context:
            raise UserError(
                f"pair {number} has {tokens} tokens, the model's context is {context}: "
                "shorten it or leave it out, as --max-response-tokens does"
            )
    return rows


def with_stop(response: list[int], number: int, model, tokenizer) -> list[int]:
    """Response ids of pair `number` that end in a stop token: their own, if there is one.

    White space and more stop tokens behind it are dropped. UserError if anything else comes after
    it: the sampler never gets there.
    """
    ends = [i for i, token in enumerate(response) if token in model.stop_ids]
    if not ends:
        stop = tokenizer.eos_token_id
        if stop is None:
            stop = model.stop_ids[0]
        return response + [stop]
    first = ends[0]
    rest = [token for token in response[first:] if token not in model.stop_ids]
    if tokenizer.decode(rest).strip():
        name = tokenizer.decode(response[first])
        raise UserError(
            f"pair {number}: the stop token {name} stands within its response, which would end "
            "there: cut the rest off, or make a pair of its own of it"
        )
    return response[: first + 1]
