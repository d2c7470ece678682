"""The KV-cached batched sampler: prompt ids in, `Rollout`s out.

    python sample.py --model base "Using 3, 7 and 12 exactly once each, make 24 with + - * /." -n 4
    python sample.py --model MODEL "What is 12 + 30?" --answer 42

`generate` is continuous batching. Every rollout that decodes sits in a slot of the KV cache. A step
draws one id for each of them; a rollout that ends leaves its slot to the next one in the queue or,
when the queue is empty, to another row, so that the slots in use are always the first. The host
checks for ends after each step on a CPU; on a GPU after some, before which the row is frozen. Rows
have their own positions and lengths; nothing is padded on the left.

A rollout's random numbers are fixed by (seed, which rollout, which position): the slot it happens
to sit in, its neighbours and the number of slots do not change what it draws. (Up to rounding: a
GPU multiplies 64 rows by other kernels than 8.)

Shapes: B rows that decode, V vocabulary. What makes a step fast stands in engine/: decoder.py holds
the slots' buffers and a GPU's graphs, placement.py decides which row sits in which slot.

Left out on purpose: beam search, repetition penalties, speculative decoding, paged memory.
"""

import functools
import math
from collections import deque
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from tqdm import tqdm

import model as lm
import reward
import tasks
from config import NotFinite, UserError, parse, run_program, setting
from engine.attention import Causal, Filling, Packed
from engine.batches import PREFILL_TOKENS
from engine.decoder import MOST_SLOTS, Decoder
from engine.device import DTYPES, on_device, pick_device
from engine.placement import Placement
from engine.plan import out_of_memory, plan_slots

ONE_STRIDE = 4096  # ids: up to here the sums of blocks cost more than they save
LAST_BELOW_1 = 1 - 2**-40  # rounding must not point past the end of a block
CHECK_EVERY_ON_GPU = 16  # steps: a row that ends idles for half as many on average


@dataclass
class Rollout:
    """One response, from the sampler to the gradient.

    Ids are kept; text exists for rewards and logs only.
    """

    prompt: list[int]  # ids
    response: list[int] = field(default_factory=list)  # ids; the stop token is the last of them
    logprobs: list[float] = field(default_factory=list)  # of each response id, when it was drawn
    finished: bool = False  # ended by itself, not by the length limit
    # Log-probs [T] as the update computed them, before it moved a weight; None if it did not.
    updated: torch.Tensor | None = field(default=None, repr=False, compare=False)
    # The trainer's log-probs of each response id before the step's first update, where asked for.
    trainers: list[float] | None = field(default=None, repr=False, compare=False)
    # Of each response id, what the critic said before the step's first update, and what it should
    # have said (ppo.py); None without a critic.
    values: list[float] | None = field(default=None, repr=False, compare=False)
    returns: list[float] | None = field(default=None, repr=False, compare=False)
    # (begin, end) of response ids that were put there and not drawn (evaluation/budget.py).
    forced: list[tuple[int, int]] = field(default_factory=list, repr=False)


@dataclass(frozen=True)
class Sampling:
    """How to draw, and when to stop."""

    max_new_tokens: int = 256
    temperature: float = 1.0  # 0 is greedy
    top_k: int = 0  # keep the k likeliest ids; 0 keeps all
    top_p: float = 1.0  # keep the smallest set of ids with this much probability
    min_p: float = 0.0  # keep ids with at least this share of the likeliest id's probability
    stop_strings: tuple[str, ...] = ()  # end a response when its text ends in one; it stays there

    def __post_init__(self):
        requirements = {
            "max_new_tokens must be at least 1": self.max_new_tokens >= 1,
            "temperature must be a number, at least 0": 0 <= self.temperature < math.inf,
            "top_k must not be negative": self.top_k >= 0,
            "top_p must be above 0 and at most 1": 0 < self.top_p <= 1,
            "min_p must be between 0 and 1": 0 <= self.min_p <= 1,
            "a stop string must not be empty": all(self.stop_strings),
        }
        for requirement, is_met in requirements.items():
            if not is_met:
                raise UserError(requirement)


# ---------------------------------------------------------------- drawing an id


