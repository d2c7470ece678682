"""The KV-cached batched sampler: prompt ids in, `Rollout`s out.

    python sample.py --model base "Using 3, 7 and 12 exactly once each, make 24 with + - * /." -n 4

Each prompt is prefilled once and its keys and values are copied to its group. The live rows are always the first n
slots of the cache: a row that ends gives its slot to the next one in the queue or, when the queue is empty, to the last
live row, as soon as the host looks: after each step on a CPU, on a GPU after some, before which the row is frozen. Rows
have their own positions and lengths; nothing is padded on the left.

A row's random numbers are fixed by (seed, which rollout, which position): the slot it happens to sit in, its neighbours
and the number of slots do not change what it draws. (Up to rounding: a GPU multiplies 64 rows by other kernels than 8.)

Left out on purpose: beam search, repetition penalties, speculative decoding, paged memory.
"""
import functools
import itertools
import math
from collections import deque
from dataclasses import dataclass, field

import torch
from tqdm import tqdm

import model as lm
import tasks
from config import UserError, parse, run_program, setting
from engine.attention import Causal, Filling, Packed
from engine.decoder import Decoder
from engine.device import pick_device

ONE_STRIDE = 4096  # ids: up to here the sums of blocks cost more than they save
LAST_BELOW_1 = 1 - 2 ** -40  # rounding must not point past the end of a block
LOOK = 16  # steps on a GPU between two looks of the host: a row that ends idles for half as many on average


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
                raise UserError(what)


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


@functools.lru_cache(maxsize=8)
def block_width(vocabulary: int) -> int:
    """The largest divisor of a vocabulary's size up to its square root: 128 of Qwen's 151,936."""
    return max(d for d in range(1, math.isqrt(vocabulary) + 1) if vocabulary % d == 0)


def invert(weight, uniform):
    """Where the cumulative sum of weight [B, n] passes uniform [B, 1] of its whole: (place [B, 1], edges [B, n])."""
    # fp64, since a GPU adds in parallel: fp32 edges need not rise, and an id of probability 0 could be drawn.
    edges = weight.cumsum(1, dtype=torch.float64)
    # right=True: the first edge beyond the number, which skips what has no weight; the last edge itself is never reached.
    place = torch.searchsorted(edges, uniform * edges[:, -1:], right=True)
    return place.clamp_max(edges.shape[1] - 1), edges  # the clamp is for weights that are not numbers


def draw(logits, uniform, s: Sampling):
    """One id a row: logits [B, V], uniform [B] in [0, 1) to (ids [B], their log-probs [B]).

    The log-prob is that of the distribution drawn from: after temperature and after what top-k, top-p and min-p drop.
    Greedy reports it at temperature 1. Drawing inverts the cumulative distribution, one uniform number a token; of a large
    vocabulary in two strides, first to a block of ids, then to one of them, so that without top-k, top-p and min-p there
    is one fp32 tensor [B, V] and no second (156 MB of Qwen's at 256 rows).
    """
    temperature = s.temperature
    if temperature and (s.top_k or s.min_p or s.top_p < 1):
        logits, temperature = keep_likely(logits.float() / temperature, s), 1.0
    top, best = logits.max(dim=1, keepdim=True)
    weight = logits - top.float()  # (B, V), fp32 whatever the logits are
    if temperature not in (0, 1):
        weight.div_(temperature)
    weight.exp_()  # the likeliest id weighs 1: nothing overflows
    if temperature == 0:
        return best.squeeze(1), -weight.sum(1).log()
    if weight.shape[1] <= ONE_STRIDE:
        ids, edges = invert(weight, uniform[:, None])
    else:
        blocks = weight.unflatten(1, (-1, block_width(weight.shape[1])))  # (B, blocks, ids of a block)
        sums = blocks.sum(-1)  # in fp64 it would copy all of the weights first; `invert` adds the sums up in fp64
        block, edges = invert(sums, uniform[:, None])
        mass = sums.gather(1, block)
        share = (uniform[:, None] * edges[:, -1:] - edges.gather(1, block) + mass) / mass  # how far into the block
        within = blocks.gather(1, block[..., None].expand(-1, 1, blocks.shape[2])).squeeze(1)
        ids = block * blocks.shape[2] + invert(within, share.clamp(0, LAST_BELOW_1))[0]
    return ids.squeeze(1), (weight.gather(1, ids) / edges[:, -1:]).log().squeeze(1).float()


