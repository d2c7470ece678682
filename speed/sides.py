"""The sides of a benchmark: our sampler and trainer, transformers' two ways to generate, TRL's GRPOTrainer.

All sides have the same weights, prompts and response lengths, temperature 1, no top-k or top-p. `limits` are the lengths
of responses, one a rollout, imposed on every side alike (bench.py says how); where it is None, the stop token ends a row.
"""
import time
from dataclasses import dataclass, replace
from statistics import median

import torch

import grpo
import model as lm
import reward
import sample
import tasks
import train
import update
from engine.attention import Causal, Filling, Packed
from engine.decoder import Decoder
from sample import Sampling
from speed.measure import Unable, seconds_of, synchronize

LR = 1e-9  # below the rounding of a typical weight: all of the optimizer's work, and the policy stays what it is


# ---------------------------------------------------------------- ours

def ours(model, tokenizer, prompts: list[list[int]], n: int, limits: list[int] | None, sampling: Sampling, seed: int,
         decoder: Decoder | None = None) -> list[sample.Rollout]:
    """Our sampler; `decoder` keeps buffers and graphs from call to call, as in training."""
    rollouts = sample.generate(model, tokenizer, prompts, sampling, n, seed, limits=limits, decoder=decoder)
    assert limits is None or [len(r.response) for r in rollouts] == limits, "a response has not its imposed length"
    return rollouts


def our_prefill(model, prompts: list[list[int]]):
    """A call that fills a cache with prompts of one length in one forward pass without a head, as the sampler does."""
    ids, width = torch.tensor(prompts, device=model.device).flatten(), len(prompts[0])
    rows = Packed([width] * len(prompts), model.device) if model.packs else Causal(len(prompts), width, model.device)

    @torch.no_grad()
    def call():
        model.hidden(ids, Filling(rows, model.cache(len(prompts), width)))
    return call


def our_decode(model, slots: int, context: int, steps: int):
    """A call that decodes `steps` tokens in `slots` rows around `context` tokens; its seconds are those of one step."""
    first, most = context - steps // 2, 10 ** 6
    d = Decoder(model, slots).make_room(context + steps, steps)

    def call() -> float:
        d.cache.lengths.fill_(first)
        d.count.zero_()
        d.limit.fill_(most)
        d.alive.fill_(True)
        return seconds_of(lambda: d.advance([(slots, first + 1)], steps, sample.decode_step, Sampling()), model.device) / steps
    return call


@torch.no_grad()
def our_logprobs(model, batches: list[list[sample.Rollout]]) -> None:
    for rows in batches:
        lm.response_logprobs(model, [r.prompt for r in rows], [r.response for r in rows])


def our_step(this, prompts: list[list[int]], limits: list[int], seed: int, decoder: Decoder) -> dict:
    """The calls of train.one_step in its order, with lengths imposed; returns the seconds of its parts.

    Rule rewards are computed; random ones take their place, so that no group is equal and no row left out.
    """
    device, c = this.model.device, this.c

    def now() -> float:
        synchronize(device)
        return time.perf_counter()
    clock = [now()]
    rollouts = ours(this.model, this.tokenizer, prompts, c.group_size, limits, this.sampling(), seed, decoder)
    clock.append(now())
    problem = tasks.draw("countdown", "train", "bench", 1)[0]
    for rollout in rollouts:
        reward.score("dr_grpo", sample.text_of(this.tokenizer, rollout), problem, rollout.finished)
    made_up = torch.rand(len(prompts), c.group_size, generator=torch.Generator().manual_seed(seed))
    advantage = grpo.advantages(made_up, False).flatten()
    clock.append(now())
    update.update(this.model, this.optimizer, rollouts, advantage, LR, c)
    clock.append(now())
    return {name: b - a for name, a, b in zip(("sample", "reward", "update"), clock, clock[1:])}


# ---------------------------------------------------------------- transformers