def keep_likely(logits, sampling: Sampling):
    """logits [B, V] with the ids that top-k, top-p and min-p drop at -inf.

    The likeliest id always stays.
    """
    if sampling.top_k > 0:
        k = min(sampling.top_k, logits.shape[1])
        last_kept = logits.topk(k).values[:, -1:]  # (B, 1)
        logits = logits.masked_fill(logits < last_kept, float("-inf"))
    if sampling.min_p > 0:
        likeliest = logits.max(dim=1, keepdim=True).values
        floor = likeliest + torch.tensor(sampling.min_p).log().item()
        logits = logits.masked_fill(logits < floor, float("-inf"))
    if sampling.top_p < 1:
        ordered, order = logits.sort(dim=1, descending=True)
        probability = ordered.softmax(1)
        before = probability.cumsum(1) - probability  # of the ids before this one
        drop = torch.empty_like(before, dtype=torch.bool)
        drop.scatter_(1, order, before >= sampling.top_p)
        logits = logits.masked_fill(drop, float("-inf"))
    return logits


@functools.lru_cache(maxsize=8)
def block_width(vocabulary: int) -> int:
    """The largest divisor of a vocabulary's size up to its square root: 128 of Qwen's 151,936."""
    width = math.isqrt(vocabulary)
    while vocabulary % width != 0:
        width -= 1
    return width


def invert(weight, uniform):
    """Where the cumulative sum of weight [B, n] passes uniform [B, 1] of its whole.

    Returns (place [B, 1], edges [B, n]); the edges are the cumulative sums.
    """
    # In fp64, since a GPU adds in parallel: fp32 edges need not rise, and an id of probability 0
    # could be drawn.
    edges = weight.cumsum(1, dtype=torch.float64)
    # right=True: the first edge beyond the number, which skips what has no weight; the last edge
    # itself is never reached.
    place = torch.searchsorted(edges, uniform * edges[:, -1:], right=True)
    place = place.clamp_max(edges.shape[1] - 1)  # for weights that are no numbers
    return place, edges


def invert_in_two_strides(weight, uniform):
    """`invert` for a large vocabulary: first to a block of ids, then to one of them.

    Returns (ids [B, 1], edges of the blocks [B, blocks]).
    """
    width = block_width(weight.shape[1])
    blocks = weight.unflatten(1, (-1, width))  # (B, blocks, width)
    # In fp64 the sum would copy all of the weights first; `invert` adds the sums up in fp64.
    sums = blocks.sum(-1)  # (B, blocks)
    block, edges = invert(sums, uniform)
    mass = sums.gather(1, block)
    begin = edges.gather(1, block) - mass
    how_far = (uniform * edges[:, -1:] - begin) / mass  # into the block, as a share of it
    chosen = block[..., None].expand(-1, 1, width)
    within = blocks.gather(1, chosen).squeeze(1)  # (B, width)
    place, _ = invert(within, how_far.clamp(0, LAST_BELOW_1))
    return block * width + place, edges


def draw(logits, uniform, sampling: Sampling):
    """One id a row: logits [B, V], uniform [B] in [0, 1) to (ids [B], their log-probs [B]).

    The log-prob is that of the distribution drawn from: after temperature and after what top-k,
    top-p and min-p drop. Greedy reports it at temperature 1. Drawing inverts the cumulative
    distribution, one uniform number a token; without top-k, top-p and min-p there is one fp32
    tensor [B, V] and no second (156 MB of Qwen's at 256 rows).
    """
    temperature = sampling.temperature
    cuts = sampling.top_k > 0 or sampling.min_p > 0 or sampling.top_p < 1
    if cuts and temperature > 0:
        logits = keep_likely(logits.float() / temperature, sampling)
        temperature = 1.0
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
        ids, edges = invert_in_two_strides(weight, uniform[:, None])
    probability = weight.gather(1, ids) / edges[:, -1:]
    return ids.squeeze(1), probability.log().squeeze(1).float()


# ---------------------------------------------------------------- stop strings


def could_complete(text: str, strings: tuple[str, ...]) -> bool:
    """Whether a token of this text could be the one that completes one of `strings`.

    It does if it contains a string, begins with the end of one, or is a part of a character.
    """
    if "\ufffd" in text:
        return True
    for string in strings:
        if string in text:
            return True
        for i in range(1, len(string)):
            if text.startswith(string[i:]):
                return True
    return False


