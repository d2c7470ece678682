"""The KV-cached batched sampler: prompt ids in, `Rollout`s out.

    python sample.py --model base "Using 3, 7 and 12 exactly once each, make 24 with + - * /." -n 4

Each prompt is prefilled once and its keys and values are copied to its group. The live rows are always the first n
slots of the cache: a row that ends gives its slot to the next one in the queue or, when the queue is empty, to the last
live row, so no row decodes after its end. Rows have their own positions and lengths; nothing is padded on the left.

A row's random numbers are fixed by (seed, which rollout, which position), so the slot it happens to sit in, its
neighbours and the number of slots change nothing.

Left out on purpose: beam search, repetition penalties, speculative decoding, paged memory.
"""
import functools
import itertools
from collections import deque
from dataclasses import dataclass, field

import torch
from tqdm import tqdm

import checkpoint
import model as lm
import tasks
from config import Refusal, parse, run, setting
from optim import pick_device


@dataclass
class Rollout:
    """One response, from the sampler to the gradient: ids are kept, text exists for rewards and logs only."""
    prompt: list[int]  # ids
    response: list[int] = field(default_factory=list)  # ids; the stop token is the last of them
    logprobs: list[float] = field(default_factory=list)  # of each response id, at the moment it was drawn
    finished: bool = False  # ended by itself, not by the length limit


@dataclass(frozen=True)
class Sampling:
    """How to draw, and when to stop."""
    max_new_tokens: int = 256
    temperature: float = 1.0  # 0 is greedy
    top_k: int = 0  # keep the k likeliest ids; 0 keeps all
    top_p: float = 1.0  # keep the smallest set of ids with this much probability
    min_p: float = 0.0  # keep ids with at least this share of the likeliest id's probability
    stop_strings: tuple[str, ...] = ()  # end a response when its text ends in one; kept in the output

    def __post_init__(self):
        for ok, what in ((self.max_new_tokens >= 1, "max_new_tokens must be at least 1"),
                         (self.temperature >= 0, "temperature must not be negative"),
                         (self.top_k >= 0, "top_k must not be negative"),
                         (0 < self.top_p <= 1, "top_p must be above 0 and at most 1"),
                         (0 <= self.min_p <= 1, "min_p must be between 0 and 1"),
                         (all(self.stop_strings), "a stop string must not be empty")):
            if not ok:
                raise Refusal(what)


def keep_likely(logits, s: Sampling):
    """logits [B, V] with the ids that top-k, top-p and min-p drop at -inf; the likeliest id always stays."""
    if s.top_k:
        logits = logits.masked_fill(logits < logits.topk(min(s.top_k, logits.shape[1])).values[:, -1:], float("-inf"))
    if s.min_p:
        floor = logits.max(dim=1, keepdim=True).values + torch.tensor(s.min_p).log().item()
        logits = logits.masked_fill(logits < floor, float("-inf"))
    if s.top_p < 1:
        ordered, order = logits.sort(dim=1, descending=True)
        before = ordered.softmax(1).cumsum(1) - ordered.softmax(1)  # probability of the ids before this one
        drop = torch.empty_like(before, dtype=torch.bool).scatter_(1, order, before >= s.top_p)
        logits = logits.masked_fill(drop, float("-inf"))
    return logits


def draw(logits, uniform, s: Sampling):
    """One id a row: logits [B, V], uniform [B] in [0, 1) to (ids [B], their log-probs [B]), all in fp32.

    The log-prob is that of the distribution drawn from: after temperature and after what top-k, top-p and min-p drop.
    Greedy reports it at temperature 1. Drawing inverts the cumulative distribution, one uniform number a token.
    """
    logits = logits.float()
    if s.temperature == 0:
        best = logits.max(dim=1)
        return best.indices, best.values - logits.logsumexp(1)
    logprobs = keep_likely(logits / s.temperature, s).log_softmax(1)
    del logits  # with a real vocabulary each [B, V] is 156 MB
    # A GPU sums in parallel: in fp32 its edges need not rise, and an id of probability 0 could be drawn.
    edges = logprobs.exp().cumsum(1, dtype=torch.float64 if logprobs.is_cuda else torch.float32)
    # right=True: the first id whose edge lies beyond the number, which skips ids of probability 0; scaling by the last
    # edge keeps rounding from pointing past the end.
    ids = torch.searchsorted(edges, uniform[:, None] * edges[:, -1:], right=True).clamp_max(logprobs.shape[1] - 1)
    return ids.squeeze(1), logprobs.gather(1, ids).squeeze(1)


