"""transformers' side of a comparison: its two ways to generate, its prefill and its log-probs.

All sides have the same weights, prompts and response lengths (side_ours.py).
"""

import logging
import time
from statistics import median

import torch

import sample
from speed.measure import Unable, synchronize

# What transformers raises where its continuous batching does not run.
FAILURES = (
    ImportError,
    AttributeError,
    NotImplementedError,
    TypeError,
    ValueError,
    MemoryError,
)


# ---------------------------------------------------------------- one static batch


def padded(prompts: list[list[int]], device) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask) [B, T] of prompts with padding on the left."""
    width = max(map(len, prompts))
    ids = []
    mask = []
    for prompt in prompts:
        padding = [0] * (width - len(prompt))
        ids.append(padding + prompt)
        mask.append(padding + [1] * len(prompt))
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


class Limits:
    """A StoppingCriteria: row b ends at limits[b]. Notes when each token was complete."""

    def __init__(self, width: int, limits: list[int], device):
        self.width = width
        self.limits = torch.tensor(limits, device=device)
        self.ticks = []

    def __call__(self, input_ids, scores, **_):
        synchronize(input_ids.device)  # generate itself looks at the device after every token
        self.ticks.append(time.perf_counter())
        return input_ids.shape[1] - self.width >= self.limits


def static(
    model,
    prompts: list[list[int]],
    limits: list[int] | None,
    max_new_tokens: int,
    stops: list[int],
    seed: int,
) -> tuple[int, list[float]]:
    """transformers' generate, all rows in one left-padded batch.

    Returns (useful tokens, when each of them was done); the times are there for imposed lengths
    alone.
    """
    from transformers import StoppingCriteriaList

    ids, mask = padded(prompts, model.device)
    width = ids.shape[1]
    criteria = []
    eos_token_id = stops
    if limits:
        criteria = [Limits(width, limits, model.device)]
    if limits is not None:
        eos_token_id = None
    torch.manual_seed(seed)
    out = model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        use_cache=True,
        max_new_tokens=max_new_tokens,
        eos_token_id=eos_token_id,
        pad_token_id=stops[0],
        stopping_criteria=StoppingCriteriaList(criteria),
    )
    if limits:
        assert out.shape[1] - width == max(limits), "generate did not go on to the longest row"
        return sum(limits), criteria[0].ticks
    return useful_tokens(out[:, width:], stops), []


def useful_tokens(responses: torch.Tensor, stops: list[int]) -> int:
    """The ids of responses [B, T] without a stop token before them."""
    is_stop = torch.isin(responses, torch.tensor(stops, device=responses.device)).int()
    stops_before = is_stop.cumsum(1) - is_stop
    return int((stops_before == 0).sum())


def static_decode(model, slots: int, context: int, steps: int):
    """A call that decodes `steps` tokens by generate, around `context` tokens.

    Its seconds are the median of those of its steps.
    """
    prompt = [1 + i % 7 for i in range(context - steps // 2)]
    prompts = [prompt] * slots
    limits = [steps + 1] * slots

    def call() -> float:
        _, ticks = static(model, prompts, limits, steps + 1, [0], 0)
        return median(after - before for before, after in zip(ticks, ticks[1:]))

    return call


# ---------------------------------------------------------------- continuous batching


def continuous(
    model,
    prompts: list[list[int]],
    limits: list[int] | None,
    max_new_tokens: int,
    stops: list[int],
    seed: int,
) -> tuple[int, float]:
    """transformers' continuous batching: (useful tokens, seconds without setting up).

    Unable, with its own words, where it does not run.
    """
    from transformers import GenerationConfig
    from transformers.generation import ContinuousBatchingConfig
    from transformers.generation.continuous_batching.utils import WorkloadHints

    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)
    before = model.config._attn_implementation
    batching = batching_settings(model, prompts, max_new_tokens, seed)
    longest = max(map(len, prompts))
    general = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=max_new_tokens,
        eos_token_id=-1 if limits else stops,
        pad_token_id=stops[0],
    )
    try:
        with (
            torch.no_grad(),
            model.continuous_batching_context_manager(
                generation_config=general,
                continuous_batching_config=ContinuousBatchingConfig(**batching),
                block=True,
                timeout=5,
                workload_hints=WorkloadHints(longest, max_new_tokens, len(prompts)),
            ) as manager,
        ):
            began = time.perf_counter()
            tokens = served(manager, prompts, limits or [max_new_tokens] * len(prompts))
            seconds = time.perf_counter() - began
    except FAILURES as error:
        raise Unable(str(error).splitlines()[0]) from error
    finally:
        if model.config._attn_implementation != before:
            model.set_attn_implementation(before)  # transformers 5.17 leaves the paged kind behind
    if limits is not None:
        assert tokens == sum(limits), "a response has not its imposed length"
    return tokens, seconds


def batching_settings(model, prompts: list[list[int]], max_new_tokens: int, seed: int) -> dict:
    """Settings of continuous batching, on a CPU with its memory and the work of one pass."""
    if model.device.type != "cpu":
        return {"seed": seed}
    # Left alone it takes most of the memory; of 256 to 4,096 tokens 512 was about its best.
    longest = max(map(len, prompts)) + max_new_tokens
    blocks = -(-longest // 256)
    return {"seed": seed, "num_blocks": len(prompts) * blocks + 1, "max_batch_tokens": 512}


def served(manager, prompts: list[list[int]], limits: list[int]) -> int:
    """The tokens of all requests, handed in together and waited for."""
    for prompt, limit in zip(prompts, limits):
        manager.add_request(prompt, max_new_tokens=limit)
    done = 0
    tokens = 0
    while done < len(prompts):
        result = manager.get_result(timeout=1)
        if result is None:
            if not manager.is_running():
                raise Unable("its thread ended before the requests were done")
        elif result.is_finished():
            if result.error:
                raise Unable(result.error)
            done += 1
            tokens += len(result.generated_tokens)
    return tokens


# ---------------------------------------------------------------- single passes


def their_prefill(model, prompts: list[list[int]]):
    """A call that fills a cache with prompts of one length."""
    ids = torch.tensor(prompts, device=model.device)

    @torch.no_grad()
    def call():
        model(input_ids=ids, use_cache=True, logits_to_keep=1)

    return call


@torch.no_grad()
def their_logprobs(model, batches: list[list[sample.Rollout]]) -> None:
    """The log-probabilities of the responses, a micro-batch at a time.

    The head runs on response positions, on all of a micro-batch's at once.
    """
    for rollouts in batches:
        start = max(len(rollout.prompt) for rollout in rollouts)
        longest = max(len(rollout.response) for rollout in rollouts)
        ids, mask = aligned(rollouts, start, longest, model.device)
        logits = model(
            input_ids=ids, attention_mask=mask, logits_to_keep=longest + 1, use_cache=False
        ).logits
        logprobs = logits[:, :-1].float().log_softmax(-1)
        logprobs.gather(2, ids[:, start:, None])


def aligned(
    rollouts: list[sample.Rollout], start: int, longest: int, device
) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask) [B, start + longest] of rollouts whose responses all begin at `start`."""
    ids = []
    mask = []
    for rollout in rollouts:
        before = start - len(rollout.prompt)
        tokens = rollout.prompt + rollout.response
        after = longest - len(rollout.response)
        ids.append([0] * before + tokens + [0] * after)
        mask.append([0] * before + [1] * len(tokens) + [0] * after)
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