def padded(prompts: list[list[int]], device) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask) [B, T] of prompts with padding on the left."""
    width = max(map(len, prompts))
    return (torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=device),
            torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device))


class Limits:
    """A StoppingCriteria: row b ends at limits[b]. Notes when each token was complete."""

    def __init__(self, width: int, limits: list[int], device):
        self.limits, self.width, self.ticks = torch.tensor(limits, device=device), width, []

    def __call__(self, input_ids, scores, **_):
        synchronize(input_ids.device)  # generate itself looks at the device after every token
        self.ticks.append(time.perf_counter())
        return input_ids.shape[1] - self.width >= self.limits


def static(model, prompts: list[list[int]], limits: list[int] | None, max_new_tokens: int, stops: list[int], seed: int):
    """transformers' generate, all rows in one left-padded batch; returns (useful tokens, when each of them was done)."""
    from transformers import StoppingCriteriaList
    ids, mask = padded(prompts, model.device)
    width, rows = ids.shape[1], len(prompts)
    criterion = Limits(width, limits or [max_new_tokens] * rows, model.device)
    torch.manual_seed(seed)
    out = model.generate(
        input_ids=ids, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, use_cache=True,
        max_new_tokens=max_new_tokens, eos_token_id=stops if limits is None else None, pad_token_id=stops[0],
        stopping_criteria=StoppingCriteriaList([criterion] if limits else []))
    if limits:
        assert out.shape[1] - width == max(limits), "generate did not go on to the longest row"
        return sum(limits), criterion.ticks
    stopped = torch.isin(out[:, width:], torch.tensor(stops, device=out.device)).int()
    return int((stopped.cumsum(1) - stopped == 0).sum()), []  # ids without a stop token before them