@functools.lru_cache(maxsize=8)
def completing(tokenizer, strings: tuple[str, ...], ids: int) -> torch.Tensor:
    """Which of the first `ids` ids have a text that could complete one of `strings`: [ids], bool.

    Remembered: it decodes the whole vocabulary, 151,665 texts with Qwen's.
    """
    def could(text):  # it contains a string, or starts with an ending of one ("\ufffd": part of a character)
        return "\ufffd" in text or any(string in text or any(text.startswith(string[j:]) for j in range(1, len(string)))
                                       for string in strings)
    return torch.tensor([could(text) for text in tokenizer.batch_decode([[i] for i in range(ids)])])


class StopTest:
    """Says which rows end. Only a token whose text could complete a stop string makes anybody decode anything."""

    def __init__(self, model, tokenizer, strings: tuple[str, ...]):
        self.strings, self.tokenizer = strings, tokenizer
        self.ids = torch.tensor(model.stop_ids, device=model.device)
        V = model.config.vocab_size
        self.suspect = None
        if strings:
            suspect = completing(tokenizer, strings, min(V, len(tokenizer)))
            self.suspect = torch.nn.functional.pad(suspect, (0, V - len(suspect))).to(model.device)
        self.tail = max((len(s.encode()) for s in strings), default=0) + 8  # tokens to look back over: each has a byte

    def ended(self, ids, responses) -> list[int]:
        """Indices of rows that end with the drawn `ids` [B]; `responses(i)` gives row i's ids so far, these included."""
        stopped = torch.isin(ids, self.ids)
        if self.suspect is None:
            return stopped.nonzero()[:, 0].tolist()
        done = set(stopped.nonzero()[:, 0].tolist())
        for i in self.suspect[ids].nonzero()[:, 0].tolist():
            text = self.tokenizer.decode(responses(i)[-self.tail:])
            last = self.tokenizer.decode(responses(i)[-1:])
            if any(string in text[-(len(string) + len(last)):] for string in self.strings):
                done.add(i)
        return sorted(done)


class Prompts:
    """Prefills prompts in packed chunks, each once, and hands their keys and values to slots."""

    def __init__(self, model, prompts: list[list[int]], token_budget: int):
        self.model, self.prompts, self.token_budget, self.held = model, prompts, token_budget, {}

    def place(self, cache: lm.KVCache, slots: list[int], which: int) -> None:
        """Give prompt `which` to `slots`: all but its last id, which is the first that they decode."""
        if which not in self.held:
            self.prefill(which)
        chunk, row = self.held[which]
        cache.fill(slots, chunk, row, len(self.prompts[which]) - 1)

    def prefill(self, first: int) -> None:
        """Prefill prompts from `first` on, as many as the token budget holds; the chunk before is let go."""
        last, width = first, 0
        while last < len(self.prompts):
            width = max(width, len(self.prompts[last]) - 1)
            if last > first and width * (last + 1 - first) > self.token_budget:
                break
            last += 1
        bodies = [p[:-1] for p in self.prompts[first:last]]
        width, m = max(map(len, bodies)), self.model
        chunk = lm.KVCache(m.config, len(bodies), width, m.device, m.embed_tokens.weight.dtype)
        if width:
            ids = torch.tensor([p + [0] * (width - len(p)) for p in bodies], device=m.device)
            m.hidden(ids, chunk, new=torch.tensor([len(p) for p in bodies], device=m.device), span=width)
        self.held = {first + row: (chunk, row) for row in range(len(bodies))}


def check_prompts(model, prompts: list[list[int]], max_new_tokens: int) -> int:
    """The cache capacity that these prompts need; Refusal if one cannot fit the context with its response."""
    longest, context = max(map(len, prompts)), model.config.max_position_embeddings
    if min(map(len, prompts)) == 0:
        raise Refusal("an empty prompt: there is no position to continue from")
    if longest + max_new_tokens > context:
        raise Refusal(f"a prompt of {longest} tokens and {max_new_tokens} new ones do not fit the model's context of "
                      f"{context}: shorten the prompt or lower --max-new-tokens")
    return longest + max_new_tokens