@functools.lru_cache(maxsize=8)
def completing_ids(tokenizer, strings: tuple[str, ...], ids: int) -> torch.Tensor:
    """Which of the first `ids` ids could complete one of `strings`: [ids], bool.

    Remembered: it decodes the whole vocabulary, 151,665 texts with Qwen's.
    """
    texts = tokenizer.batch_decode([[i] for i in range(ids)], clean_up_tokenization_spaces=False)
    return torch.tensor([could_complete(text, strings) for text in texts])


class StopStrings:
    """Finds the responses that end in a stop string.

    Only an id whose text could complete one makes anybody decode anything.
    """

    def __init__(self, model, tokenizer, strings: tuple[str, ...]):
        self.strings = strings
        self.tokenizer = tokenizer
        vocabulary = model.config.vocab_size
        suspect = completing_ids(tokenizer, strings, min(vocabulary, len(tokenizer)))
        # The same for the host, which would wait for a GPU once an id.
        self.suspect_ids = frozenset(suspect.nonzero()[:, 0].tolist())
        without_text = vocabulary - len(suspect)
        self.suspect = F.pad(suspect, (0, without_text)).to(model.device)  # (V,)
        # Tokens to look back over, of which each has at least a byte.
        self.tail = max(len(string.encode()) for string in strings) + 8

    def search(self, decoder: Decoder, in_use: int, new: int) -> dict[int, int]:
        """{slot: length} of the responses that a stop string ends within their last `new` ids."""
        back = torch.arange(1, new + 1, device=decoder.count.device)
        places = decoder.count[:in_use, None] - back  # (B, new)
        # Before a response's first id there is none; its first is then seen several times.
        ids = decoder.ids[:in_use].gather(1, places.clamp_min(0))
        suspects = self.suspect[ids].any(1).nonzero()[:, 0].tolist()
        counts = decoder.count[suspects].tolist()
        lengths = {}
        for slot, count in zip(suspects, counts):
            response = decoder.ids[slot, :count].tolist()
            length = self.first_end(response, min(new, count))
            if length is not None:
                lengths[slot] = length
        return lengths

    def first_end(self, response: list[int], new: int) -> int | None:
        """The length at which one of a response's last `new` ids first completes a stop string."""
        for length in range(len(response) - new + 1, len(response) + 1):
            if self.ends_in_one(response[:length]):
                return length
        return None

    def ends_in_one(self, response: list[int]) -> bool:
        """Whether the last id of a response completes a stop string."""
        if response[-1] not in self.suspect_ids:
            return False
        as_drawn = dict(clean_up_tokenization_spaces=False)
        text = self.tokenizer.decode(response[-self.tail :], **as_drawn)
        last = self.tokenizer.decode(response[-1:], **as_drawn)
        for string in self.strings:
            if string in text[-(len(string) + len(last)) :]:
                return True
        return False


# ---------------------------------------------------------------- one step


def decode_step(decoder: Decoder, spans: list[tuple[int, int]], sampling: Sampling) -> None:
    """Draw one id for each row; those that are not alive stay as they are.

    spans: (slots, positions), see engine/decoder.py. This is what a GPU captures as a graph: it
    reads nothing back to the host.
    """
    uniform = next_uniform(decoder, spans)
    ids, logprobs = draw(decoder.logits(spans), uniform, sampling)
    take(decoder, ids, logprobs)


def biased_step(bias, placement: Placement):
    """`decode_step` with what `bias` adds to the logits of each row (see `generate`)."""

    def step(decoder: Decoder, spans: list[tuple[int, int]], sampling: Sampling) -> None:
        in_use = placement.in_use
        added = bias(placement.owner, decoder.ids[:in_use], decoder.count[:in_use])
        uniform = next_uniform(decoder, spans)
        ids, logprobs = draw(decoder.logits(spans) + added, uniform, sampling)
        take(decoder, ids, logprobs)

    return step


def next_uniform(decoder: Decoder, spans: list[tuple[int, int]]):
    """The random number of each row's next id: [B]."""
    in_use = sum(slots for slots, _ in spans)
    place = decoder.count[:in_use, None]
    return decoder.uniform[:in_use].gather(1, place).squeeze(1)