def decode_step(decoder: Decoder, spans: list[tuple[int, int]], sampling: Sampling) -> None:
    """Draw one id for each of the first rows; those that are not alive stay as they are.

    spans: see `Decoder.logits`. This is what a GPU captures: it reads nothing back to the host.
    """
    d = decoder
    rows = sum(n for n, _ in spans)
    count, alive = d.count[:rows], d.alive[:rows]
    at = count[:, None]
    uniform = d.uniform[:rows].gather(1, at).squeeze(1)
    ids, logprobs = draw(d.logits(spans), uniform, sampling)
    d.ids[:rows].scatter_(1, at, ids[:, None])
    d.logprobs[:rows].scatter_(1, at, logprobs[:, None])
    d.pending[:rows] = ids
    d.cache.lengths[:rows] += alive
    count += alive
    alive &= ~(d.is_stop[ids] | (count >= d.limit[:rows]))


@functools.lru_cache(maxsize=8)
def completing(tokenizer, strings: tuple[str, ...], ids: int) -> torch.Tensor:
    """Which of the first `ids` ids have a text that could complete one of `strings`: [ids], bool.

    Remembered: it decodes the whole vocabulary, 151,665 texts with Qwen's.
    """
    def could(text):  # it contains a string, or starts with an ending of one ("\ufffd": part of a character)
        return "\ufffd" in text or any(string in text or any(text.startswith(string[j:]) for j in range(1, len(string)))
                                       for string in strings)
    return torch.tensor([could(text) for text in tokenizer.batch_decode([[i] for i in range(ids)])])


