"""What a run keeps of single tokens: tokens.jsonl, beside rollouts.jsonl, for report.py.

Four kinds of lines, each with the step that it belongs to:

    train        a group of responses to a training problem, as the step drew it
    held-out     one response to a held-out problem, one of those that the evaluation counts
    evaluation   which held-out problems were answered right, "1" or "0" each, in their order
    cost         the seconds that it took to make the lines before this one

A line begins with its step, kind, place (which group of the step, which held-out problem) and
number of tokens, so that a reader of a long file knows it without parsing the rest. Of each
response it holds the text, what it earned and, a number for each id:

    ids            the response, the stop token included
    logprobs       when it was drawn, at the run's temperature
    entropy        of the distribution that it was drawn from, nats
    likeliest      the ids of the five likeliest, and `their_logprobs`
    log_ratio      log(pi / pi_old) in the update, of training groups
    clipped        the positions where the clip took the gradient away

and its advantages and token weights under GRPO and Dr. GRPO, by grpo.py. Numbers have four
significant digits, those of the likeliest three, and a log ratio has six decimals. `pieces` holds
the text of every id of the line.
"""

from dataclasses import asdict

import torch

import estimators
import grpo
import tasks
from evaluation.responses import Graded, Response

GROUPS = 2  # whole groups of a step
HELD_OUT = 8  # held-out problems
# The two that are shown side by side, whichever loss a run has.
SIDES = ("grpo", "dr_grpo")


def short(value: float, digits: int = 4) -> float:
    """A number with so many significant digits."""
    return float(f"{value:.{digits}g}")


def shortened(values: torch.Tensor, digits: int = 4) -> list[float]:
    """The numbers of a tensor [T], shortened."""
    return [short(value, digits) for value in values.tolist()]


# ---------------------------------------------------------------- lines of the file


def head(step: int, kind: str, place: int, tokens: int) -> dict:
    """What every line begins with, in this order."""
    return {"step": step, "kind": kind, "place": place, "tokens": tokens}


def evaluation_line(step: int, right: list[bool]) -> dict:
    """The line of an evaluation."""
    marks = "".join(str(int(answer)) for answer in right)
    return {**head(step, "evaluation", 0, 0), "right": marks}


def cost_line(step: int, seconds: float) -> dict:
    """The line that says what recording has cost."""
    return {**head(step, "cost", 0, 0), "seconds": short(seconds)}


def problem_line(
    step: int,
    kind: str,
    place: int,
    problem: tasks.Problem,
    tokenizer,
    silent: set[int],
    responses: list[dict],
) -> dict:
    """The line of a problem and of the responses to it, records of `response_record`.

    silent: the ids that no reward reads.
    """
    ids = set()
    for response in responses:
        ids.update(response.get("ids", ()))
        for likeliest in response.get("likeliest", ()):
            ids.update(likeliest)
    tokens = sum(len(response.get("ids", ())) for response in responses)
    return {
        **head(step, kind, place, tokens),
        **about_problem(problem),
        "responses": responses,
        **pieces_of(tokenizer, silent, sorted(ids)),
    }


def about_problem(problem: tasks.Problem) -> dict:
    """What checking an answer needs of its problem."""
    return {
        "task": problem.task,
        "question": problem.question,
        "answer": problem.answer,
        "facts": problem.facts,
    }


def text_lines(graded: list[Graded]) -> list[dict]:
    """The lines of an evaluation whose tokens are not known, without what concerns tokens."""
    lines = []
    for place, group in enumerate(graded):
        records = []
        for response, earned in zip(group.responses, group.rewards):
            records.append(text_record(response, earned))
        about = about_problem(group.problem)
        lines.append({**head(0, "eval", place, 0), **about, "responses": records})
    return lines


def text_record(response: Response, reward) -> dict:
    """A response and what it earned, without its tokens."""
    return {
        "text": response.text,
        "tokens": response.tokens,
        "finished": response.finished,
        **asdict(reward),
    }


def response_record(rollout, text: str, reward, look) -> dict:
    """A response, what it earned, and what the model that drew it made of each of its tokens."""
    their_logprobs = [shortened(values, 3) for values in look.their_logprobs]
    return {
        "text": text,
        "finished": rollout.finished,
        **asdict(reward),
        "ids": rollout.response,
        "logprobs": shortened(torch.tensor(rollout.logprobs)),
        "entropy": shortened(look.entropy),
        "likeliest": look.likeliest.tolist(),
        "their_logprobs": their_logprobs,
    }


