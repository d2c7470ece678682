"""The loop: sample groups, reward them, turn rewards into advantages, update, log, evaluate, save.

    python train.py                                    # the embedded base learns Countdown
    python train.py --loss grpo --seed 1 --out runs/grpo
    python train.py --resume runs/grpo

Read `train_step` first. Below it stand the parts of a step in their order, then the training around
the steps, how a run is opened, and last the settings.

A step is a pure function of the weights, the optimizer's state, the seed and the step's number:
problems and draws are seeded by (seed, step). So a checkpoint needs no random generator's state,
and a resumed run repeats an undisturbed one (on a GPU up to rounding: the backward pass of its
attention adds in no fixed order).

Left out on purpose: several GPUs, asynchronous sampling.
"""

from __future__ import annotations

import json
import math
import random
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from tqdm import tqdm

import estimators
import grpo
import model as lm
import ppo
import reward
import sample
import tasks
from config import (
    NotFinite,
    UserError,
    check_settings,
    check_values,
    flag_of,
    named,
    parse,
    run_program,
    setting,
)
from engine import memory
from engine.batches import micro_batches
from engine.decoder import Decoder
from engine.device import DTYPES, default_budget, on_device, pick_device, pick_dtype
from engine.optimizer import MasterAdamW
from engine.plan import out_of_memory, plan_memory, ran_out
from eval import evaluate
from evaluation import benchmarks, ending, logs, metrics, page, tokens
from reward import STYLES
from storage import model_folder, pinned, runs, sources
from storage.folders import new_folder, write_file
from tasks import files

# ---------------------------------------------------------------- a run


@dataclass
class Run:
    """A training under way: everything that a step needs."""

    config: TrainConfig
    folder: Path
    model: lm.Transformer
    tokenizer: object
    optimizer: MasterAdamW
    problems: str | list  # to train on: a task's name, or problems of --data
    held_out: list  # problems to evaluate on
    suite: dict[str, list]  # benchmarks to evaluate on as well
    reference: lm.Transformer | None  # the starting model or a later copy, for the KL term
    teacher: lm.Transformer | None = None  # of --teacher
    critic: ppo.Critic | None = None  # of PPO
    critic_optimizer: MasterAdamW | None = None
    decoder: Decoder | None = None  # the sampler's buffers and graphs
    cache_stays: bool = True  # they stay in memory during the update
    token_budget: int = 2048  # tokens of a micro-batch
    budget_halved: bool = False  # because memory ran out once
    step: int = 0  # steps done
    token_log: list | None = None  # lines for tokens.jsonl, while these are wanted
    seconds: float = 0.0  # spent in steps and evaluations, earlier sittings included
    lock: object = None  # held while a process works on the run

    def sampling(self) -> sample.Sampling:
        """How rollouts are drawn."""
        return sample.Sampling(
            self.config.max_new_tokens,
            self.config.temperature,
            stop_strings=tasks.stop_strings(self.config.template, self.config.stop),
        )

    def seed(self, purpose: str) -> int:
        """A seed for one purpose in the present step."""
        return random.Random(f"{purpose}/{self.config.seed}/{self.step}").getrandbits(62)


# ---------------------------------------------------------------- one step


def train_step(run: Run) -> tuple[dict, list[dict]]:
    """Sample, reward, advantage, update.

    Returns the step's line for metrics.jsonl, and its first two groups in full for rollouts.jsonl.
    Their lines for tokens.jsonl are added to `run.token_log`, if there is one.
    """
    config = run.config
    timer = Timer()

    # 1. Problems, a group of rollouts for each, and what each rollout earns: it is graded while
    #    others still decode.
    problems = tasks.batch(run.problems, config.seed, run.step, config.prompts_per_step)
    with out_of_memory(sampling_advice(run)):
        rollouts, grades = sample_and_grade(run, problems, timer)
        redrawn = redraw_equal_groups(run, problems, rollouts, grades, timer)
    make_room_for_update(run)

    # 2. What they earned becomes advantages: within each group, or a token's own by a critic. A
    #    teacher adds what it says of each token.
    rewards = rewards_of(config, rollouts, grades)  # (P, G)
    timer.stop("reward")
    of_readers = {}
    if config.algorithm == "ppo":
        advantage, of_readers = critic_advantages(run, rollouts, rewards.flatten())  # (P * G, T)
        timer.stop("critic")
    else:
        advantage = group_advantages(config, rewards, grades)  # (P * G,)
    if run.teacher:
        advantage, of_readers = teacher_advantages(run, rollouts, advantage)  # (P * G, T)
        timer.stop("teacher")
    looks = None
    if run.token_log is not None:  # before the weights move
        looks = look_at_groups(run, rollouts)
        timer.stop("tokens")

    # 3. Loss, backward and the optimizer's step: see `update`. One step, unless
    #    --updates-per-step asks for more.
    lr = learning_rate(config, run.step)
    updates = update_in_parts(run, rollouts, advantage, lr)
    timer.stop("update")

    # 4. What the logs say of it.
    if run.token_log is not None:
        record_tokens(run, problems, rollouts, grades, looks, advantage)
        timer.stop("tokens")
        seconds = timer.seconds.pop("seconds_tokens")
        run.token_log.append(tokens.cost_line(run.step + 1, seconds))
    line = {
        "step": run.step + 1,
        **metrics.reward_metrics(rollouts, grades, rewards),
        **redrawn,
        **metrics.update_metrics(updates, config.kl_coef != 0),
        **of_readers,
        "lr": lr,
        **timer.seconds,
        # seconds_reward is what the step waited for grading after sampling. The share counts all
        # processor time of grading, most of it beside the sampler: the most that it can cost.
        "grading_share": sum(grade.seconds for grade in grades) / timer.total,
        "tokens_per_second": sum(len(r.response) for r in rollouts) / timer.total,
    }
    return line, metrics.logged_groups(run.step + 1, problems, rollouts, grades, advantage)


class Timer:
    """The seconds of a step's parts: each `stop` ends a part that began at the last one."""

    def __init__(self):
        self.seconds = {}
        self.total = 0.0
        self.began = time.time()

    def stop(self, part: str) -> None:
        now = time.time()
        name = f"seconds_{part}"
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self.began
        self.total += now - self.began
        self.began = now


# ---------------------------------------------------------------- sampling and grading


@dataclass
class Grade:
    """A response as text, and what it earned."""

    text: str
    reward: reward.Reward
    seconds: float  # processor time of grading