def static_decode(model, slots: int, context: int, steps: int):
    """A call whose seconds are the median of `steps` steps of generate's, around `context` tokens."""
    first = [[1 + i % 7 for i in range(context - steps // 2)]] * slots

    def call() -> float:
        _, ticks = static(model, first, [steps + 1] * slots, steps + 1, [0], 0)
        return median(b - a for a, b in zip(ticks, ticks[1:]))
    return call


def continuous(model, prompts: list[list[int]], limits: list[int] | None, max_new_tokens: int, stops: list[int], seed: int):
    """transformers' continuous batching; returns (useful tokens, seconds) without setting up and warming up.

    Unable, with its own words, where it does not run.
    """
    import logging

    from transformers import GenerationConfig
    from transformers.generation import ContinuousBatchingConfig
    from transformers.generation.continuous_batching.utils import WorkloadHints
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)
    longest, settings, before = max(map(len, prompts)), {"seed": seed}, model.config._attn_implementation
    if model.device.type == "cpu":  # left alone it takes most of the memory; of 256 to 4,096 tokens 512 was about its best
        settings |= {"num_blocks": len(prompts) * -(-(longest + max_new_tokens) // 256) + 1, "max_batch_tokens": 512}
    general = GenerationConfig(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=max_new_tokens,
                               eos_token_id=-1 if limits else stops, pad_token_id=stops[0])
    try:
        with torch.no_grad(), model.continuous_batching_context_manager(
                generation_config=general, continuous_batching_config=ContinuousBatchingConfig(**settings), block=True,
                timeout=5, workload_hints=WorkloadHints(longest, max_new_tokens, len(prompts))) as manager:
            began, done, tokens = time.perf_counter(), 0, 0
            for prompt, limit in zip(prompts, limits or [max_new_tokens] * len(prompts)):
                manager.add_request(prompt, max_new_tokens=limit)
            while done < len(prompts):
                result = manager.get_result(timeout=1)
                if result is None and not manager.is_running():
                    raise Unable("its thread ended before the requests were done")
                if result is not None and result.is_finished():
                    if result.error:
                        raise Unable(result.error)
                    done, tokens = done + 1, tokens + len(result.generated_tokens)
            seconds = time.perf_counter() - began
    except (ImportError, AttributeError, NotImplementedError, TypeError, ValueError, MemoryError) as error:
        raise Unable(str(error).splitlines()[0]) from error
    finally:
        if model.config._attn_implementation != before:  # transformers 5.17 leaves the paged kind behind
            model.set_attn_implementation(before)
    assert limits is None or tokens == sum(limits), "a response has not its imposed length"
    return tokens, seconds


def their_prefill(model, prompts: list[list[int]]):
    ids = torch.tensor(prompts, device=model.device)

    @torch.no_grad()
    def call():
        model(input_ids=ids, use_cache=True, logits_to_keep=1)
    return call


@torch.no_grad()
def their_logprobs(model, batches: list[list[sample.Rollout]]) -> None:
    """The log-probabilities of the responses: the head on response positions, all of a micro-batch's at once."""
    for rows in batches:
        device, longest = model.device, max(len(r.response) for r in rows)
        start = max(len(r.prompt) for r in rows)
        ids = torch.tensor([[0] * (start - len(r.prompt)) + r.prompt + r.response + [0] * (longest - len(r.response))
                            for r in rows], device=device)
        place = torch.arange(start + longest, device=device)
        mask = (place >= torch.tensor([[start - len(r.prompt)] for r in rows], device=device)) & (
            place < torch.tensor([[start + len(r.response)] for r in rows], device=device))
        logits = model(input_ids=ids, attention_mask=mask.long(), logits_to_keep=longest + 1, use_cache=False).logits
        logits[:, :-1].float().log_softmax(-1).gather(2, ids[:, start:, None])


# ---------------------------------------------------------------- TRL

class ForcedLengths:
    """A LogitsProcessor: no stop token before row b's length, nothing else at it."""

    def __init__(self, width: int, limits: list[int], stops: list[int]):
        self.width, self.limits, self.stops = width, torch.tensor(limits), stops

    def __call__(self, input_ids, scores):
        scores[:, self.stops] = float("-inf")
        last = (self.limits == input_ids.shape[1] - self.width + 1).to(scores.device)
        scores[last] = float("-inf")
        scores[last, self.stops[0]] = 0.0
        return scores


def impose(model, limits: list[int], stops: list[int]) -> None:
    """Make the model's own generate give row b `limits[b]` tokens, the last of them a stop token."""
    from transformers import LogitsProcessorList
    plain = type(model).generate

    def generate(**given):
        lengths = ForcedLengths(given["input_ids"].shape[1], limits, stops)
        return plain(model, **given, logits_processor=LogitsProcessorList([lengths]))
    model.generate = generate


@dataclass(frozen=True)
class TrlStep:
    """One step of GRPOTrainer, as like ours as it can be told."""
    texts: list[str]  # prompts
    group: int
    cuts: int  # micro-batches
    max_new_tokens: int
    steps: int
    clip_norm: float


def trl_trainer(model, tokenizer, step: TrlStep, rule, folder: str, on_step_end):
    """A GRPOTrainer; `rule(texts, completion ids, which prompt)` pays, `on_step_end()` is called after each step."""
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer
    rows, cuda = len(step.texts) * step.group, model.device.type == "cuda"

    def pay(completions, completion_ids, which, **_):
        assert len(completions) == rows, "TRL did not generate all rows at once"
        return rule(completions, completion_ids, which)

    class Turns(TrainerCallback):
        def on_step_end(self, *_, **__):
            on_step_end()

    config = GRPOConfig(
        folder, use_cpu=not cuda, bf16=cuda, gradient_checkpointing=False, max_steps=step.steps,
        per_device_train_batch_size=rows // step.cuts, gradient_accumulation_steps=step.cuts,
        steps_per_generation=step.cuts, num_generations=step.group, max_completion_length=step.max_new_tokens,
        temperature=1.0, top_k=0, top_p=1.0, beta=0.0, loss_type="dr_grpo", scale_rewards="none",
        max_grad_norm=step.clip_norm, learning_rate=LR, lr_scheduler_type="constant", shuffle_dataset=False,
        report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True, dataloader_pin_memory=False)
    data = Dataset.from_dict({"prompt": step.texts * step.steps, "which": [*range(len(step.texts))] * step.steps})
    trainer = GRPOTrainer(model, pay, config, data, processing_class=tokenizer, callbacks=[Turns()])
    trainer.remove_callback(PrinterCallback)
    return trainer


def training_config(**settings) -> train.TrainConfig:
    """What both of our steps are told: no warm-up of the learning rate, and a rate that moves nothing."""
    return replace(train.TrainConfig(), lr=LR, warmup=0, **settings)
