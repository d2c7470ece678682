"""Budget forcing: a response is made to think on, or to stop thinking and answer.

The method of s1 (arXiv 2501.19393, section 3.1). Where a response would end its thinking, the end
is taken away and a text such as "Wait" put in its place, a number of times; and where its thinking
has come to a cap, the text that begins an answer is put there. The rest is drawn as ever.

This is done in rounds of the ordinary sampler: draw up to the end of the thinking, cut, put the
text behind, go on from prompt and response so far. What is put there is *forced*: it counts in a
response's tokens and in its longest length, and `Rollout.forced` says where it stands. A rollout
made of rounds has no log-probs: part of it nobody drew.

A model that has no mark for the end of its thinking ends it with its stop token, which is then
what is taken away. A response that ends in another stop string (--stop, the template's own) has
ended, and is left alone.

Each id is drawn with the random number of its rollout and its place in the response, as in a plain
run. So with no wait and no cap the rounds are one call of the sampler, and give what it gives.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import torch

import tasks
from config import UserError
from evaluation.responses import Graded
from evaluation.statistics import mean_interval, share_interval
from evaluation.summary import drawn_of, with_intervals


@dataclass(frozen=True)
class Budget:
    """How the thinking of a response is lengthened and cut."""

    waits: int = 0  # times that an end of the thinking is taken away
    wait_text: str = "Wait"  # what stands there instead
    wait_unless: str = ""  # the thinking may end if its last line holds this; "": it may not
    end: str = "</think>"  # what ends the thinking
    cap: int = 0  # tokens after which the thinking is closed; 0: never
    final_text: str = "</think> <answer>"  # what closes it and begins the answer
    answer_tokens: int = 100  # of a forced answer at most, the final text among them


def final_text_of(template: str) -> str:
    """What begins an answer in the form that a template asks for."""
    wording = tasks.TEMPLATES[template] or ""
    if template == "short" or "<answer>" in wording:
        return "</think> <answer>"
    if "\\boxed" in wording:
        return "\n\nFinal Answer: \\boxed{"
    return "\n\nFinal Answer:"


@dataclass
class Draft:
    """A response on its way, round by round."""

    prompt: list[int]
    uniform: torch.Tensor  # a random number for each of its ids
    response: list[int] = field(default_factory=list)
    forced: list[tuple[int, int]] = field(default_factory=list)  # (begin, end) in the response
    rounds: list = field(default_factory=list)  # what the sampler gave
    finished: bool = False

    def put(self, ids: list[int]) -> None:
        """Put ids behind the response that nobody has drawn."""
        begin = len(self.response)
        self.response = self.response + ids
        self.forced.append((begin, len(self.response)))

    def rollout(self):
        """The rollout that the rounds make; only that of a single one has its log-probs."""
        last = self.rounds[-1]
        logprobs = []
        if len(self.rounds) == 1 and not self.forced:
            logprobs = last.logprobs
        return replace(
            last,
            prompt=self.prompt,
            response=self.response,
            logprobs=logprobs,
            finished=self.finished,
            forced=self.forced,
        )


class Forcing:
    """Draws as the sampler's `generate` does, with a budget forced upon each response.

    generate, random_numbers: the sampler's; text_of(ids): what rewards read of a response.
    """

    def __init__(self, budget: Budget, model, tokenizer, generate, random_numbers, text_of):
        self.budget = budget
        self.tokenizer = tokenizer
        self.vocabulary = model.config.vocab_size
        self.stop_ids = model.stop_ids
        self.generate = generate
        self.random_numbers = random_numbers
        self.text_of = text_of
        self.final_ids = self.encode(budget.final_text)
        if budget.cap and len(self.final_ids) >= budget.answer_tokens:
            raise UserError(
                f"--answer-tokens {budget.answer_tokens}: --final-text alone has "
                f"{len(self.final_ids)} tokens, which leave no room for an answer"
            )

    def encode(self, text: str) -> list[int]:
        """The ids of a text that is put into a response."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        tasks.check_ids(ids, self.tokenizer, self.vocabulary)
        return ids

    def __call__(self, model, tokenizer, prompts, sampling, n=1, seed=0, **how) -> list:
        """`n` rollouts of each prompt, as `generate` orders them; how: its other settings."""
        budget = self.budget
        draw = partial(self.draw, model, tokenizer, how=how)
        most = sampling.max_new_tokens
        assert not budget.cap or budget.cap + budget.answer_tokens <= most
        uniform = self.random_numbers(n * len(prompts), most, seed)
        drafts = [Draft(prompts[i // n], numbers) for i, numbers in enumerate(uniform)]
        to_the_end = replace(sampling, stop_strings=(*sampling.stop_strings, budget.end))
        longest = budget.cap or most

        # 1. Think up to the first end, and once more for each wait.
        thinking = drafts
        closed = []  # (draft, longest response): these have their answer to draw
        for waits_left in range(budget.waits, -1, -1):
            if not thinking:
                break
            limits = [longest - len(draft.response) for draft in thinking]
            together = n if thinking is drafts else 1  # at first a group has one prompt
            if not waits_left and not budget.cap:
                draw(thinking, together, limits, sampling)  # nothing is left to force
                break
            draw(thinking, together, limits, to_the_end)
            waiting = []
            for draft in thinking:
                ending = self.ending(draft)
                if waits_left and ending and self.wait(draft, ending, longest):
                    waiting.append(draft)
                elif ending == "mark":
                    draft.finished = False  # the mark has ended a round, not the response
                    closed.append((draft, most))
                elif budget.cap and not draft.finished:
                    closed.append((draft, len(draft.response) + budget.answer_tokens))
                    draft.put(self.final_ids)
            thinking = waiting

        # 2. Answer: those whose thinking is closed, by themselves or by the cap.
        closed = [(draft, length) for draft, length in closed if len(draft.response) < length]
        if closed:
            answering = [draft for draft, _ in closed]
            limits = [length - len(draft.response) for draft, length in closed]
            draw(answering, 1, limits, sampling)
        return [draft.rollout() for draft in drafts]

    def draw(self, model, tokenizer, drafts, n, limits, sampling, how) -> None:
        """Let drafts go on, each by at most its limit; `n` of them share a prompt."""
        most = max(limits)
        uniform = torch.zeros(len(drafts), most)
        for row, draft, limit in zip(uniform, drafts, limits):
            begin = len(draft.response)
            row[:limit] = draft.uniform[begin : begin + limit]
        rollouts = self.generate(
            model,
            tokenizer,
            [draft.prompt + draft.response for draft in drafts[::n]],
            replace(sampling, max_new_tokens=most),
            n=n,
            limits=limits,
            uniform=uniform,
            **how,
        )
        for draft, rollout in zip(drafts, rollouts):
            draft.rounds.append(rollout)
            draft.response = draft.response + rollout.response
            draft.finished = rollout.finished

    def ending(self, draft: Draft) -> str:
        """What has ended a draft's thinking: the `mark`, a `stop` token, or "" nothing yet."""
        drawn = draft.rounds[-1].response
        if not draft.finished:
            return ""
        if drawn[-1] in self.stop_ids:
            return "stop"
        if self.budget.end in self.text_of(drawn):
            return "mark"
        return ""

    def wait(self, draft: Draft, ending: str, longest: int) -> bool:
        """Put the wait text in the place of the end, unless the thinking may end or has no room."""
        kept = draft.response[:-1]
        rest = ""
        if ending == "mark":
            kept, rest = self.before_mark(draft)
        thinking = self.text_of(kept) + rest
        _, _, last_line = thinking.rstrip().rpartition("\n")
        if self.budget.wait_unless and self.budget.wait_unless in last_line:
            return False
        ids = self.encode(rest + self.budget.wait_text)
        if len(kept) + len(ids) >= longest:
            return False
        draft.response = kept
        draft.finished = False
        draft.put(ids)
        return True

    def before_mark(self, draft: Draft) -> tuple[list[int], str]:
        """(the ids before the last round's mark, the text that shares an id with its begin)."""
        ids = draft.response
        of_rounds_before = self.text_of(ids[: -len(draft.rounds[-1].response)])
        said = self.text_of(ids)[len(of_rounds_before) :]
        before = of_rounds_before + said.partition(self.budget.end)[0]
        kept = len(ids)
        while len(self.text_of(ids[:kept])) > len(before):
            kept -= 1
        return ids[:kept], before[len(self.text_of(ids[:kept])) :]


# ---------------------------------------------------------------- figures


def figures(graded: list[Graded], most: int) -> dict:
    """What was forced, and the share of responses of at most `most` tokens; 0: none was asked for.

    forced: texts that were put into a response; forced_tokens: their tokens. within_budget is s1's
    control (section 3.2), of the whole response: there the tokens are those of the thinking.
    """
    texts = []
    tokens = []
    within = []
    for group in drawn_of(graded):
        texts.append([len(response.forced) for response in group.responses])
        tokens.append([forced_tokens(response) for response in group.responses])
        fit = [response.tokens <= most for response in group.responses]
        within.append(sum(fit) / len(fit))
    if not most:
        within = []
    return with_intervals(
        {
            "forced": mean_interval(texts),
            "forced_tokens": mean_interval(tokens),
            "within_budget": share_interval(within, len(graded[0].responses)),
        }
    )


def forced_tokens(response) -> int:
    """How many tokens of a response were put there."""
    return sum(end - begin for begin, end in response.forced)