def take(decoder: Decoder, ids, logprobs) -> None:
    """Put what was drawn, ids [B] and their log-probs [B], into the rows that are alive."""
    in_use = len(ids)
    count = decoder.count[:in_use]  # how many ids a row has drawn
    alive = decoder.alive[:in_use]
    place = count[:, None]  # where the new one goes
    decoder.ids[:in_use].scatter_(1, place, ids[:, None])
    decoder.logprobs[:in_use].scatter_(1, place, logprobs[:, None])
    decoder.pending[:in_use] = ids  # what the next step decodes
    decoder.cache.lengths[:in_use] += alive
    count += alive
    alive &= ~(decoder.is_stop[ids] | (count >= decoder.limit[:in_use]))


# ---------------------------------------------------------------- prefilling prompts


def check_prompts(
    model, prompts: list[list[int]], max_new_tokens: int, limits: list[int] | None = None
) -> int:
    """The cache capacity that these prompts need; UserError if one and its response cannot fit.

    limits: a longest response of each rollout's own; those of a prompt stand together.
    """
    if min(map(len, prompts)) == 0:
        raise UserError("an empty prompt: there is no position to continue from")
    limits = limits or [max_new_tokens] * len(prompts)
    n = len(limits) // len(prompts)
    needs = []
    for i, limit in enumerate(limits):
        length = len(prompts[i // n])
        new_tokens = min(limit, max_new_tokens)
        needs.append((length + new_tokens, length, new_tokens))
    capacity, length, new_tokens = max(needs)
    context = model.config.max_position_embeddings
    if capacity > context:
        raise UserError(
            f"a prompt of {length} tokens and {new_tokens} new ones do not fit the model's "
            f"context of {context}: shorten the prompt or lower --max-new-tokens"
        )
    return capacity


class PrefilledPrompts:
    """Prefills each prompt once, several in one chunk, and copies keys and values to slots.

    All of a prompt but its last id is prefilled: that id is the first that a row decodes.
    """

    def __init__(self, model, prompts: list[list[int]], token_budget: int):
        self.model = model
        self.prompts = prompts
        self.token_budget = token_budget  # of a chunk
        self.chunk = None  # the cache of prompts `first` to `end`, a row each
        self.first = 0
        self.end = 0

    def copy_to(self, taken: list[int], which: int, cache: lm.KVCache) -> None:
        """Give the prompt of index `which` to the slots `taken`. Prompts come in rising order."""
        if which >= self.end:
            self.prefill_from(which)
        row = which - self.first
        cache.fill(taken, self.chunk, row, len(self.prompts[which]) - 1)

    def prefill_from(self, first: int) -> None:
        """Prefill the next chunk, which begins with prompt `first`."""
        self.chunk = None  # let the chunk before go first
        size = self.chunk_size(first)
        self.first = first
        self.end = first + size
        lengths = [len(prompt) - 1 for prompt in self.prompts[first : self.end]]
        width = max(lengths)
        self.chunk = self.model.cache(size, width)
        if width == 0:  # each prompt is one id: nothing is to be computed
            return
        device = self.model.device
        without_padding = self.model.packs and min(lengths) > 0
        ids = []
        for prompt in self.prompts[first : self.end]:
            ids += prompt[:-1]
            if not without_padding:
                ids += [0] * (width - len(prompt) + 1)
        if without_padding:
            attention = Packed(lengths, device)
        else:
            attention = Causal(size, width, device)
        self.model.hidden(on_device(ids, device), Filling(attention, self.chunk))

    def chunk_size(self, first: int) -> int:
        """How many prompts from `first` on the token budget holds; one at the least."""
        size = 0
        tokens = 0
        width = 0
        for prompt in self.prompts[first:]:
            length = len(prompt) - 1
            tokens += length
            width = max(width, length)
            padded = width * (size + 1)  # what their keys and values take in any case
            cost = padded
            if self.model.packs:
                cost = max(tokens, padded // 2)
            if size > 0 and cost > self.token_budget:
                break
            size += 1
        return size


# ---------------------------------------------------------------- collecting what has ended


class Collector:
    """Looks at what rows have drawn, and completes the rollouts of those that have ended."""

    def __init__(self, model, tokenizer, sampling: Sampling, rollouts, on_token, on_done, biased):
        self.stop_ids = model.stop_ids
        self.biased = biased  # whether another policy than the model's draws
        self.rollouts = rollouts
        self.on_token = on_token
        self.on_done = on_done
        self.stop_strings = None
        if sampling.stop_strings:
            self.stop_strings = StopStrings(model, tokenizer, sampling.stop_strings)

    def collect(self, decoder: Decoder, placement: Placement, steps: int) -> list[int]:
        """The slots whose rows have ended in the last `steps` steps, in rising order."""
        alive = decoder.alive[: placement.in_use]
        watched = self.stop_strings is not None or self.on_token is not None
        if not watched and alive.all():
            return []
        lengths = {}  # of the responses that have come to a stop string, by slot
        if self.stop_strings is not None:
            lengths = self.stop_strings.search(decoder, placement.in_use, steps)
        if self.on_token is not None:
            self.stream(decoder, placement, lengths)
        ended = set((~alive).nonzero()[:, 0].tolist())
        ended = sorted(ended.union(lengths))
        self.complete(decoder, placement, ended, lengths)
        return ended

    def stream(self, decoder: Decoder, placement: Placement, lengths: dict[int, int]) -> None:
        """Hand on the ids that are new; until it is complete, a rollout holds those handed on."""
        counts = decoder.count[: placement.in_use].tolist()
        for slot, count in enumerate(counts):
            owner = placement.owner[slot]
            response = self.rollouts[owner].response
            new = decoder.ids[slot, len(response) : lengths.get(slot, count)].tolist()
            response += new
            for token in new:
                self.on_token(owner, token)

    def complete(self, decoder: Decoder, placement: Placement, ended, lengths) -> None:
        """Fill in the rollouts of the slots `ended`; a stop string has ended those in `lengths`."""
        counts = decoder.count[ended].tolist()
        longest = max(counts, default=0)
        ids = decoder.ids[ended, :longest].tolist()
        logprobs = decoder.logprobs[ended, :longest].tolist()
        for i, slot in enumerate(ended):
            owner = placement.owner[slot]
            rollout = self.rollouts[owner]
            length = lengths.get(slot, counts[i])
            rollout.response = ids[i][:length]
            rollout.logprobs = logprobs[i][:length]
            rollout.finished = slot in lengths or rollout.response[-1] in self.stop_ids
            check_logprobs(rollout.logprobs)
            if self.biased:
                rollout.logprobs = []
            if self.on_done is not None:
                self.on_done(owner, rollout)


def check_logprobs(logprobs: list[float]) -> None:
    """NotFinite if one of them is NaN or infinite: its id was drawn from no distribution."""
    if not all(map(math.isfinite, logprobs)):
        raise NotFinite(
            "the model's log-probabilities are not finite (NaN or infinite): its weights are "
            "damaged, or too large to compute with"
        )


# ---------------------------------------------------------------- the loop


@torch.no_grad()
def generate(
    model,
    tokenizer,
    prompts: list[list[int]],
    sampling: Sampling = Sampling(),
    n: int = 1,
    seed: int = 0,
    slots: int = MOST_SLOTS,
    prefill_tokens: int = PREFILL_TOKENS,
    on_token=None,
    on_done=None,
    progress: str | None = None,
    limits: list[int] | None = None,
    decoder: Decoder | None = None,
    check_every: int = 0,
    uniform: torch.Tensor | None = None,
    bias=None,
) -> list[Rollout]:
    """`n` rollouts of each prompt (lists of ids), a flat list in which groups stand together.

    slots: rows that decode at a time. on_token(rollout index, id) is called for each drawn id,
    on_done(rollout index, rollout) when a rollout is complete. limits: a longest response of each
    rollout's own. decoder: buffers and graphs to use again; its slots count. check_every: steps
    between two checks for rows that have ended; 0 chooses. uniform [rollouts, max_new_tokens]: the
    random numbers, in place of the seed's. A pure function of its arguments on one machine; the
    draws depend on neither `slots` nor `check_every`.

    bias(rollout index of each row, ids [B, T], how many of them each row has drawn [B]) gives what
    is added to the logits [B, V] before each draw; the ids beyond are no row's. It is for
    evaluations (evaluation/thoughts.py): what is then drawn from is not the model's distribution,
    and a gradient of its log-probs would be that of another policy. So these rollouts have no
    log-probs, and no training can use them.
    """
    rollouts = [Rollout(prompts[i // n]) for i in range(n * len(prompts))]
    most = sampling.max_new_tokens
    capacity = check_prompts(model, prompts, most, limits)
    decoder = decoder or Decoder(model, min(slots, len(rollouts)))
    decoder.make_room(capacity, most)
    reader = on_token or bias
    check_every = check_every or default_check_every(model.device, reader)
    limit = torch.tensor(limits or [most] * len(rollouts)).clamp(1, most)
    if uniform is None:
        uniform = random_numbers(len(rollouts), most, seed)
    prefilled = PrefilledPrompts(model, prompts, prefill_tokens)
    biased = bias is not None
    collector = Collector(model, tokenizer, sampling, rollouts, on_token, on_done, biased)
    waiting = deque(range(len(rollouts)))
    placement = Placement(decoder, min(decoder.slots, len(rollouts)))
    step = biased_step(bias, placement) if biased else decode_step
    with progress_bar(len(rollouts), progress) as bar:
        while placement.in_use > 0:
            # 1. Admit: the head of the queue takes the free slots. A prompt is prefilled once, and
            #    its keys and values are copied to the members of its group.
            while placement.free:
                members = next_of_one_group(waiting, n, len(placement.free))
                taken = placement.seat(members)
                which = members[0] // n
                prefilled.copy_to(taken, which, decoder.cache)
                decoder.start(taken, prompts[which][-1], limit[members], uniform[members])

            # 2. Decode: a step draws an id for each row and adds a position to its cache.
            decoder.advance(placement.spans(), check_every, step, sampling, eager=biased)
            placement.grow(check_every)

            # 3. Collect: what the rows that have ended drew goes into their rollouts.
            ended = collector.collect(decoder, placement, check_every)
            bar.update(len(ended))

            # 4. Evict: their slots are free for those that wait; if none does, fewer are in use.
            if ended:
                placement.evict(ended, len(waiting))
    return rollouts


def default_check_every(device: torch.device, reader) -> int:
    """Steps between two checks: 1 on a CPU, and wherever somebody reads along."""
    if device.type == "cpu" or reader is not None:
        return 1
    return CHECK_EVERY_ON_GPU


def random_numbers(rollouts: int, most: int, seed: int) -> torch.Tensor:
    """What a rollout takes to its slot, whichever that is: a number an id, [rollouts, most]."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    return torch.rand(rollouts, most, generator=generator)


def progress_bar(total: int, name: str | None) -> tqdm:
    """A bar that counts rollouts; without a name there is none to see."""
    return tqdm(total=total, desc=name, leave=False, disable=name is None, unit="rollout")


def next_of_one_group(waiting: deque, n: int, most: int) -> list[int]:
    """Take from the queue the first rollouts that share a prompt, at most so many."""
    which = waiting[0] // n
    members = []
    while waiting and len(members) < most and waiting[0] // n == which:
        members.append(waiting.popleft())
    return members


def silent_ids(model, tokenizer) -> set[int]:
    """The ids of a response that no reward reads: those of stop tokens and of padding."""
    return {*model.stop_ids, tokenizer.pad_token_id}


def text_of(model, tokenizer, ids: list[int]) -> str:
    """What response ids say: without stop and padding ids, and with everything else.

    Other special tokens stay. A tokenizer may have marked <think> or <answer> as one, and a reward
    looks for these.
    """
    silent = silent_ids(model, tokenizer)
    spoken = [i for i in ids if i not in silent]
    return tokenizer.decode(spoken, clean_up_tokenization_spaces=False)


# ---------------------------------------------------------------- python sample.py


@dataclass(frozen=True)
class SampleConfig:
    text: tuple[str, ...] = setting((), "the question", positional=True)
    model: str = setting("base", "model folder or hub id")
    template: str = setting("short", "prompt template", choices=tuple(tasks.TEMPLATES))
    stop: tuple[str, ...] = setting(
        (),
        "end a response whose text ends in this string, beside the template's own; may be given "
        "more than once",
    )
    answer: str | None = setting(
        None, "the right answer, by value; a Countdown question is checked without one"
    )
    answer_style: str = setting(
        "auto", "where in a response the answer stands", choices=reward.STYLES
    )
    n: int = setting(1, "responses")
    max_new_tokens: int = setting(256, "longest response, tokens")
    temperature: float = setting(1.0, "0 is greedy")
    top_k: int = setting(0, "keep the k likeliest tokens; 0 keeps all")
    top_p: float = setting(1.0, "keep the smallest set with this probability")
    min_p: float = setting(0.0, "keep tokens with this share of the likeliest one's probability")
    seed: int = setting(0, "seed of the draws")
    device: str = setting("auto", "auto, cpu or cuda")
    dtype: str = setting("auto", "compute type: auto, fp32 or bf16", choices=("auto", *DTYPES))


class Printer:
    """Streams the first response as it is drawn; the others follow when all are done."""

    def __init__(self, model, tokenizer, n: int):
        self.model = model
        self.tokenizer = tokenizer
        self.ids = [[] for _ in range(n)]  # of each response, as far as it is drawn
        self.current = 0  # the response that is on the terminal
        self.shown = ""  # its text, as far as it is there
        print("[1] ", end="", flush=True)

    def add(self, i: int, token: int) -> None:
        """One more id of response i."""
        self.ids[i].append(token)
        if i == self.current:
            self.show()

    def show(self, ended: bool = False) -> None:
        """Print what the current response has that is not on the terminal yet."""
        text = text_of(self.model, self.tokenizer, self.ids[self.current])
        if ended or not text.endswith("\ufffd"):  # half of a character: wait for the rest
            print(text[len(self.shown) :], end="", flush=True)
            self.shown = text

    def close(self, i: int, rollout: Rollout, verdict: str) -> None:
        """End response i, then go on with what the next one has so far; verdict: "" is none."""
        self.show(ended=True)
        remark = f"{len(rollout.response)} tokens"
        if not rollout.finished:
            remark += ", hit the limit"
        if verdict:
            remark += f"; {verdict}"
        print(f"\n    ({remark})")
        self.current = i + 1
        self.shown = ""
        if self.current < len(self.ids):
            print(f"[{self.current + 1}] ", end="", flush=True)
            self.show()


def problem_of(settings: SampleConfig) -> tasks.Problem | None:
    """What the answers are checked against: --answer, or what a Countdown question asks for."""
    question = " ".join(settings.text)
    if settings.answer is not None:
        return tasks.Problem("math", question, settings.answer, "")
    return tasks.read_countdown(question)


def verdict_of(text: str, rollout: Rollout, problem: tasks.Problem | None, style: str) -> str:
    """Whether a response is right, and why; "" where nothing can be checked."""
    if problem is None:
        return ""
    earned = reward.score("dr_grpo", text, problem, rollout.finished, style)
    if earned.accuracy == 1.0:
        return earned.why
    return f"wrong: {earned.why}"


def main():
    settings, _ = parse(SampleConfig, "sample responses and stream them")
    if not settings.text or settings.n < 1:
        raise UserError(
            'give a question, for instance: python sample.py "Using 3, 7 and 12 exactly once each, '
            'make 24 with + - * /." and -n of at least 1'
        )
    text = " ".join(settings.text)
    if text.encode("utf-8", "replace").decode("utf-8") != text:
        raise UserError("the question is not text in UTF-8")
    template = settings.template
    if template not in tasks.TEMPLATES or template == "tinyzero":
        raise UserError(f"--template {template} needs a generated problem: choose another")
    stop_strings = tasks.stop_strings(template, settings.stop)
    model, tokenizer = lm.load(settings.model, pick_device(settings.device), settings.dtype)
    question = tasks.Problem("data", text, "", "")
    prompt = tasks.prompt(question, template, tokenizer)
    ids = tasks.encode(prompt, template, tokenizer, model.config.vocab_size)
    sampling = Sampling(
        settings.max_new_tokens,
        settings.temperature,
        settings.top_k,
        settings.top_p,
        settings.min_p,
        stop_strings,
    )
    tokens = check_prompts(model, [ids], settings.max_new_tokens)
    n = settings.n
    slots = plan_slots(model.config, tokens, 0, n, model.device, model.dtype)
    printer = Printer(model, tokenizer, n)
    with out_of_memory("while sampling: lower -n or --max-new-tokens", resumable=False):
        rollouts = generate(
            model, tokenizer, [ids], sampling, n, settings.seed, slots, on_token=printer.add
        )
    problem = problem_of(settings)
    for i, rollout in enumerate(rollouts):
        text = text_of(model, tokenizer, rollout.response)
        printer.close(i, rollout, verdict_of(text, rollout, problem, settings.answer_style))


if __name__ == "__main__":
    run_program(main)