class StopStrings:
    """Says which rows end in a stop string. Only an id whose text could complete one makes anybody decode anything."""

    def __init__(self, model, tokenizer, strings: tuple[str, ...]):
        self.strings, self.tokenizer = strings, tokenizer
        V = model.config.vocab_size
        suspect = completing(tokenizer, strings, min(V, len(tokenizer)))
        self.suspect = torch.nn.functional.pad(suspect, (0, V - len(suspect))).to(model.device)
        self.tail = max(len(s.encode()) for s in strings) + 8  # tokens to look back over: each has a byte

    def end(self, response: list[int], new: int) -> int | None:
        """The length at which a response first ends in a stop string, among those that its last `new` ids give it."""
        for n in range(len(response) - new + 1, len(response) + 1):
            if self.suspect[response[n - 1]]:
                text, last = (self.tokenizer.decode(response[n - k:n]) for k in (min(n, self.tail), 1))
                if any(string in text[-(len(string) + len(last)):] for string in self.strings):
                    return n
        return None


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
        """Prefill prompts from `first` on, as many as the token budget holds; after the chunk before was let go."""
        self.held, m, bodies, width, total = {}, self.model, [], 0, 0
        without_padding = m.packs
        for prompt in self.prompts[first:]:
            width, total = max(width, len(prompt) - 1), total + len(prompt) - 1
            padded = width * (len(bodies) + 1)  # what their keys and values take in any case
            if bodies and (max(total, padded // 2) if without_padding else padded) > self.token_budget:
                break
            bodies.append(prompt[:-1])
        width, lengths = max(map(len, bodies)), [len(p) for p in bodies]
        chunk = m.cache(len(bodies), width)
        if without_padding and min(lengths):
            rows, ids = Packed(lengths, m.device), [i for p in bodies for i in p]
        elif width:
            rows, ids = Causal(len(bodies), width, m.device), [i for p in bodies for i in p + [0] * (width - len(p))]
        if width:
            m.hidden(torch.tensor(ids, device=m.device), Filling(rows, chunk))
        self.held = {first + row: (chunk, row) for row in range(len(bodies))}


def check_prompts(model, prompts: list[list[int]], max_new_tokens: int) -> int:
    """The cache capacity that these prompts need; UserError if one cannot fit the context with its response."""
    longest, context = max(map(len, prompts)), model.config.max_position_embeddings
    if min(map(len, prompts)) == 0:
        raise UserError("an empty prompt: there is no position to continue from")
    if longest + max_new_tokens > context:
        raise UserError(f"a prompt of {longest} tokens and {max_new_tokens} new ones do not fit the model's context of "
                      f"{context}: shorten the prompt or lower --max-new-tokens")
    return longest + max_new_tokens


class Slots:
    """The rows that decode. The live ones are always the first `live` slots; `queue` holds the rollouts that wait."""

    def __init__(self, decoder: Decoder, rollouts: list[Rollout], prompts: Prompts, n: int, sampling: Sampling,
                 limits: list[int] | None, seed: int):
        self.d, self.rollouts, self.prompts, self.n = decoder, rollouts, prompts, n
        most = sampling.max_new_tokens
        self.limits = torch.tensor(limits or [most] * len(rollouts)).clamp(1, most)
        self.uniform = torch.rand(len(rollouts), most, generator=torch.Generator().manual_seed(seed % 2 ** 63))
        self.queue = deque(range(len(rollouts)))
        self.live = min(decoder.slots, len(rollouts))
        self.front = 0 if decoder.graphed else decoder.slots // 4  # slots of the longest rows
        decoder.alive.zero_()  # an interrupted call may have left some
        self.owner, self.seen = [0] * self.live, [0] * self.live  # which rollout sits here; its ids that the host has seen
        self.seat(list(range(self.live)))
        self.measure()

    def seat(self, free: list[int]) -> list[int]:
        """Fill free slots from the queue, members of a group together; returns the slots that stay free."""
        d = self.d
        while free and self.queue:
            which = self.queue[0] // self.n
            members = min(len(free), sum(1 for i in itertools.islice(self.queue, self.n) if i // self.n == which))
            taken, free = free[:members], free[members:]
            owners = [self.queue.popleft() for _ in taken]
            for slot, owner in zip(taken, owners):
                self.owner[slot], self.seen[slot] = owner, 0
            self.prompts.place(d.cache, taken, which)
            d.pending[taken], d.count[taken], d.alive[taken] = self.prompts.prompts[which][-1], 0, True
            d.limit[taken] = self.limits[owners].to(d.limit.device)
            d.uniform[taken, :self.uniform.shape[1]] = self.uniform[owners].to(d.uniform.device)
        return free

    def measure(self) -> None:
        """How many positions the rows hold, at most: in front and behind, where that saves a fifth of the reading."""
        lengths = self.d.cache.lengths[:self.live].tolist()
        ahead, behind = max(lengths, default=0), max(lengths[self.front:], default=0)
        apart = self.front * ahead + (self.live - self.front) * behind < 0.8 * self.live * ahead
        self.held = [(self.front, ahead), (self.live - self.front, behind)] if apart else [(self.live, ahead)]

    def advance(self, look: int, sampling: Sampling) -> None:
        """Decode until the host looks again."""
        self.d.advance(self.held, look, decode_step, sampling)
        self.held = [(rows, min(longest + look, self.d.capacity - 1)) for rows, longest in self.held]

    def look(self, stop: StopStrings | None, on_token) -> list[int]:
        """The slots whose rows have ended since the last look; what these drew stands in their rollouts."""
        d, watched = self.d, stop is not None or on_token is not None
        if not watched and d.alive[:self.live].all():
            return []
        done = set((~d.alive[:self.live]).nonzero()[:, 0].tolist())
        counts = d.count[:self.live].tolist() if watched else []
        texts = self.end_by_text(stop, counts) if stop else {}
        for slot in range(self.live) if on_token else ():
            for token in d.ids[slot, self.seen[slot]:texts.get(slot, counts[slot])].tolist():
                on_token(self.owner[slot], token)
        self.seen = counts or self.seen
        done = sorted(done | texts.keys())
        for slot, count, ids, logprobs in zip(done, d.count[done].tolist(), d.ids[done].tolist(), d.logprobs[done].tolist()):
            rollout, length = self.rollouts[self.owner[slot]], texts.get(slot, count)
            rollout.response, rollout.logprobs = ids[:length], logprobs[:length]
            rollout.finished = slot in texts or ids[length - 1] in d.model.stop_ids
        return done

    def end_by_text(self, stop: StopStrings, counts: list[int]) -> dict[int, int]:
        """Slots whose text has come to a stop string since the last look, each with its response's length there."""
        d, found = self.d, {}
        new = [count - seen for count, seen in zip(counts, self.seen)]
        at = torch.tensor(self.seen)[:, None] + torch.arange(max(new))
        ids = d.ids[:self.live].gather(1, at.clamp_max(d.new_tokens).to(d.ids.device))
        for slot in stop.suspect[ids].any(1).nonzero()[:, 0].tolist():
            length = stop.end(d.ids[slot, :counts[slot]].tolist(), new[slot])
            if length is not None:
                found[slot] = length
        return found

    def leave(self, done: list[int]) -> None:
        """Refill the slots of rows that have ended, or close the gaps with the last live rows.

        On a CPU a row's attention reads as much as the longest row beside it needs. There the longest rows keep the
        first quarter of the slots: a gap in front takes the longest row from behind, and the queue refills behind.
        """
        ahead = [slot for slot in done if slot < self.front]
        if ahead and self.queue:
            lengths, ended = self.d.cache.lengths[:self.live].tolist(), set(done)
            behind = [slot for slot in range(self.front, self.live) if slot not in ended]
            longest = sorted(behind, key=lengths.__getitem__, reverse=True)[:len(ahead)]
            self.move(longest, ahead[:len(longest)])
            done = sorted(ended - set(ahead[:len(longest)]) | set(longest))
        free = self.seat(done)
        end = self.live - len(free)
        stay = [slot for slot in range(end, self.live) if slot not in free]  # rows beyond the new end move into the gaps
        self.move(stay, [slot for slot in free if slot < end])
        self.d.alive[end:self.live], self.d.cache.lengths[end:self.live] = False, 0
        self.live, self.owner, self.seen = end, self.owner[:end], self.seen[:end]
        self.measure()

    def move(self, source: list[int], target: list[int]) -> None:
        """Rows change their slots."""
        d = self.d
        if source:
            d.cache.move(source, target, max(longest for _, longest in self.held))
            for held in (d.ids, d.logprobs, d.uniform, d.pending, d.count, d.limit, d.alive):
                held[target] = held[source]
            for a, b in zip(source, target):
                self.owner[b], self.seen[b] = self.owner[a], self.seen[a]


@torch.no_grad()
def generate(model, tokenizer, prompts: list[list[int]], sampling: Sampling = Sampling(), n: int = 1, seed: int = 0,
             slots: int = 256, prefill_tokens: int = 16384, on_token=None, on_done=None, progress: str | None = None,
             limits: list[int] | None = None, decoder: Decoder | None = None, look: int = 0) -> list[Rollout]:
    """`n` rollouts of each prompt (lists of ids), as a flat list in which a prompt's group stands together.

    slots: rows that decode at a time. on_token(rollout index, id) is called for each drawn id, on_done(rollout index,
    rollout) when a rollout is complete. limits: a longest response of each rollout's own. decoder: buffers and graphs to
    use again; its slots count. look: steps between two looks of the host, by default 1 on a CPU and with on_token, else
    LOOK. A pure function of its arguments on one machine; the draws depend on neither `slots` nor `look`.
    """
    rollouts = [Rollout(prompt) for prompt in prompts for _ in range(n)]
    capacity = check_prompts(model, prompts, sampling.max_new_tokens)
    decoder = decoder or Decoder(model, min(slots, len(rollouts)))
    decoder.make_room(capacity, sampling.max_new_tokens)
    stop = StopStrings(model, tokenizer, sampling.stop_strings) if sampling.stop_strings else None
    s = Slots(decoder, rollouts, Prompts(model, prompts, prefill_tokens), n, sampling, limits, seed)
    look = look or (1 if on_token or model.device.type == "cpu" else LOOK)
    with tqdm(total=len(rollouts), desc=progress, leave=False, disable=progress is None, unit="rollout") as bar:
        while s.live:
            s.advance(look, sampling)
            if done := s.look(stop, on_token):
                complete = [s.owner[slot] for slot in done]  # before others move into their slots
                s.leave(done)
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
        raise UserError('give a question, for instance: python sample.py "Using 3, 7 and 12 exactly once each, make 24 '
                      'with + - * /." and -n of at least 1')
    if c.template not in tasks.TEMPLATES or c.template == "tinyzero":
        raise UserError(f"--template {c.template} needs a generated problem: choose another")
    model, tokenizer = lm.load(c.model, *pick_device(c.device))
    question = tasks.Problem("data", " ".join(c.text), "", "")
    ids = tasks.encode(tasks.prompt(question, c.template, tokenizer), c.template, tokenizer)
    sampling = Sampling(c.max_new_tokens, c.temperature, c.top_k, c.top_p, c.min_p, tasks.STOP_STRINGS.get(c.template, ()))
    check_prompts(model, [ids], c.max_new_tokens)
    printer = Printer(tokenizer, model.stop_ids, c.n)
    rollouts = generate(model, tokenizer, [ids], sampling, c.n, c.seed, on_token=printer.token)
    for i, rollout in enumerate(rollouts):
        printer.end(i, rollout)


if __name__ == "__main__":
    run_program(main)