def add_update(
    records: list[dict], rollouts: list, looks: list, advantage: torch.Tensor, config
) -> None:
    """Add to the records of a group what the update made of it.

    advantage: the run's own, [G] or [G, T]; config: the run's. A response that the update passed
    over, its advantage being 0, has the ratios of the look at it, by the weights that drew it.
    """
    estimator = config.estimator
    surrogate = estimators.SURROGATES[estimator.importance]
    bounds = (estimator.clip_low, estimator.clip_high)
    totals = torch.tensor([record["total"] for record in records])
    lengths = torch.tensor([len(rollout.response) for rollout in rollouts])
    sides = both_sides(totals, lengths, config.max_new_tokens)
    for i, record in enumerate(records):
        now = looks[i].logprobs
        if rollouts[i].updated is not None:
            now = rollouts[i].updated.float().cpu()
        old = torch.tensor(rollouts[i].logprobs)
        if estimator.importance == "tis":  # as in the loss: those of the trainer
            trainers = rollouts[i].trainers
            old = now if trainers is None else torch.tensor(trainers)
        row = (now[None], old[None])
        log_ratio = estimators.log_ratio(*row, lengths[i, None], estimator.importance)[0]
        A = advantage[i]
        if A.dim():  # of each token
            A = A[: len(old)]
        _, clipped = surrogate(*row, A.expand(1, len(old)), lengths[i, None], *bounds)
        # A sequence's ratio and clip are those of each of its tokens.
        clipped = clipped.expand(1, len(old))[0]
        record["advantage"] = short(of_response(advantage[i], rollouts[i]))
        record["log_ratio"] = [round(value, 6) for value in log_ratio.tolist()]
        record["clipped"] = clipped.nonzero()[:, 0].tolist()
        record["sides"] = sides[i]


def of_response(advantage: torch.Tensor, rollout) -> float:
    """The advantage of a response: its own, or the mean of its tokens' advantages [T]."""
    if not advantage.dim():
        return advantage.item()
    return advantage[: len(rollout.response)].mean().item()


def both_sides(totals: torch.Tensor, lengths: torch.Tensor, max_new_tokens: int) -> list[dict]:
    """Of each response of a group its advantage and its tokens' weight under both methods.

    totals, lengths: [G]. The weight is that of one token in the sum over its response, 1/|o| or
    1/L; the loss divides both alike by the number of the step's responses.
    """
    step = grpo.Denominators(rows=1, tokens=int(lengths.sum()), max_new_tokens=max_new_tokens)
    sides = [{} for _ in lengths]
    for name in SIDES:
        loss = grpo.LOSSES[name]
        advantages = torch.zeros_like(totals)  # PPO's responses may be alone
        if len(totals) > 1:
            advantages = grpo.advantages(totals[None], loss.divide_by_std)[0]
        longest = int(lengths.max())
        weights = grpo.token_weights(lengths, longest, loss.normaliser, step)[:, 0]
        for side, advantage, weight in zip(sides, advantages.tolist(), weights.tolist()):
            side[name] = {"advantage": short(advantage), "weight": short(weight)}
    return sides


# ---------------------------------------------------------------- texts of tokens


def pieces_of(tokenizer, silent: set[int], ids: list[int]) -> dict:
    """{"pieces": text by id, "special": ids that rewards do not see, "parts": parts of characters}.

    A part of a character has no text of its own: the tokenizer's spelling stands for it.
    """
    texts = tokenizer.batch_decode([[i] for i in ids], clean_up_tokenization_spaces=False)
    spelled = tokenizer.convert_ids_to_tokens(ids)
    pieces = {}
    parts = []
    for i, text, spelling in zip(ids, texts, spelled):
        if "\ufffd" in text:
            parts.append(i)
            text = spelling
        elif spelling and spelling.startswith("▁"):  # a word's start, which decoding alone drops
            text = spelling.replace("▁", " ")
        pieces[str(i)] = text
    return {"pieces": pieces, "special": [i for i in ids if i in silent], "parts": parts}