class Slots:
    """The rows that decode. The live ones are always the first `live` slots; `queue` holds the rollouts that wait."""

    def __init__(self, model, prompts: list[list[int]], n: int, slots: int, sampling: Sampling, prefill_tokens: int):
        capacity, device = check_prompts(model, prompts, sampling.max_new_tokens), model.device
        self.prompts, self.n, self.queue = prompts, n, deque(range(len(prompts) * n))
        self.live = min(slots, len(self.queue))
        self.cache = lm.KVCache(model.config, self.live, capacity, device, model.embed_tokens.weight.dtype)
        self.source = Prompts(model, prompts, prefill_tokens)
        self.drawn = torch.zeros(self.live, sampling.max_new_tokens, dtype=torch.int64, device=device)  # ids
        self.logprobs = torch.zeros(self.live, sampling.max_new_tokens, device=device)
        self.pending = torch.zeros(self.live, dtype=torch.int64, device=device)  # the id that a slot decodes next
        self.count = torch.zeros(self.live, dtype=torch.int64)  # ids drawn so far, on the host
        self.owner = torch.zeros(self.live, dtype=torch.int64)  # which rollout sits here, on the host
        self.seat(list(range(self.live)))

    def seat(self, free: list[int]) -> list[int]:
        """Fill free slots from the queue, members of a group together; returns the slots that stay free."""
        while free and self.queue:
            which = self.queue[0] // self.n
            members = min(len(free), sum(1 for i in itertools.islice(self.queue, self.n) if i // self.n == which))
            taken, free = free[:members], free[members:]
            self.owner[taken] = torch.tensor([self.queue.popleft() for _ in taken])
            self.source.place(self.cache, taken, which)
            self.pending[taken], self.count[taken] = self.prompts[which][-1], 0
        return free

    def record(self, ids, logprobs) -> None:
        """Note one drawn id for each live row; it is what the row decodes next."""
        rows, at = torch.arange(self.live), self.count[:self.live]
        self.drawn[rows, at], self.logprobs[rows, at], self.pending[:self.live] = ids, logprobs, ids
        self.count[:self.live] += 1

    def leave(self, done: list[int], rollouts: list[Rollout]) -> None:
        """Hand ended rows over to their rollouts; refill their slots, or close the gaps with the last live rows."""
        for slot, ids, logprobs in zip(done, self.drawn[done].tolist(), self.logprobs[done].tolist()):
            rollout, length = rollouts[self.owner[slot]], int(self.count[slot])
            rollout.response, rollout.logprobs = ids[:length], logprobs[:length]
        free = self.seat(done)
        end = self.live - len(free)
        stay = [slot for slot in range(end, self.live) if slot not in free]  # rows beyond the new end move into the gaps
        gaps = [slot for slot in free if slot < end]
        if gaps:
            self.cache.move(stay, gaps, int(self.cache.lengths[stay].max()))
            for held in (self.drawn, self.logprobs, self.pending, self.count, self.owner):
                held[gaps] = held[stay]
        self.live = end


@torch.no_grad()
def generate(model, tokenizer, prompts: list[list[int]], sampling: Sampling = Sampling(), n: int = 1, seed: int = 0,
             slots: int = 256, prefill_tokens: int = 16384, on_token=None, on_done=None,
             progress: str | None = None) -> list[Rollout]:
    """`n` rollouts of each prompt (lists of ids), as a flat list in which a prompt's group stands together.

    slots: rows that decode at a time. on_token(rollout index, id) is called for each drawn id, on_done(rollout index,
    rollout) when a rollout is complete. A pure function of its arguments on one machine; the draws do not depend on
    `slots`.
    """
    rollouts = [Rollout(prompt) for prompt in prompts for _ in range(n)]
    s, stop = Slots(model, prompts, n, slots, sampling, prefill_tokens), StopTest(model, tokenizer, sampling.stop_strings)
    uniform = torch.rand(len(rollouts), sampling.max_new_tokens,
                         generator=torch.Generator().manual_seed(seed % 2 ** 63)).to(model.device)
    with tqdm(total=len(rollouts), desc=progress, leave=False, disable=progress is None, unit="rollout") as bar:
        while s.live:
            span = int(s.cache.lengths[:s.live].max()) + 1
            logits = model.head(model.hidden(s.pending[:s.live, None], s.cache, span=span))[:, 0]
            owner, at = s.owner[:s.live], s.count[:s.live]
            ids, logprobs = draw(logits, uniform[owner.to(model.device), at.to(model.device)], sampling)
            s.record(ids, logprobs)
            if on_token:
                for i, token in zip(owner.tolist(), ids.tolist()):
                    on_token(i, token)
            ended = stop.ended(ids, lambda i: s.drawn[i, :s.count[i]].tolist())
            for slot in ended:
                rollouts[owner[slot]].finished = True
            full = (s.count[:s.live] >= sampling.max_new_tokens).nonzero()[:, 0].tolist()
            if done := sorted({*ended, *full}):
                complete = owner[done].tolist()  # before others move into their slots
                s.leave(done, rollouts)
                bar.update(len(done))
                for i in complete if on_done else ():
                    on_done(i, rollouts[i])
    return rollouts


def text_of(tokenizer, rollout: Rollout) -> str:
    """The response as a reward reads it: without the tokenizer's special tokens."""
    return tokenizer.decode(rollout.response, skip_special_tokens=True)


# ---------------------------------------------------------------- python sample.py

@dataclass(frozen=True)
class SampleConfig:
    text: tuple = setting((), "the question", positional=True)
    model: str = setting("base", "model folder or hub id")
    template: str = setting("short", "prompt template", choices=tuple(tasks.TEMPLATES))
    n: int = setting(1, "responses")
    max_new_tokens: int = setting(256, "longest response, tokens")
    temperature: float = setting(1.0, "0 is greedy")
    top_k: int = setting(0, "keep the k likeliest tokens; 0 keeps all")
    top_p: float = setting(1.0, "keep the smallest set with this probability")
    min_p: float = setting(0.0, "keep tokens with this share of the likeliest one's probability")
    seed: int = setting(0, "seed of the draws")
    device: str = setting("auto", "auto, cpu or cuda")


class Printer:
    """Streams the first response to the terminal as it is drawn; the others follow when all are done."""

    def __init__(self, tokenizer, stop_ids, n: int):
        self.tokenizer, self.stop_ids, self.ids, self.now, self.shown = tokenizer, stop_ids, [[] for _ in range(n)], 0, ""
        print("[1] ", end="", flush=True)

    def token(self, i: int, token: int) -> None:
        self.ids[i].append(token)
        if i == self.now:
            self.show()

    def show(self) -> None:
        text = self.tokenizer.decode([t for t in self.ids[self.now] if t not in self.stop_ids])
        if not text.endswith("\ufffd"):  # half of a character: wait for the rest
            print(text[len(self.shown):], end="", flush=True)
            self.shown = text

    def end(self, i: int, rollout: Rollout) -> None:
        """Close response i, then go on with what the next one has so far."""
        print(f"\n    ({len(rollout.response)} tokens{'' if rollout.finished else ', hit the limit'})")
        self.now, self.shown = i + 1, ""
        if self.now < len(self.ids):
            print(f"[{self.now + 1}] ", end="", flush=True)
            self.show()


def main():
    c, _ = parse(SampleConfig, "sample responses and stream them")
    if not c.text or c.n < 1:
        raise Refusal('give a question, for instance: python sample.py "Using 3, 7 and 12 exactly once each, make 24 '
                      'with + - * /." and -n of at least 1')
    if c.template not in tasks.TEMPLATES or c.template == "tinyzero":
        raise Refusal(f"--template {c.template} needs a generated problem: choose another")
    model, tokenizer = checkpoint.load(c.model, *pick_device(c.device))
    question = tasks.Problem("data", " ".join(c.text), "", "")
    ids = tasks.encode(tasks.prompt(question, c.template, tokenizer), c.template, tokenizer)
    sampling = Sampling(c.max_new_tokens, c.temperature, c.top_k, c.top_p, c.min_p, tasks.STOP_STRINGS.get(c.template, ()))
    check_prompts(model, [ids], c.max_new_tokens)
    printer = Printer(tokenizer, model.stop_ids, c.n)
    rollouts = generate(model, tokenizer, [ids], sampling, c.n, c.seed, on_token=printer.token)
    for i, rollout in enumerate(rollouts):
        printer.end(i, rollout)


if __name__ == "__main__":
    run(main)
