"""Our side of a comparison: the sampler and the trainer, as train.py calls them.

All sides have the same weights, prompts and response lengths, temperature 1, no top-k or top-p.
`limits` are the lengths of responses, one a rollout, imposed on every side alike (bench.py says
how); where it is None, the stop token ends a row.
"""

import time
from dataclasses import replace

import torch

import grpo
import model as lm
import reward
import sample
import tasks
import train
from engine.attention import Causal, Filling, Packed
from engine.decoder import MOST_SLOTS, Decoder
from sample import Sampling
from speed.measure import seconds_of, synchronize

# Below the rounding of a typical weight: all of the optimizer's work, and the policy stays what it
# is.
LR = 1e-9
# What a row may still draw while a decode step is timed: it must not end.
ENDLESS = 10**6


def training_config(**settings) -> train.TrainConfig:
    """What both of our steps are told: a learning rate that moves nothing, and no warm-up of it."""
    return replace(train.TrainConfig(), lr=LR, warmup=0, **settings)


def decoder_for(model, prompts: list[list[int]], rows: int, max_new_tokens: int) -> Decoder:
    """Buffers for a sampler's calls, with room for the longest prompt and response."""
    longest = max(map(len, prompts)) + max_new_tokens
    return Decoder(model, min(MOST_SLOTS, rows)).make_room(longest, max_new_tokens)


def our_rollouts(
    model,
    tokenizer,
    prompts: list[list[int]],
    n: int,
    limits: list[int] | None,
    sampling: Sampling,
    seed: int,
    decoder: Decoder | None = None,
) -> list[sample.Rollout]:
    """Our sampler; `decoder` keeps buffers and graphs from call to call, as in training."""
    rollouts = sample.generate(
        model, tokenizer, prompts, sampling, n, seed, limits=limits, decoder=decoder
    )
    if limits is not None:
        lengths = [len(rollout.response) for rollout in rollouts]
        assert lengths == limits, "a response has not its imposed length"
    return rollouts


def our_prefill(model, prompts: list[list[int]]):
    """A call that fills a cache with prompts of one length in one forward pass without a head.

    The sampler does the same.
    """
    ids = torch.tensor(prompts, device=model.device).flatten()
    width = len(prompts[0])
    if model.packs:
        rows = Packed([width] * len(prompts), model.device)
    else:
        rows = Causal(len(prompts), width, model.device)

    @torch.no_grad()
    def call():
        model.hidden(ids, Filling(rows, model.cache(len(prompts), width)))

    return call


def our_decode(model, slots: int, context: int, steps: int):
    """A call that decodes `steps` tokens in `slots` rows around `context` tokens.

    Its seconds are those of one step.
    """
    first = context - steps // 2
    decoder = Decoder(model, slots).make_room(context + steps, steps)
    sampling = Sampling()

    def decode():
        decoder.advance([(slots, first + 1)], steps, sample.decode_step, sampling)

    def call() -> float:
        decoder.cache.lengths.fill_(first)
        decoder.count.zero_()
        decoder.limit.fill_(ENDLESS)
        decoder.alive.fill_(True)
        return seconds_of(decode, model.device) / steps

    return call


@torch.no_grad()
def our_logprobs(model, batches: list[list[sample.Rollout]], token_budget: int) -> None:
    """The log-probabilities of the responses, a micro-batch at a time.

    Each prompt is computed once, as in train.update.
    """
    prompts = []
    for rollouts in batches:
        prompts += [rollout.prompt for rollout in rollouts]
    shared = lm.SharedPrompts(model, prompts, token_budget)
    for rollouts in batches:
        prompts = [rollout.prompt for rollout in rollouts]
        responses = [rollout.response for rollout in rollouts]
        shared.response_logprobs(prompts, responses)


def our_update(run, rollouts: list[sample.Rollout], advantage: torch.Tensor) -> None:
    """One update with its optimizer step, as train.train_step makes it."""
    train.update(run.model, run.optimizer, rollouts, advantage, LR, run.config)


def our_step(
    run, prompts: list[list[int]], limits: list[int], seed: int, decoder: Decoder
) -> dict[str, float]:
    """The calls of train.train_step in its order, with lengths imposed; the seconds of its parts.

    Rule rewards are computed; random ones take their place, so that no group is equal and no row
    left out.
    """
    device = run.model.device
    group = run.config.group_size
    # 1. Sample.
    began = synchronized_clock(device)
    rollouts = our_rollouts(
        run.model, run.tokenizer, prompts, group, limits, run.sampling(), seed, decoder
    )
    sampled = synchronized_clock(device)
    # 2. Reward, and the advantages of other rewards.
    problem = tasks.make_problems("countdown", "train", "bench", 1)[0]
    for rollout in rollouts:
        text = sample.text_of(run.model, run.tokenizer, rollout.response)
        reward.score("dr_grpo", text, problem, rollout.finished)
    generator = torch.Generator().manual_seed(seed)
    made_up = torch.rand(len(prompts), group, generator=generator)
    advantage = grpo.advantages(made_up, False).flatten()
    rewarded = synchronized_clock(device)
    # 3. Update.
    our_update(run, rollouts, advantage)
    updated = synchronized_clock(device)
    return {"sample": sampled - began, "reward": rewarded - sampled, "update": updated - rewarded}


def synchronized_clock(device: torch.device) -> float:
    """The time at which the device has finished what it was given, seconds."""
    synchronize(device)
    return time.perf_counter()