def sample_and_grade(
    run: Run, problems: list, timer: Timer, purpose: str = "draws"
) -> tuple[list, list[Grade]]:
    """A group of rollouts for each problem, and their grades, in one order.

    A rollout is graded as soon as it is complete, in a thread beside the sampler: a grade depends
    on nothing else. purpose: names the seed of the draws.
    """
    config = run.config
    vocabulary = run.model.config.vocab_size
    prompts = tasks.encode_prompts(problems, config.template, run.tokenizer, vocabulary)
    grading = {}

    def grade(i: int, rollout: sample.Rollout) -> Grade:
        began = time.thread_time()
        text = sample.text_of(run.model, run.tokenizer, rollout.response)
        problem = problems[i // config.group_size]
        earned = reward.score(config.reward, text, problem, rollout.finished, config.answer_style)
        return Grade(text, earned, time.thread_time() - began)

    with ThreadPoolExecutor(1) as pool:

        def on_done(i: int, rollout: sample.Rollout) -> None:
            grading[i] = pool.submit(grade, i, rollout)

        rollouts = sample.generate(
            run.model,
            run.tokenizer,
            prompts,
            run.sampling(),
            config.group_size,
            run.seed(purpose),
            on_done=on_done,
            decoder=run.decoder,
        )
        timer.stop("sample")
        grades = [grading[i].result() for i in range(len(rollouts))]
    return rollouts, grades


def redraw_equal_groups(
    run: Run, problems: list, rollouts: list, grades: list[Grade], timer: Timer
) -> dict:
    """Put groups of other problems in the place of groups of equal rewards, in all three lists.

    Up to --dynamic-sampling times, until each group has something to compare (DAPO, arXiv
    2503.14476, section 3.2). Problems and draws are seeded by seed, step and attempt. Returns what
    to log of the cost; empty if this is off.
    """
    config = run.config
    if not config.dynamic_sampling:
        return {}
    size = config.group_size
    drawn = [grade.reward.accuracy for grade in grades]
    given_up = 0
    tokens_given_up = 0
    known = [*problems]  # those given up among them: they had their draws by these weights
    for attempt in range(1, config.dynamic_sampling + 1):
        totals = torch.tensor([grade.reward.total for grade in grades]).view(-1, size)
        equal = grpo.equal_groups(totals).nonzero()[:, 0].tolist()
        others = tasks.other_problems(
            run.problems, config.seed, run.step, attempt, len(equal), known
        )
        if not others:
            break
        known += others
        new_rollouts, new_grades = sample_and_grade(run, others, timer, f"draws/{attempt}")
        drawn += [grade.reward.accuracy for grade in new_grades]
        given_up += len(others)
        for k, g in enumerate(equal[: len(others)]):
            group = slice(g * size, (g + 1) * size)
            new = slice(k * size, (k + 1) * size)
            tokens_given_up += sum(len(rollout.response) for rollout in rollouts[group])
            problems[g] = others[k]
            rollouts[group] = new_rollouts[new]
            grades[group] = new_grades[new]
    return {
        "redrawn_groups": given_up,
        "redrawn_tokens": tokens_given_up,
        # of all that was drawn: what is kept has been chosen by its rewards
        "accuracy_drawn": metrics.mean(drawn),
    }


def rewards_of(config: TrainConfig, rollouts: list, grades: list[Grade]) -> torch.Tensor:
    """What the step's rollouts count for [P, G]: what they earned, less what their length costs."""
    totals = torch.tensor([grade.reward.total for grade in grades])
    if config.overlong_buffer:
        lengths = torch.tensor([len(rollout.response) for rollout in rollouts])
        totals = totals + estimators.overlong_penalty(
            lengths, config.max_new_tokens, config.overlong_buffer
        )
    return totals.view(-1, config.group_size)


def group_advantages(config: TrainConfig, rewards: torch.Tensor, grades: list[Grade]):
    """Advantages [P * G] of rollouts that earned rewards [P, G].

    0 under --algorithm distill: there a teacher alone says what is better.
    """
    if config.algorithm == "distill":
        return torch.zeros(rewards.numel())
    accuracy = torch.tensor([grade.reward.accuracy for grade in grades]).view(rewards.shape)
    return estimators.advantages(rewards, accuracy, config.estimator).flatten()


def critic_advantages(run: Run, rollouts: list[sample.Rollout], rewards: torch.Tensor):
    """PPO's advantages [B, T] of rollouts that earned rewards [B], and what to log of them.

    Each rollout keeps what the critic says of its tokens, and what it should have said.
    """
    config = run.config
    with out_of_memory("while the critic reads: lower --token-budget"):
        values, kl = read_by_critic(run, rollouts)
    lengths = torch.tensor([len(rollout.response) for rollout in rollouts])
    of_tokens = ppo.shaped_rewards(rewards, lengths, kl, config.kl_coef)
    advantage, returns = ppo.gae(of_tokens, values, lengths, config.gamma, config.gae_lambda)
    for i, rollout in enumerate(rollouts):
        rollout.values = values[i, : lengths[i]].tolist()
        rollout.returns = returns[i, : lengths[i]].tolist()
    tokens = lengths.sum()
    log = {
        "value_mean": (values.sum() / tokens).item(),
        "explained_variance": ppo.explained_variance(values, returns, lengths),
        # No ill here: a critic learns from a group of equal rewards, and the policy by it.
        "equal_groups": None,
    }
    if run.reference:
        log["kl"] = (kl.sum() / tokens).item()
    if config.whiten:
        advantage = ppo.whiten(advantage, lengths)
    return advantage, log


@torch.no_grad()
def read_by_critic(run: Run, rollouts: list[sample.Rollout]) -> tuple[torch.Tensor, torch.Tensor]:
    """(values, k1 to the reference) of each token [B, T], on the CPU, before a weight moves.

    0 beyond a row's length, and where there is no reference.
    """
    longest = max(len(rollout.response) for rollout in rollouts)
    values = torch.zeros(len(rollouts), longest)
    kl = torch.zeros(len(rollouts), longest)
    prompts = [rollout.prompt for rollout in rollouts]
    reader = run.critic.body or run.model
    shared = lm.SharedPrompts(reader, prompts, run.token_budget)
    if run.reference:
        prompts_of_reference = lm.SharedPrompts(run.reference, prompts, run.token_budget)
    for batch in micro_batches(costs_of(rollouts), run.token_budget, run.model.packs):
        rows = [rollouts[i] for i in batch]
        prompts = [row.prompt for row in rows]
        responses = [row.response for row in rows]
        of_rows = lm.in_rows(run.critic(shared.states(prompts, responses)), responses)
        T = of_rows.shape[1]
        values[batch, :T] = of_rows.cpu()
        if run.reference:
            at_reference, _ = prompts_of_reference.response_logprobs(
                prompts, responses, run.config.temperature
            )
            drawn = padded([row.logprobs for row in rows], T, at_reference.device)
            kl[batch, :T] = (drawn - at_reference).cpu()
    return values, kl


def teacher_advantages(run: Run, rollouts: list[sample.Rollout], advantage: torch.Tensor):
    """Advantages [B, T] of rollouts that have some [B] already, and what to log of the teacher."""
    config = run.config
    with out_of_memory("while the teacher reads: lower --token-budget"):
        logprobs, teacher_logprobs = read_by_teacher(run, rollouts)
    distance = estimators.kl_estimate(logprobs, teacher_logprobs, "k1")
    tokens = sum(len(rollout.response) for rollout in rollouts)
    log = {"teacher_kl": (distance.sum() / tokens).item()}
    if config.algorithm == "distill":
        log["equal_groups"] = None  # no ill here: the policy learns from them as from others
    advantage = estimators.with_teacher(advantage, logprobs, teacher_logprobs, config.teacher_coef)
    return advantage, log


@torch.no_grad()
def read_by_teacher(run: Run, rollouts: list[sample.Rollout]) -> tuple[torch.Tensor, torch.Tensor]:
    """(log-probs by the policy, by the teacher) of each token [B, T], on the CPU, before a weight
    moves; 0 beyond a row's length.

    The policy's are the trainer's, in the teacher's own micro-batches, and not the sampler's: so
    what rounding does to both is the same, and a teacher with the policy's weights has advantages
    of exactly 0.
    """
    longest = max(len(rollout.response) for rollout in rollouts)
    logprobs = torch.zeros(len(rollouts), longest)
    teacher_logprobs = torch.zeros(len(rollouts), longest)
    prompts = [rollout.prompt for rollout in rollouts]
    by_policy = lm.SharedPrompts(run.model, prompts, run.token_budget)
    by_teacher = lm.SharedPrompts(run.teacher, prompts, run.token_budget)
    for batch in micro_batches(costs_of(rollouts), run.token_budget, run.model.packs):
        prompts = [rollouts[i].prompt for i in batch]
        responses = [rollouts[i].response for i in batch]
        temperature = run.config.temperature
        own, _ = by_policy.response_logprobs(prompts, responses, temperature)
        theirs, _ = by_teacher.response_logprobs(prompts, responses, temperature)
        T = own.shape[1]
        logprobs[batch, :T] = own.cpu()
        teacher_logprobs[batch, :T] = theirs.cpu()
    return logprobs, teacher_logprobs


def make_room_for_update(run: Run) -> None:
    """Give the KV cache's memory back, unless there is room for it during the update."""
    if not run.cache_stays:
        run.decoder.release()
        # Its blocks: what the update leaves in them would be in the next cache's way.
        torch.cuda.empty_cache()


# ---------------------------------------------------------------- the update


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of a step, counted from 0: linear warm-up, then as --lr-schedule says.

    linear and cosine begin at --lr and would be at its --lr-floor in the step after the last. It is
    0 for the first --critic-warmup steps, and --warmup counts from step 0 all the same.
    """
    if config.algorithm == "ppo" and step < config.critic_warmup:
        return 0.0
    if step < config.warmup:
        return config.lr * ((step + 1) / config.warmup)
    if config.lr_schedule == "constant":
        return config.lr
    floor = config.lr_floor * config.lr
    to_come = config.steps - step
    falling = config.steps - config.warmup  # steps
    if config.lr_schedule == "linear":
        return floor + (config.lr - floor) * to_come / falling
    height = (1 - math.cos(math.pi * to_come / falling)) / 2  # from 1 down to 0
    return floor + (config.lr - floor) * height


def update_in_parts(run: Run, rollouts: list, advantage: torch.Tensor, lr: float) -> list[dict]:
    """Divide a step's groups at random among --updates-per-step optimizer steps.

    A group stays together, for its prompt is computed once. Returns what `update` logs of each.
    """
    count = run.config.updates_per_step
    size = run.config.group_size
    if run.config.estimator.importance == "tis" and count > 1:
        with out_of_memory("before the update: lower --token-budget"):
            keep_logprobs(run, rollouts)
    groups = torch.arange(len(rollouts)).view(-1, size).tolist()
    random.Random(run.seed("order")).shuffle(groups)
    updates = []
    moved = False  # until the weights move they are those that drew the rollouts
    for k in range(count):
        part = [i for group in groups[k::count] for i in group]
        stats = update_or_retry(
            run, [rollouts[i] for i in part], advantage[part], lr, on_policy=not moved
        )
        moved = moved or stats["tokens"] > 0
        updates.append(stats)
    torch.cuda.empty_cache()  # the sampler makes blocks of other sizes
    return updates


@torch.no_grad()
def keep_logprobs(run: Run, rollouts: list[sample.Rollout]) -> None:
    """Let each rollout keep the trainer's log-probs, before the weights move."""
    prompts = [rollout.prompt for rollout in rollouts]
    shared = lm.SharedPrompts(run.model, prompts, run.token_budget)
    for batch in micro_batches(costs_of(rollouts), run.token_budget, run.model.packs):
        rows = [rollouts[i] for i in batch]
        logprobs, _ = shared.response_logprobs(
            [row.prompt for row in rows], [row.response for row in rows], run.config.temperature
        )
        for row, values in zip(rows, logprobs):
            row.trainers = values[: len(row.response)].tolist()


# In a micro-batch of responses only keys and values of their prompts are read: so many tokens of a
# prompt count as one token that is computed.
PROMPT_TOKENS_PER_TOKEN = 8


def costs_of(rollouts: list[sample.Rollout]) -> list[int]:
    """What each rollout takes of the token budget, its prompt being shared."""
    costs = []
    for rollout in rollouts:
        costs.append(len(rollout.response) + len(rollout.prompt) // PROMPT_TOKENS_PER_TOKEN)
    return costs


def update(
    model: lm.Transformer,
    optimizer: MasterAdamW,
    rollouts: list[sample.Rollout],
    advantage: torch.Tensor,
    lr: float,
    config: TrainConfig,
    reference: lm.Transformer | None = None,
    on_policy: bool = False,
    token_budget: int = 0,
    critic: ppo.Critic | None = None,
    critic_optimizer: MasterAdamW | None = None,
) -> dict:
    """One optimizer step on rollouts with their advantages [B]; returns what to log of it.

    With a critic, whose optimizer takes a step too, or a teacher, advantages are [B, T].
    on_policy: these weights have drawn the rollouts, so the log-probs must be the sampler's
    (`check_gap`). token_budget: 0 is the configuration's. Without KL and entropy bonus, rows of
    advantage 0 cost no forward pass, but they stay in the denominators: they are zeros of the same
    mean.
    """
    # 1. What the sums are divided by; then what has no gradient is left out.
    rollouts, advantage, denominators = with_gradient(rollouts, advantage, config)

    # 2. The gradient of the whole step, in micro-batches.
    stats = add_gradients(
        model,
        optimizer,
        rollouts,
        advantage,
        denominators,
        config,
        token_budget or config.token_budget or default_budget(model.device),
        reference,
        critic,
        critic_optimizer,
    )

    # 3. Check, then let the weights move.
    if on_policy:
        try:
            check_gap(stats, config.max_logprob_gap, model.dtype)
        except UserError:
            optimizer.drop_gradients()
            if critic:
                critic_optimizer.drop_gradients()
            raise
    if rollouts:
        stats["grad_norm"] = optimizer.step(lr, config.clip_norm)
    if rollouts and critic:
        stats["critic_grad_norm"] = critic_optimizer.step(config.critic_lr, config.clip_norm)
    return stats


def add_gradients(
    model: lm.Transformer,
    optimizer: MasterAdamW,
    rollouts: list[sample.Rollout],
    advantage: torch.Tensor,
    denominators: grpo.Denominators,
    config: TrainConfig,
    budget: int,
    reference: lm.Transformer | None,
    critic: ppo.Critic | None,
    critic_optimizer: MasterAdamW | None,
) -> dict:
    """Put a step's gradient into the optimizers' sums, and return what to log of it.

    rollouts, with their advantages [B] or [B, T], and denominators are those of `with_gradient`;
    budget: tokens of a micro-batch. No weight moves.
    """
    # 1. Each prompt is computed once, for its whole group.
    prompts = [rollout.prompt for rollout in rollouts]
    shared = lm.SharedPrompts(model, prompts, budget)
    prompts_of_reference = None
    if reference and not critic:
        with torch.no_grad():
            prompts_of_reference = lm.SharedPrompts(reference, prompts, budget)
    held = shared.held
    prompts_of_critic = None
    if critic and critic.body:
        prompts_of_critic = lm.SharedPrompts(critic.body, prompts, budget)
        held += prompts_of_critic.held

    # 2. Micro-batches: their gradients add up to that of the whole step.
    figures = []  # of each micro-batch, on the model's device
    padding = 0
    for batch in micro_batches(costs_of(rollouts), budget - held, model.packs):
        rows = [rollouts[i] for i in batch]
        loss, found = micro_batch_loss(
            shared,
            rows,
            advantage[batch].to(model.device),
            denominators,
            config,
            prompts_of_reference,
            critic,
            prompts_of_critic,
        )
        loss.backward()
        optimizer.accumulate()
        if critic:
            critic_optimizer.accumulate()
        figures.append(found)
        if not model.packs:
            lengths = [len(row.response) for row in rows]
            padding += max(lengths) * len(rows) - sum(lengths)
    shared.backward()
    optimizer.accumulate()
    if prompts_of_critic:
        prompts_of_critic.backward()
        critic_optimizer.accumulate()

    # 3. What they were like.
    stats = step_stats(figures)
    stats["tokens"] = sum(len(rollout.response) for rollout in rollouts)
    stats["padding"] = padding
    if critic:
        stats["critic_grad_norm"] = 0.0  # of no rollouts, as the policy's
    return stats


def with_gradient(
    rollouts: list[sample.Rollout], advantage: torch.Tensor, config: TrainConfig
) -> tuple[list[sample.Rollout], torch.Tensor, grpo.Denominators]:
    """(the rollouts that an optimizer step trains on, their advantages, the step's denominators).

    Denominators are counted over all rollouts, before any is left out for its advantage of 0.
    """
    # With --overlong-filtering those that hit the limit are rows without tokens (DAPO, section
    # 3.4).
    rows = len(rollouts)
    if config.overlong_filtering:
        finished = [i for i in range(rows) if rollouts[i].finished]
        rollouts = [rollouts[i] for i in finished]
        advantage = advantage[finished]
    tokens = sum(len(rollout.response) for rollout in rollouts)
    denominators = grpo.Denominators(rows, tokens, config.max_new_tokens)
    # A rollout of advantage 0 has gradient 0, but for the terms that act on all.
    if not config.trains_on_all:
        kept = advantage.nonzero()[:, 0].tolist()
        rollouts = [rollouts[i] for i in kept]
        advantage = advantage[kept]
    return rollouts, advantage, denominators


# The figures of a micro-batch whose sum over a step is wanted; of the last one the largest is.
FIGURES = ("loss", "entropy", "gap_sum", "clipped", "kl", "value_loss", "value_clipped", "gap_max")


def step_stats(figures: list[torch.Tensor]) -> dict:
    """What to log of a step's micro-batches, from the figures of each, in the order of FIGURES.

    The host waits for a GPU here, once a step.
    """
    stats = dict.fromkeys(FIGURES, 0.0) | dict(grad_norm=0.0)
    if not figures:
        return stats
    found = torch.stack(figures).cpu()  # (micro-batches, figures)
    for name, values in zip(FIGURES, found.T.tolist()):
        stats[name] = sum(values)
    # NaN if one of them is, so that it stays seen to the end.
    stats["gap_max"] = found[:, FIGURES.index("gap_max")].max().item()
    return stats


def micro_batch_loss(
    shared: lm.SharedPrompts,
    rows: list[sample.Rollout],
    advantage: torch.Tensor,
    denominators: grpo.Denominators,
    config: TrainConfig,
    prompts_of_reference: lm.SharedPrompts | None,
    critic: ppo.Critic | None = None,
    prompts_of_critic: lm.SharedPrompts | None = None,
):
    """The loss of some rollouts with their advantages [B] or, of each token, [B, T].

    Returns (loss, its FIGURES as one tensor, fp64).
    """
    prompts = [row.prompt for row in rows]
    responses = [row.response for row in rows]
    at_reference = None
    if prompts_of_reference:
        with torch.no_grad():  # first, while no activations of the model are kept
            at_reference, _ = prompts_of_reference.response_logprobs(
                prompts, responses, config.temperature
            )
    if critic and not critic.body:  # it reads the states that the policy predicts from
        states = shared.states(prompts, responses)
        logprobs, entropy = lm.logprobs_at(shared.model, states, responses, config.temperature)
    else:
        logprobs, entropy = shared.response_logprobs(prompts, responses, config.temperature)
    T = logprobs.shape[1]
    if advantage.dim() == 2:  # of each token: cut to these rows' longest
        advantage = advantage[:, :T]
    device = logprobs.device
    sampled = padded([row.logprobs for row in rows], T, device)  # (B, T), the sampler's log-probs
    old = sampled
    if config.estimator.importance == "tis":  # those of the trainer: these, if nothing has moved
        old = logprobs.detach()
        if config.updates_per_step > 1:
            old = padded([row.trainers for row in rows], T, device)
    lengths = on_device([len(response) for response in responses], device)
    for row, values in zip(rows, logprobs.detach()):
        row.updated = values[: len(row.response)]
    if critic:
        if critic.body:
            states = prompts_of_critic.states(prompts, responses)
        loss, more = ppo.loss(
            logprobs,
            old,
            advantage,
            lengths,
            lm.in_rows(critic(states), responses),
            padded([row.values for row in rows], T, device),
            padded([row.returns for row in rows], T, device),
            entropy,
            denominators,
            config,
        )
    else:
        loss, more = estimators.policy_loss(
            logprobs,
            old,
            advantage,
            lengths,
            config.estimator,
            denominators,
            at_reference,
            config.kl_coef,
            config.kl_kind,
            entropy,
            config.entropy_coef,
            sampled,
        )
    gap = (logprobs.detach() - sampled).abs()
    more["loss"] = loss.detach()
    more["entropy"] = entropy.detach().sum()
    more["gap_sum"] = gap.sum()
    more["gap_max"] = gap.max()
    none = torch.zeros((), device=device)  # of what GRPO or PPO lacks
    return loss, torch.stack([more.get(name, none).double() for name in FIGURES])


def padded(rows: list[list[float]], T: int, device) -> torch.Tensor:
    """Rows of numbers as one tensor [B, T], 0 beyond a row's length."""
    return on_device([row + [0.0] * (T - len(row)) for row in rows], device)


def check_gap(stats: dict, limit: float, dtype: torch.dtype) -> None:
    """A UserError if sampler and trainer compute different things.

    In fp32 no log-prob may differ by more than `limit`. In bf16 rounding moves single ones
    further; there the mean may not pass a hundred times that. 0 is off.
    """
    if not limit or not stats["tokens"]:
        return
    if dtype == torch.float32:
        what = "a log-prob differs by"
        gap = stats["gap_max"]
    else:
        what = "log-probs differ on average by"
        gap = stats["gap_sum"] / stats["tokens"]
        limit = 100 * limit
    if not gap <= limit:  # so that a gap that is no number does not pass
        raise UserError(
            f"sampler and trainer disagree before the first update: {what} {gap:.2g}, {limit:g} "
            "is allowed; they compute different things, and the gradient would be wrong "
            "(--max-logprob-gap 0 goes on all the same)"
        )


# ---------------------------------------------------------------- when GPU memory runs out


def update_or_retry(
    run: Run, rollouts: list, advantage: torch.Tensor, lr: float, on_policy: bool = False
) -> dict:
    """`update`; if memory runs out, once in a run, again from its start with half the budget.

    The gradient is the same but for rounding: denominators are the whole step's, and no weight has
    moved yet.
    """

    def attempt() -> dict:
        return update(
            run.model,
            run.optimizer,
            rollouts,
            advantage,
            lr,
            run.config,
            run.reference,
            on_policy,
            run.token_budget,
            run.critic,
            run.critic_optimizer,
        )

    if not run.budget_halved:
        try:
            return attempt()
        except RuntimeError as error:
            if not ran_out(error):
                raise
        # Here, where no traceback holds the tensors of the failed attempt any more.
        halve_budget(run)
    with out_of_memory(
        "in the update: lower --token-budget, add --gradient-checkpointing or --offload-optimizer"
    ):
        return attempt()


def halve_budget(run: Run) -> None:
    """Make room for the update: drop what the failed one left, then smaller micro-batches."""
    run.optimizer.drop_gradients()
    if run.critic:
        run.critic_optimizer.drop_gradients()
    if run.cache_stays:
        run.cache_stays = False
        run.decoder.release()
    run.model.logits_bytes = None
    torch.cuda.empty_cache()
    before = run.token_budget
    run.token_budget = max(1, before // 2)
    run.budget_halved = True
    tqdm.write(
        f"step {run.step + 1}: out of GPU memory in the update; --token-budget {before} becomes "
        f"{run.token_budget} for the rest of this run, and the update is repeated",
        file=sys.stderr,
    )


def sampling_advice(run: Run) -> str:
    """What to change if memory runs out while responses are sampled."""
    return f"while sampling: lower --slots, {run.decoder.slots} now"


# ---------------------------------------------------------------- what is logged


def look_at_groups(run: Run, rollouts: list) -> list[lm.Look]:
    """A Look at each response of the step's first groups, by the weights that drew them."""
    chosen = rollouts[: tokens.GROUPS * run.config.group_size]
    return look_at(run, chosen)


def look_at(run: Run, rollouts: list) -> list[lm.Look]:
    """A Look at each of these responses."""
    prompts = [rollout.prompt for rollout in rollouts]
    responses = [rollout.response for rollout in rollouts]
    with out_of_memory("in a look at tokens: lower --token-budget"):
        return lm.look(run.model, prompts, responses, run.config.temperature, run.token_budget)


def record_tokens(
    run: Run, problems: list, rollouts: list, grades: list[Grade], looks: list, advantage
) -> None:
    """Add the lines of the step's first groups for tokens.jsonl to the run's token log."""
    run.token_log += metrics.token_lines(
        run.step + 1,
        problems,
        rollouts,
        grades,
        looks,
        advantage,
        run.config,
        run.tokenizer,
        sample.silent_ids(run.model, run.tokenizer),
    )


def held_out_figures(run: Run) -> dict:
    """Evaluate; of a suite each benchmark's accuracy, greedily, and their plain mean.

    The lines of the evaluation for tokens.jsonl are added to `run.token_log`, if there is one.
    """
    kept = {}  # the first held-out problems' rollouts, by problem

    def keep(i: int, rollout: sample.Rollout) -> None:
        if len(kept) < tokens.HELD_OUT:
            kept[i] = rollout

    found, graded = evaluated(run, run.held_out, run.sampling(), "held-out", keep)
    line = {ours: found[name] for name, ours in metrics.EVALUATED.items()}
    if run.token_log is not None:
        began = time.time()
        looks = look_at(run, [*kept.values()])
        silent = sample.silent_ids(run.model, run.tokenizer)
        run.token_log += metrics.held_out_token_lines(
            run.step, kept, looks, graded, run.tokenizer, silent
        )
        run.token_log.append(tokens.cost_line(run.step, time.time() - began))
    greedy = replace(run.sampling(), temperature=0.0)
    accuracies = []
    for name, problems in run.suite.items():
        figures, _ = evaluated(run, problems, greedy, name)
        accuracies.append(figures["pass@1"])
        line[f"eval_{name}"] = accuracies[-1]
    if accuracies:
        line["eval_mean"] = metrics.mean(accuracies)
    return line


def evaluated(
    run: Run, problems: list, sampling: sample.Sampling, name: str, on_rollout=None
) -> tuple[dict, list]:
    """What `evaluate` says of one response to each problem: (figures, graded)."""
    config = run.config
    with out_of_memory(sampling_advice(run)):
        return evaluate(
            run.model,
            run.tokenizer,
            problems,
            config.template,
            config.reward,
            1,
            sampling,
            config.seed,
            progress=name,
            style=config.answer_style,
            decoder=run.decoder,
            on_rollout=on_rollout,
        )


def warn(line: dict, bar) -> None:
    """Say aloud when a run is sick."""
    for text in logs.warnings(line):
        bar.write(f"step {line['step']}: {text}", file=sys.stderr)


# ---------------------------------------------------------------- the training


class StopRequest:
    """Ctrl-C or SIGTERM asks once for a stop after the present step; the second stops at once.

    SIGTERM is what `kill` sends, and a cluster before it ends a job.
    """

    def __init__(self):
        self.made = False
        self.earlier = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            self.earlier[number] = signal.signal(number, self.on_signal)

    def on_signal(self, number, frame) -> None:
        self.made = True
        self.restore()

    def restore(self) -> None:
        for number, handler in self.earlier.items():
            signal.signal(number, handler)


def train(config: TrainConfig) -> dict:
    """Run or resume a training; returns what summary.json says, {} if it was stopped before."""
    run = open_run(config)
    stop = StopRequest()
    bar = tqdm(total=config.steps, initial=run.step, desc=run.folder.name)
    bar.write(f"run folder: {run.folder}")
    try:
        if run.step == 0:
            first_evaluation(run, bar)
        while run.step < config.steps and not stop.made:
            step_and_log(run, bar)
            last = run.step == config.steps
            if run.step % config.save_every == 0 or last or stop.made:
                save_checkpoint(run)
    except OSError as error:
        # One without a name is of what the program prints, not of a file.
        cure = "make room or mend the disk, then " if error.filename else ""
        raise UserError(
            f"{named(error)}: what is saved is whole; {cure}go on with "
            f"python train.py --resume {run.folder}"
        ) from error
    except NotFinite as error:
        raise UserError(f"step {run.step + 1}: {error}; {after_divergence(run)}") from None
    finally:
        bar.close()
        run.lock.release()
        stop.restore()
    if run.step < config.steps:
        print(f"stopped after step {run.step}; go on with: python train.py --resume {run.folder}")
        return {}
    return finish(run)


def after_divergence(run: Run) -> str:
    """What to do when a run has come to numbers that are not finite."""
    resume = f"--resume {run.folder} and an --lr below {run.config.lr:g}"
    if run.critic:
        resume += f" (or a --critic-lr below {run.config.critic_lr:g})"
    saved = runs.checkpoints(run.folder)
    if run.step == 0:
        return f"this is the first step: is --model {run.config.model} sound? If it is, {resume}"
    if not saved:
        return f"begin again with {resume}"
    if runs.step_of(saved[-1]) < run.step:
        return f"go on from {saved[-1].name} with {resume}"
    # A checkpoint of finite weights that are too large all the same.
    return f"remove {saved[-1]}, which computes the same, and go on from before it with {resume}"


def first_evaluation(run: Run, bar) -> None:
    """What the model can do before training, as step 0 of the metrics."""
    began = time.time()
    run.token_log = []
    line = {"step": 0, **held_out_figures(run)}
    write_token_log(run)
    line["seconds"] = time.time() - began
    run.seconds += line["seconds"]
    runs.append_line(run.folder / runs.METRICS, line)
    bar.write(f"step 0: held-out accuracy {line['eval_accuracy']:.3f}")


def step_and_log(run: Run, bar) -> None:
    """One step, an evaluation if one is due, and their lines in the logs."""
    config = run.config
    began = time.time()
    due = (run.step + 1) % config.eval_every == 0 or run.step + 1 == config.steps
    if due or run.step == 0:
        run.token_log = []
    line, groups = train_step(run)
    run.step += 1
    if config.renew_reference and run.step % config.renew_reference == 0:
        renew_reference(run)
    if due:
        line |= held_out_figures(run)
        bar.write(f"step {run.step}: held-out accuracy {line['eval_accuracy']:.3f}")
    if due or run.step == 1:
        warn(line, bar)
    if run.step % (config.rollouts_every or config.eval_every) == 0 or due or run.step == 1:
        for group in groups:
            runs.append_line(run.folder / runs.ROLLOUTS, group)
    write_token_log(run)
    line["seconds"] = time.time() - began
    run.seconds += line["seconds"]
    runs.append_line(run.folder / runs.METRICS, line)
    bar.update()
    bar.set_postfix(
        reward=f"{line['reward']:.2f}",
        acc=f"{line['accuracy']:.2f}",
        len=f"{line['length']:.0f}",
        tok_s=f"{line['tokens_per_second']:.0f}",
    )


@torch.no_grad()
def renew_reference(run: Run) -> None:
    """Make the present weights the reference of the KL term, as they compute."""
    for ours, theirs in zip(run.reference.parameters(), run.model.parameters()):
        ours.copy_(theirs)


def write_token_log(run: Run) -> None:
    """Append what a step has put into its token log to tokens.jsonl."""
    for line in run.token_log or ():
        runs.append_line(run.folder / runs.TOKENS, line, compact=True)
    run.token_log = None


def save_checkpoint(run: Run) -> Path:
    """A checkpoint: a Hugging Face folder of the fp32 masters and the trainer's state.

    It is there whole or not at all. Older ones than --keep says are deleted when it is there.
    """
    place = runs.checkpoint_place(run.folder, run.step)
    with new_folder(place) as draft:
        lm.write_files(draft, run.model, run.tokenizer, run.optimizer.named_masters())
        runs.write_trainer(draft, run.optimizer, run.step)
        if run.critic:
            runs.write_critic(draft, run.critic_optimizer)
        if runs.keeps_reference(run.config, place):
            runs.write_reference(draft, run.reference)
    runs.prune(run.folder, run.config.keep)
    return place


def finish(run: Run) -> dict:
    """Write summary.json and the page; returns the summary."""
    summary = summarised(run)
    write_file(run.folder / runs.SUMMARY, json.dumps(summary, indent=2) + "\n")
    page.write_page([str(run.folder)], str(run.folder / runs.PAGE))
    return summary


def summarised(run: Run) -> dict:
    """The run in one record, from the evaluations in its metrics."""
    lines = runs.read_lines(run.folder / runs.METRICS)
    evaluations = [line for line in lines if "eval_accuracy" in line]
    if not evaluations:
        raise UserError(f"{run.folder / runs.METRICS}: no evaluation is in it: nothing to sum up")
    first = evaluations[0]
    last = evaluations[-1]
    return {
        "accuracy_before": first["eval_accuracy"],
        "accuracy_before_ci": first["eval_accuracy_ci"],
        "accuracy_after": last["eval_accuracy"],
        "accuracy_after_ci": last["eval_accuracy_ci"],
        "length_before": first["eval_length"],
        "length_after": last["eval_length"],
        "steps": run.step,
        "seconds": round(run.seconds, 1),
        "device": str(run.model.device),
        "seed": run.config.seed,
    }


# ---------------------------------------------------------------- opening a run


def resumed(config: TrainConfig, given: set[str]) -> TrainConfig:
    """The configuration of the run that --resume names; `given`: the flags beside it."""
    extra = given - {"resume", "steps", "lr", "critic_lr", "device"} - OF_THE_MACHINE - PLACES
    if extra:
        raise UserError(f"--resume takes the run's own settings; leave out {flag_of(min(extra))}")
    stored, _ = runs.read_config(Path(config.resume))
    if not stored:
        raise UserError(f"--resume {config.resume}: no run there (no config.json)")
    # Earlier versions kept all checkpoints: a run of theirs loses none unasked.
    stored.setdefault("keep", 0)
    where = f"{config.resume}/{runs.CONFIG}"
    settings = TrainConfig(**check_values(stored, TrainConfig, where))
    for name in ("data", "eval_data", "teacher"):
        if name in given and getattr(settings, name) is None:
            raise UserError(
                f"--resume {config.resume}: this run has no {flag_of(name)}; leave it out"
            )
    if "critic_lr" in given and settings.algorithm != "ppo":
        raise UserError(f"--resume {config.resume}: this run has no critic; leave out --critic-lr")
    return replace(settings, **{name: getattr(config, name) for name in given})


def open_run(config: TrainConfig) -> Run:
    """Load everything, and make the run's folder or take up the one to resume."""
    # 1. Problems and folder; a run that goes on does so with what it was trained on.
    device = pick_device(config.device)
    folder = Path(config.resume) if config.resume else runs.new_run_folder(config)
    saved = runs.checkpoints(folder)
    if saved and config.steps < runs.step_of(saved[-1]):
        raise UserError(
            f"--steps {config.steps}: this run has done {runs.step_of(saved[-1])} already; its "
            f"checkpoints are models, to go on from one begin a new run with --model"
        )
    newest = saved[-1] if saved else None
    sha256 = sources.check_sources(config, folder, newest)
    problems, held_out, suite = find_problems(config)

    # 2. The model, still on the CPU and in fp32, and what of the problems fits its context.
    model, tokenizer = lm.load(str(newest or config.model), "cpu", torch.float32)
    model.recompute = config.gradient_checkpointing
    problems, longest = fit_to_context(config, model, tokenizer, problems, held_out, suite)
    teacher_shape = None
    if config.teacher:
        teacher_shape = shape_of_teacher(config, model, tokenizer, longest)

    # 3. What it takes in memory; then model and optimizer go where they work.
    budget = config.token_budget or default_budget(device)
    dtype, why = pick_dtype(config.dtype, device, model.config.hidden_size)
    name = next(name for name, known in DTYPES.items() if known == dtype)
    print(f"computes in {name}: {why}")
    plan = plan_memory(config, model.config, longest, budget, device, dtype, teacher_shape)
    checkpoint = memory.checkpoint_bytes(
        model.config,
        config.optimizer_states,
        plan.critic,
        reference=0 < config.renew_reference <= config.steps,
        width=dtype.itemsize,
    )
    runs.plan_disk(config, folder, checkpoint)
    critic = None
    critic_optimizer = None
    if config.algorithm == "ppo":
        critic = ppo.Critic(model, config.critic)
        critic_optimizer = optimizer_of(critic, config, device, dtype)
    optimizer = optimizer_of(model, config, device, dtype)
    model.logits_bytes = plan.logits_bytes
    reference = None
    if config.kl_coef:
        reference = load_reference(config, newest, device, dtype)
    teacher = None
    if config.teacher:
        teacher = load_frozen(config.teacher, device, dtype)
    run = Run(
        config,
        folder,
        model,
        tokenizer,
        optimizer,
        problems,
        held_out,
        suite,
        reference,
        teacher,
        critic,
        critic_optimizer,
        Decoder(model, plan.slots),
        cache_stays=plan.resident,
        token_budget=budget,
    )

    # 4. The optimizers' states of the newest checkpoint, and the folder.
    if newest:
        run.step = runs.read_trainer(newest, optimizer)
        if critic:
            runs.read_critic(newest, critic_optimizer)
    take_folder(run, saved, sha256)
    return run


def load_frozen(path: str, device, dtype: torch.dtype) -> lm.Transformer:
    """A model that is only read."""
    model, _ = lm.load(path, device, dtype)
    return model.requires_grad_(False)


def load_reference(config: TrainConfig, newest: Path | None, device, dtype) -> lm.Transformer:
    """The reference of the KL term: the starting model, or what --renew-reference has made of it.

    newest: the checkpoint to go on from, None at the beginning.
    """
    if not runs.keeps_reference(config, newest):
        return load_frozen(config.model, device, dtype)
    reference = load_frozen(str(newest), device, dtype)  # of the same shape
    runs.read_reference(newest, reference)
    return reference


def shape_of_teacher(config: TrainConfig, model, tokenizer, longest: int) -> lm.ModelConfig:
    """The shape of --teacher's model; a UserError if it cannot read what this model writes.

    longest: tokens of a prompt.
    """
    folder = model_folder.find(config.teacher)
    model_folder.check_complete(folder)
    shape = lm.read_config(folder)
    ours = tokenizer.get_vocab().items()
    theirs = model_folder.read_tokenizer(folder).get_vocab().items()
    others = len(ours ^ theirs)
    if others:
        raise UserError(
            f"--teacher {config.teacher} has another vocabulary than the model that learns "
            f"({others} tokens or ids of them differ), so it cannot read its ids: take a teacher "
            "of the same family"
        )
    if shape.vocab_size < model.config.vocab_size:
        raise UserError(
            f"--teacher {config.teacher} gives probabilities to {shape.vocab_size} ids, the model "
            f"that learns may draw any of {model.config.vocab_size}: take another teacher"
        )
    needed = longest + config.max_new_tokens
    if shape.max_position_embeddings < needed:
        raise UserError(
            f"--teacher {config.teacher} has a context of {shape.max_position_embeddings} tokens, "
            f"a prompt and its response may take {needed}: lower --max-new-tokens"
        )
    return shape


def take_folder(run: Run, saved: list[Path], sha256: dict[str, list[str]]) -> None:
    """Keep others out of the run's folder, cut its logs back to the checkpoint, write config.json.

    saved: the checkpoints that were there before; sha256: of what the run is trained on.
    """
    folder = run.folder
    folder.mkdir(parents=True, exist_ok=True)
    run.lock = runs.claim(folder)
    try:
        runs.check_untouched(folder, saved, is_new=not run.config.resume)
        runs.clear_drafts(folder)
        run.seconds = runs.take_up_logs(folder, run.step if saved else -1)
        runs.write_config(folder, runs.lasting_settings(run.config.resolved(), folder), sha256)
    except BaseException:
        run.lock.release()
        raise


def optimizer_of(model, config: TrainConfig, device, dtype: torch.dtype) -> MasterAdamW:
    """AdamW on the weights of the policy or of its critic, which then work on the device."""
    return MasterAdamW(
        model,
        dtype,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        device=device,
        offload=config.offload_optimizer,
        states=config.optimizer_states,
        seed=config.seed,
    )


def find_problems(config: TrainConfig) -> tuple:
    """(what to train on: a task's name or a list, held-out problems, {benchmark: problems})."""
    if config.data:
        place = pinned.place_of_data(config.data, config.data_dir)
    if config.eval_data:
        eval_place = pinned.place_of_data(config.eval_data, config.data_dir, "--eval-data")
    suite = {}
    if config.eval_suite:
        suite = benchmarks.load(config.eval_suite, config.data_dir)
    if config.eval_suite_problems:
        for name in suite:
            suite[name] = suite[name][: config.eval_suite_problems]
    if not config.data:
        held_out = tasks.make_problems(config.task, "held-out", 0, config.eval_problems)
        return config.task, held_out, suite
    fields = (config.question_field, config.answer_field)
    kind = "math" if config.task == "math" else "data"
    levels = files.levels_of(config.levels)
    can_be_right = partial(reward.can_be_right, style=config.answer_style)
    if config.eval_data:
        training = tasks.read_rows(place, *fields, kind, levels, can_be_right)
        held_out = tasks.read_rows(eval_place, *fields, kind, (), can_be_right)
        held_out = files.different(held_out, eval_place)
        training = files.apart(files.different(training, place), held_out, place)
    else:
        sides = tasks.read_jsonl(place, *fields, kind, levels, can_be_right)
        training = sides["train"]
        held_out = sides["held-out"]
    if config.eval_problems:
        held_out = held_out[: config.eval_problems]
    return training, held_out, suite


def fit_to_context(
    config: TrainConfig, model, tokenizer, problems, held_out: list, suite: dict
) -> tuple[str | list, int]:
    """(what to train on, without what does not fit the context; tokens of the longest prompt)."""
    known = problems if config.data else held_out  # a generated task draws its own, step by step
    vocabulary = model.config.vocab_size
    prompts = tasks.encode_prompts(known, config.template, tokenizer, vocabulary)
    fit = fitting(known, prompts, config, model)
    if config.data:
        problems = fit
    evaluated_on = [*held_out]
    for benchmark in suite.values():
        evaluated_on += benchmark
    prompts += tasks.encode_prompts(evaluated_on, config.template, tokenizer, vocabulary)
    room = model.config.max_position_embeddings - config.max_new_tokens
    return problems, min(room, max(len(prompt) for prompt in prompts))


def fitting(problems: list, prompts: list[list[int]], config: TrainConfig, model) -> list:
    """The problems whose prompts fit the context with their response.

    Of a file the others are passed over aloud. A UserError if none fits, or if one of a generated
    task does not.
    """
    must_fit = [min(prompts, key=len)] if config.data else prompts
    sample.check_prompts(model, must_fit, config.max_new_tokens)
    room = model.config.max_position_embeddings - config.max_new_tokens
    fit = [problem for problem, prompt in zip(problems, prompts) if len(prompt) <= room]
    if len(fit) < len(problems):
        print(
            f"{config.data}: passed over, too long with {config.max_new_tokens} new tokens for the "
            f"model's context: {len(problems) - len(fit)} of {len(problems)} training problems",
            file=sys.stderr,
        )
    return fit


# ---------------------------------------------------------------- settings

# The headings of --help.
WHAT = "model, problems and reward"
LOSS = "loss"
CRITIC = "the critic of --algorithm ppo"
SIZE = "size of a step, and how many"
RUN = "the run"
EVALUATION = "evaluation"
MACHINE = "memory and speed"


@dataclass(frozen=True)
class TrainConfig:
    """The settings of a training run; its folder keeps them in config.json."""

    # What is learned.
    model: str = setting("base", "model folder or hub id to start from", group=WHAT)
    task: str = setting(
        "countdown",
        f"{', '.join(tasks.GENERATORS)}, with a size if you like (countdown:4, kk:3-7), or math",
        group=WHAT,
    )
    data: str | None = setting(
        None,
        f"file of problems (JSON lines, a JSON array, parquet), or {' or '.join(pinned.TRAINING)}, "
        "which are fetched once; with --task math answers count by value, else as they stand",
        group=WHAT,
    )
    question_field: str = setting(
        "",
        "field of --data that holds the question; by default it is found",
        group=WHAT,
        more=True,
    )
    answer_field: str = setting(
        "",
        "field of --data that holds the answer, as reward_model.ground_truth; by default it is "
        "found",
        group=WHAT,
        more=True,
    )
    levels: str = setting(
        "",
        "levels of --data that are taken, as 3,4,5 or 3-5; by default all",
        group=WHAT,
        more=True,
    )
    template: str = setting("short", "prompt template", choices=tasks.TEMPLATES, group=WHAT)
    stop: tuple[str, ...] = setting(
        (),
        "end a response whose text ends in this string, beside the template's own; may be given "
        "more than once",
        group=WHAT,
        more=True,
    )
    reward: str = setting("dr_grpo", "rule reward", choices=reward.NAMES, group=WHAT)
    answer_style: str = setting(
        "auto",
        "where in a response the answer stands",
        choices=STYLES,
        group=WHAT,
        more=True,
    )

    # The loss.
    algorithm: str = setting(
        "grpo",
        "what makes advantages: the rewards of a group (grpo.py), a critic (ppo.py) or a --teacher",
        choices=("grpo", "ppo", "distill"),
        group=LOSS,
    )
    loss: str = setting(
        "dr_grpo",
        "preset of the settings here that are auto (docs/estimators.md)",
        choices=estimators.PRESETS,
        group=LOSS,
    )
    std: str = setting(
        "auto",
        "divide advantages by the group's standard deviation",
        choices=("auto", "on", "off"),
        group=LOSS,
        more=True,
    )
    normaliser: str = setting(
        "auto",
        "what a row's summed loss is divided by",
        choices=("auto", *estimators.NORMALISERS),
        group=LOSS,
    )
    baseline: str = setting(
        "auto",
        "what a reward is set against: the group's mean, nothing, or the mean of the others",
        choices=("auto", *estimators.BASELINES),
        group=LOSS,
        more=True,
    )
    advantage_normaliser: str = setting(
        "auto",
        "what advantages are divided by: the group's standard deviation (--std on), nothing (--std "
        "off), the group's mean accuracy, or the standard deviation of all rewards of the step",
        choices=("auto", *estimators.ADVANTAGE_NORMALISERS),
        group=LOSS,
        more=True,
    )
    importance: str = setting(
        "auto",
        "how tokens are weighed for what the policy was when it drew them",
        choices=("auto", *estimators.SURROGATES),
        group=LOSS,
        more=True,
    )
    positives_only: str = setting(
        "auto",
        "only right responses have an advantage",
        choices=("auto", "on", "off"),
        group=LOSS,
        more=True,
    )
    clip_low: float | None = setting(
        None,
        "ratios below 1 - this are clipped; by default the preset's: 0.2, but gspo, cispo",
        at_least=0,
        group=LOSS,
        more=True,
    )
    clip_high: float | None = setting(
        None,
        "ratios above 1 + this are clipped; by default the preset's: 0.2, but dapo, gspo, cispo",
        at_least=0,
        group=LOSS,
        more=True,
    )
    kl_coef: float = setting(
        0.0,
        "weight of the KL term to the starting model; 0 keeps no reference model",
        at_least=0,
        group=LOSS,
    )
    kl_kind: str = setting(
        "k3", "estimator of the KL term", choices=("k1", "k2", "k3"), group=LOSS, more=True
    )
    kl_level: str = setting(
        "auto",
        "the KL of each token, or of the whole response",
        choices=("auto", *estimators.KL_LEVELS),
        group=LOSS,
        more=True,
    )
    renew_reference: int = setting(
        0,
        "steps after which the present weights become the KL term's reference, again and again; 0: "
        "the starting model stays",
        at_least=0,
        group=LOSS,
        more=True,
    )
    teacher: str | None = setting(
        None,
        "model folder or hub id of the same vocabulary, which reads every response; --algorithm "
        "distill learns from it alone",
        group=LOSS,
        more=True,
    )
    teacher_coef: float = setting(
        1.0,
        "weight of log(teacher / policy) of a token, nats, in its advantage",
        above=0,
        below=math.inf,
        group=LOSS,
        more=True,
    )
    entropy_coef: float = setting(
        0.0, "weight of a bonus for the policy's entropy", at_least=0, group=LOSS, more=True
    )
    dynamic_sampling: int = setting(
        0,
        "times that groups of equal rewards are replaced by groups of other problems (DAPO: 10)",
        at_least=0,
        group=LOSS,
        more=True,
    )
    overlong_buffer: int = setting(
        0,
        "last tokens before --max-new-tokens over which a response loses up to 1 of its reward",
        at_least=0,
        group=LOSS,
        more=True,
    )
    overlong_filtering: bool = setting(
        False, "responses that hit the length limit have no weight", group=LOSS, more=True
    )

    # PPO's critic.
    critic: str = setting(
        "own",
        "a value head on the policy's hidden states, or a transformer of its own",
        choices=("shared", "own"),
        group=CRITIC,
        more=True,
    )
    critic_lr: float = setting(
        1e-3, "the critic's learning rate", at_least=0, group=CRITIC, more=True
    )
    critic_warmup: int = setting(
        0, "first steps in which the critic alone learns", at_least=0, group=CRITIC, more=True
    )
    gamma: float = setting(
        1.0, "discount of a reward, per token, at most 1", above=0, group=CRITIC, more=True
    )
    gae_lambda: float = setting(
        1.0,
        "GAE's lambda: 1 trusts what was earned, 0 the critic's next value",
        at_least=0,
        group=CRITIC,
        more=True,
    )
    value_clip: float = setting(
        0.2,
        "how far a value may move in a step before its loss stops falling; 0 is off",
        at_least=0,
        group=CRITIC,
        more=True,
    )
    value_coef: float = setting(
        0.5, "weight of the value loss", at_least=0, group=CRITIC, more=True
    )
    whiten: bool = setting(
        True,
        "advantages of mean 0 and standard deviation 1 over the step's tokens",
        group=CRITIC,
        more=True,
    )

    # The size of a step.
    steps: int = setting(80, "steps", at_least=1, group=SIZE)
    prompts_per_step: int = setting(16, "problems per step", at_least=1, group=SIZE)
    group_size: int = setting(
        16,
        "responses per problem",
        at_least=1,
        group=SIZE,
    )
    updates_per_step: int = setting(
        1,
        "optimizer steps that a step's groups are divided among",
        at_least=1,
        group=SIZE,
        more=True,
    )
    max_new_tokens: int = setting(256, "longest response, tokens", at_least=1, group=SIZE)
    temperature: float = setting(
        1.0, "of the sampler, and of the trainer's log-probs", above=0, group=SIZE
    )
    top_k: int = setting(0, "refused: see top_p", group=SIZE, more=True)
    top_p: float = setting(
        1.0,
        "refused: the trainer's distribution is not cut off, the sampler's must not be either",
        group=SIZE,
        more=True,
    )
    lr: float = setting(3e-4, "learning rate after warm-up", at_least=0, group=SIZE)
    lr_schedule: str = setting(
        "constant",
        "what the learning rate does after warm-up: constant; linear or cosine, which fall towards "
        "--lr-floor after --steps",
        choices=("constant", "linear", "cosine"),
        group=SIZE,
        more=True,
    )
    lr_floor: float = setting(
        0.0,
        "where linear and cosine end, a share of --lr",
        at_least=0,
        below=1,
        group=SIZE,
        more=True,
    )
    warmup: int = setting(5, "steps of linear warm-up", at_least=0, group=SIZE, more=True)
    weight_decay: float = setting(
        0.0, "AdamW's decoupled weight decay", at_least=0, group=SIZE, more=True
    )
    beta1: float = setting(
        0.9,
        "AdamW's memory of the gradient, a share a step",
        at_least=0,
        below=1,
        group=SIZE,
        more=True,
    )
    beta2: float = setting(
        0.95,
        "AdamW's memory of the gradient's square, a share a step",
        at_least=0,
        below=1,
        group=SIZE,
        more=True,
    )
    clip_norm: float = setting(1.0, "largest gradient norm", above=0, group=SIZE, more=True)

    # The run.
    out: str | None = setting(None, "run folder; by default a new one under runs/", group=RUN)
    seed: int = setting(0, "seed of problems and draws", group=RUN)
    device: str = setting("auto", "auto, cpu or cuda", group=RUN)
    dtype: str = setting(
        "auto",
        "compute type, beside fp32 weights: auto takes bf16 where that is faster",
        choices=("auto", *DTYPES),
        group=MACHINE,
    )
    recipe: str | None = setting(None, "TOML file of settings; flags beat it", group=RUN)
    resume: str | None = setting(
        None,
        "run folder to go on with; beside it --steps, --lr, --critic-lr, --device and what is the "
        "machine's: --gradient-checkpointing, --token-budget, --slots, --memory-gb, "
        "--offload-optimizer, --keep, and the places of --model, --teacher, --data, --eval-data, "
        "--data-dir",
        group=RUN,
    )
    save_every: int = setting(20, "steps between checkpoints", at_least=1, group=RUN, more=True)
    keep: int = setting(
        2,
        "newest checkpoints that are kept, the last among them; 0 keeps all",
        at_least=0,
        group=RUN,
        more=True,
    )
    max_logprob_gap: float = setting(
        1e-3,
        "largest difference of a log-prob between sampler and trainer before a step's first "
        "update; a run beyond stops. In bf16: 100 times that, of the mean; 0 is off",
        at_least=0,
        group=RUN,
        more=True,
    )

    # Evaluation.
    eval_every: int = setting(
        20,
        "steps between evaluations on held-out problems",
        at_least=1,
        group=EVALUATION,
        more=True,
    )
    eval_data: str | None = setting(
        None,
        "file of the held-out problems; without it they are one in ten of --data. A training "
        "problem that it has too is passed over aloud",
        group=EVALUATION,
        more=True,
    )
    eval_problems: int = setting(
        512,
        "held-out problems, one response each; 0 takes all of the file",
        at_least=0,
        group=EVALUATION,
        more=True,
    )
    rollouts_every: int = setting(
        0,
        "steps between steps whose first groups go into rollouts.jsonl; 0: as evaluations come",
        at_least=0,
        group=EVALUATION,
        more=True,
    )
    eval_suite: str = setting(
        "",
        "benchmarks to evaluate on as well, greedily: math, gsm8k, aime24, ...",
        group=EVALUATION,
        more=True,
    )
    eval_suite_problems: int = setting(
        0,
        "of each benchmark, the first ones; 0 takes all",
        at_least=0,
        group=EVALUATION,
        more=True,
    )
    data_dir: str | None = setting(
        None,
        "folder of the files that --eval-suite and --data name; by default they are fetched once",
        group=EVALUATION,
        more=True,
    )

    # Memory and speed: what changes nothing but rounding.
    token_budget: int = setting(
        0,
        "tokens per micro-batch, padding and what prompts keep included; 0: 2048 on a CPU, 8192 on "
        "a GPU",
        at_least=0,
        group=MACHINE,
    )
    slots: int = setting(
        0,
        "rows that decode at a time; 0: what the memory holds, 256 at most, 512 on a GPU of 80 GB. "
        "Changes no draw",
        at_least=0,
        group=MACHINE,
        more=True,
    )
    gradient_checkpointing: bool = setting(
        False,
        "keep of each layer its input alone, compute it anew in backward",
        group=MACHINE,
        more=True,
    )
    offload_optimizer: bool = setting(
        False,
        "masters, gradient sums and AdamW on the CPU; the GPU keeps bf16 weights",
        group=MACHINE,
        more=True,
    )
    optimizer_states: str = setting(
        "fp32",
        "type of AdamW's two moments",
        choices=("fp32", "bf16"),
        group=MACHINE,
        more=True,
    )
    memory_gb: float = setting(
        0.0,
        "GPU memory that may be used, GB (10^9 bytes); 0: what is free",
        at_least=0,
        group=MACHINE,
        more=True,
    )

    def __post_init__(self):
        check_settings(self)
        if math.isinf(self.temperature):
            raise UserError("--temperature must be a number")
        self.check_algorithm()
        if self.updates_per_step > self.prompts_per_step:
            raise UserError(
                f"--updates-per-step {self.updates_per_step}: a step has {self.prompts_per_step} "
                "groups to divide (--prompts-per-step)"
            )
        if self.overlong_buffer > self.max_new_tokens:
            raise UserError(
                f"--overlong-buffer {self.overlong_buffer} is longer than a response "
                f"(--max-new-tokens {self.max_new_tokens})"
            )
        if self.estimator.advantage_normaliser == "mean":
            if reward.can_be_negative(self.reward):
                raise UserError(estimators.negative_reward(f"--reward {self.reward}"))
            if self.overlong_buffer:
                raise UserError(estimators.negative_reward("--overlong-buffer"))
        if self.top_k or self.top_p != 1.0:
            raise UserError(
                "training draws from the whole distribution: leave --top-k at 0 and --top-p at 1, "
                "or sampler and trainer would disagree about every probability"
            )
        if self.data is None:
            if self.eval_problems == 0:
                raise UserError("--eval-problems must be at least 1 without --data")
            if self.levels:
                raise UserError("--levels chooses rows of --data")
            if self.question_field or self.answer_field:
                raise UserError("--question-field and --answer-field name fields of --data")
            if self.eval_data and not self.resume:
                raise UserError("--eval-data holds back problems from those of --data: name both")
        elif self.task not in ("math", type(self).task):
            raise UserError(
                f"--task {self.task} beside --data: a file has its own problems (--task math "
                "grades them as maths)"
            )
        fetched = {self.data, self.eval_data} & set(pinned.TRAINING)
        uses_data_dir = self.eval_suite or fetched or self.resume
        if self.data_dir and not uses_data_dir:
            raise UserError(
                "--data-dir holds the files of --eval-suite and of --data "
                f"{' or '.join(pinned.TRAINING)}: name one of these"
            )
        reward.check_task(self.reward, self.data or self.task)
        files.levels_of(self.levels)
        tasks.stop_strings(self.template, self.stop)
        if self.eval_suite:
            benchmarks.names_of(self.eval_suite)

    def check_algorithm(self) -> None:
        """A UserError if settings of the ways to advantages are mixed."""
        if self.renew_reference and not self.kl_coef:
            raise UserError(
                "--renew-reference renews the reference of the KL term: it needs a --kl-coef"
            )
        self.check_teacher()
        if self.algorithm != "ppo":
            of_the_other = changed_settings(self) & OF_A_CRITIC
            if self.resume:  # the run that goes on may have one: see `resumed`
                of_the_other -= {"critic_lr"}
            of_the_other = sorted(of_the_other)
            if of_the_other:
                raise UserError(f"{flag_of(of_the_other[0])} belongs to --algorithm ppo")
            if self.algorithm == "grpo" and self.group_size < 2:
                raise UserError(
                    "--group-size must be at least 2: a group of one has no advantage (--algorithm "
                    "ppo needs no group)"
                )
            return
        of_the_other = sorted(changed_settings(self) & OF_GROUPS)
        if of_the_other:
            raise UserError(
                f"{flag_of(of_the_other[0])} belongs to --algorithm grpo: PPO's advantages are its "
                "critic's, its ratios and KL are of tokens"
            )
        if self.kl_kind not in ("k1", type(self).kl_kind):
            raise UserError(f"--kl-kind {self.kl_kind}: PPO's KL is k1, in the reward")
        if self.gamma > 1 or self.gae_lambda > 1:
            raise UserError("--gamma and --gae-lambda must be at most 1")

    def check_teacher(self) -> None:
        """A UserError if there is no teacher where one is needed, or one where none has a say."""
        if self.teacher is None:
            if self.algorithm == "distill":
                raise UserError("--algorithm distill needs a model to learn from: name a --teacher")
            if self.teacher_coef != type(self).teacher_coef:
                raise UserError("--teacher-coef weighs what a --teacher says: name one")
            return
        if self.algorithm == "ppo":
            raise UserError("--teacher stands beside --algorithm distill or grpo, not ppo")
        if self.algorithm == "distill":
            idle = sorted(changed_settings(self) & OF_REWARDS)
            if idle:
                raise UserError(
                    f"{flag_of(idle[0])} shapes advantages of rewards: under --algorithm distill "
                    "rewards are only logged (--algorithm grpo beside --teacher has both)"
                )

    @cached_property
    def estimator(self) -> estimators.Estimator:
        """The preset of --loss, and in place of its own what is given beside it.

        PPO takes a normaliser and clips from it; its own preset is a mean over tokens.
        """
        return estimators.choose(
            "token_mean" if self.algorithm == "ppo" else self.loss,
            self.std,
            self.positives_only,
            baseline=self.baseline,
            advantage_normaliser=self.advantage_normaliser,
            importance=self.importance,
            normaliser=self.normaliser,
            kl_level=self.kl_level,
            clip_low=self.clip_low,
            clip_high=self.clip_high,
        )

    def resolved(self) -> TrainConfig:
        """The same, with every choice of the loss in words: what a preset brings may change."""
        settings = estimators.as_settings(self.estimator)
        if self.algorithm == "ppo":
            kept = ("normaliser", "clip_low", "clip_high")
            settings = {name: settings[name] for name in kept}
            settings["kl_kind"] = "k1"
        if self.algorithm == "distill":
            settings = {name: settings[name] for name in settings if name not in OF_REWARDS}
        return replace(self, **settings)

    @property
    def trains_on_all(self) -> bool:
        """Whether a rollout of advantage 0 has a gradient all the same."""
        if self.algorithm == "ppo" or self.teacher is not None:  # it has advantages of tokens
            return True
        return self.kl_coef != 0 or self.entropy_coef != 0


# What PPO has no use for, and what nothing else has.
OF_GROUPS = {
    "loss",
    "std",
    "baseline",
    "advantage_normaliser",
    "importance",
    "positives_only",
    "kl_level",
    "dynamic_sampling",
}
# What makes advantages of rewards, for which distillation from a teacher alone has no use.
OF_REWARDS = {
    "loss",
    "std",
    "baseline",
    "advantage_normaliser",
    "positives_only",
    "dynamic_sampling",
    "overlong_buffer",
}
OF_A_CRITIC = {
    "critic",
    "critic_lr",
    "critic_warmup",
    "gamma",
    "gae_lambda",
    "value_clip",
    "value_coef",
    "whiten",
}


def changed_settings(config: TrainConfig) -> set[str]:
    """The settings that are not at their defaults."""
    changed = set()
    for field in fields(config):
        if getattr(config, field.name) != field.default:
            changed.add(field.name)
    return changed


# Settings of the machine, not of the run: a resumed run may change them.
OF_THE_MACHINE = {
    "token_budget",
    "slots",
    "memory_gb",
    "gradient_checkpointing",
    "offload_optimizer",
    "keep",
}
# Where things are: also the machine's, but what is there must be the same.
PLACES = {"data", "eval_data", "data_dir", "model", "teacher"}


# ---------------------------------------------------------------- python train.py


def main():
    config, given = parse(TrainConfig, "GRPO, Dr. GRPO and PPO on one GPU, or on a laptop")
    if config.resume:
        config = resumed(config, given)
    else:
        config = replace(config, out=str(runs.new_run_folder(config)))
    summary = train(config)
    if summary:
        print(json.dumps(summary, indent=2))
        print(ending.last_lines(config.resume or config.out))


if __name__ == "__main__":
    run_program(main)
