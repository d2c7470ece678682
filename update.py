"""The update: micro-batches of rollouts, their log-probs, the loss, one optimizer step; what to do when memory runs out."""
import sys
from contextlib import contextmanager
from dataclasses import replace

import torch
from tqdm import tqdm

import grpo
import model as lm
from config import Refusal
from engine.batches import micro_batches
from engine.device import default_budget


def update(model, optimizer, rollouts: list, advantage: torch.Tensor, lr: float, c, reference=None,
           on_policy: bool = False) -> dict:
    """One optimizer step on a list of rollouts with their advantages [B]; returns what to log of it.

    on_policy: these weights have drawn the rollouts, so the log-probs must be the sampler's (`check_gap`). Rows of
    advantage 0 cost no forward pass, but they stay in the denominators: they are zeros of the same mean.
    """
    step = grpo.Denominators(len(rollouts), sum(len(r.response) for r in rollouts), c.max_new_tokens)
    chosen = [i for i in range(len(rollouts)) if advantage[i] != 0 or c.kl_coef]  # the KL term acts on all rows
    stats = dict(loss=0.0, grad_norm=0.0, entropy=0.0, gap_sum=0.0, gap_max=0.0, clipped=0.0, kl=0.0, tokens=0,
                 positions=0, padding=0)
    loss_kind, is_packed = grpo.choose(c.loss, c.std, c.normaliser), model.packs
    long = [len(rollouts[i].prompt) + len(rollouts[i].response) for i in chosen]
    for batch in micro_batches(long, c.token_budget or default_budget(model.device), is_packed):
        rows = [rollouts[chosen[i]] for i in batch]
        prompts, responses = [r.prompt for r in rows], [r.response for r in rows]
        with torch.no_grad():  # first, while no activations of the model are kept
            ref = lm.response_logprobs(reference, prompts, responses, c.temperature)[0] if reference else None
        logprobs, entropy = lm.response_logprobs(model, prompts, responses, c.temperature)
        T = logprobs.shape[1]
        old = torch.tensor([r.logprobs + [0.0] * (T - len(r.logprobs)) for r in rows], device=model.device)
        lengths = torch.tensor([len(r) for r in responses], device=model.device)
        with torch.no_grad():
            gap = (logprobs - old).abs()
        A = advantage[[chosen[i] for i in batch]].to(model.device)
        loss, more = grpo.policy_loss(logprobs, old, A, lengths, loss_kind, step, c.clip_low, c.clip_high, ref,
                                      c.kl_coef, c.kl_kind)
        loss.backward()
        optimizer.accumulate()
        for name, value in (("loss", loss.item()), ("entropy", entropy.sum().item()), ("gap_sum", gap.sum().item()),
                            ("clipped", more["clipped"]), ("kl", more["kl"]), ("tokens", sum(map(len, responses))),
                            ("positions", sum(long[i] for i in batch)),
                            ("padding", 0 if is_packed else sum(long[batch[0]] - long[i] for i in batch))):
            stats[name] += value
        stats["gap_max"] = larger(stats["gap_max"], gap.max().item())
    if on_policy:
        try:
            check_gap(stats, c.max_logprob_gap, model.dtype)
        except Refusal:
            optimizer.drop_gradients()
            raise
    if chosen:
        stats["grad_norm"] = optimizer.step(lr, c.clip_norm)
    return stats


def larger(a: float, b: float) -> float:
    """The larger of two numbers; NaN if one of them is, so that it stays seen to the end of a step."""
    return torch.tensor([a, b]).max().item()


def check_gap(stats: dict, limit: float, dtype: torch.dtype) -> None:
    """A Refusal if sampler and trainer compute different things.

    In fp32 no log-prob may differ by more than `limit`. In bf16 rounding moves single ones further; there the mean may
    not pass a hundred times that. 0 is off.
    """
    if not limit or not stats["tokens"]:
        return
    if dtype == torch.float32:
        what, gap = "a log-prob differs by", stats["gap_max"]
    else:
        what, gap, limit = "log-probs differ on average by", stats["gap_sum"] / stats["tokens"], 100 * limit
    if not gap <= limit:  # so that a gap that is no number does not pass
        raise Refusal(f"sampler and trainer disagree before the first update: {what} {gap:.2g}, {limit:g} is allowed; they "
                      "compute different things, and the gradient would be wrong (--max-logprob-gap 0 goes on all the same)")


def ran_out(error: RuntimeError) -> bool:
    """Whether this is the allocator's error or, from outside of it (a kernel that is loaded, a graph), the driver's."""
    return isinstance(error, torch.OutOfMemoryError) or (isinstance(error, torch.AcceleratorError)
                                                         and "out of memory" in str(error))


@contextmanager
def out_of_memory(advice: str):
    """Running out of GPU memory becomes a Refusal that says what to change."""
    try:
        yield
    except RuntimeError as error:
        if not ran_out(error):
            raise
        raise Refusal(f"out of GPU memory {advice}; --resume takes them") from None


def update_or_retry(this, rollouts: list, advantage: torch.Tensor, lr: float, on_policy: bool = False) -> dict:
    """`update`; if memory runs out, for once in a run, again from its start with half the token budget.

    The gradient is the same but for rounding: denominators are the whole step's, and no weight has moved yet.
    """
    if not this.halved:
        try:
            return update(this.model, this.optimizer, rollouts, advantage, lr, this.c, this.reference, on_policy)
        except RuntimeError as error:
            if not ran_out(error):
                raise
            this.halved = True  # and on below, where no traceback holds the tensors of the failed pass
        this.optimizer.drop_gradients()
        if this.resident:
            this.resident = False
            this.decoder.release()
        torch.cuda.empty_cache()
        budget = this.c.token_budget or default_budget(this.model.device)
        this.c = replace(this.c, token_budget=max(1, budget // 2))
        tqdm.write(f"step {this.step + 1}: out of GPU memory in the update; --token-budget {budget} becomes "
                   f"{this.c.token_budget} for the rest of this run, and the update is repeated", file=sys.stderr)
    with out_of_memory("in the update: lower --token-budget, add --gradient-checkpointing or --offload-optimizer"):
        return update(this.model, this.optimizer, rollouts, advantage, lr, this.c, this.reference, on_policy)
