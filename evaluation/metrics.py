"""What a step and an evaluation leave in the logs: figures for metrics.jsonl, groups in full.

Shapes: P prompts, G rollouts a group. `grades` are train.Grade, `rollouts` sample.Rollout, in one
order: the G of a prompt stand together.
"""

from dataclasses import asdict

import torch

import grpo
from evaluation import tokens


def mean(values: list[float]) -> float | None:
    """The mean, None of nothing."""
    if not values:
        return None
    return sum(values) / len(values)


def share(part: float, whole: float) -> float | None:
    """part / whole, None of nothing."""
    if not whole:
        return None
    return part / whole


# ---------------------------------------------------------------- a step

# What train.update sums over its micro-batches; the last two are a critic's.
SUMMED = (
    "loss",
    "entropy",
    "gap_sum",
    "clipped",
    "kl",
    "tokens",
    "padding",
    "value_loss",
    "value_clipped",
)


def reward_metrics(rollouts: list, grades: list, rewards: torch.Tensor) -> dict:
    """What a step's responses were like and what they earned; rewards [P, G]."""
    right = []
    wrong = []
    for rollout, grade in zip(rollouts, grades):
        if grade.reward.accuracy == 1.0:
            right.append(len(rollout.response))
        else:
            wrong.append(len(rollout.response))
    earned = [grade.reward for grade in grades]
    return {
        "reward": mean([reward.total for reward in earned]),
        "accuracy": mean([reward.accuracy for reward in earned]),
        "format": mean([reward.format for reward in earned]),
        "length": mean(right + wrong),
        "length_right": mean(right),
        "length_wrong": mean(wrong),
        "words": mean([reward.words for reward in earned]),
        "language": share(
            sum(reward.latin_words for reward in earned), sum(reward.words for reward in earned)
        ),
        "truncated": mean([not rollout.finished for rollout in rollouts]),
        "equal_groups": grpo.equal_groups(rewards).float().mean().item(),
    }


def update_metrics(updates: list[dict], has_kl: bool) -> dict:
    """What a step's optimizer steps were like.

    Entropy, clip share and KL are over the tokens that were trained: those of groups with unequal
    rewards, or all of them where a term of the loss acts on all (PPO, KL, an entropy bonus).
    """
    total = dict.fromkeys(SUMMED, 0.0)
    for stats in updates:
        for name in SUMMED:
            total[name] += stats[name]
    tokens = total["tokens"]
    kl = None
    if has_kl:
        kl = share(total["kl"], tokens)
    # The gap of the first one that trained; later ones are meant to differ from the sampler.
    trained = [stats for stats in updates if stats["tokens"]]
    gap_mean = None
    gap_max = None
    if trained:
        gap_mean = trained[0]["gap_sum"] / trained[0]["tokens"]
        gap_max = trained[0]["gap_max"]
    figures = {
        "entropy": share(total["entropy"], tokens),
        "grad_norm": mean([stats["grad_norm"] for stats in updates]),
        "loss": mean([stats["loss"] for stats in updates]),
        "logprob_gap_mean": gap_mean,
        "logprob_gap_max": gap_max,
        "clip_share": share(total["clipped"], tokens),
        "kl": kl,
        # of the responses that the update computed
        "padding_share": share(total["padding"], tokens + total["padding"]),
    }
    if "critic_grad_norm" in updates[0]:
        figures["value_loss"] = mean([stats["value_loss"] for stats in updates])
        figures["value_clip_share"] = share(total["value_clipped"], tokens)
        figures["critic_grad_norm"] = mean([stats["critic_grad_norm"] for stats in updates])
    return figures


def logged_groups(
    step: int, problems: list, rollouts: list, grades: list, advantage: torch.Tensor
) -> list[dict]:
    """The first groups of a step in full, for rollouts.jsonl.

    advantage: [P * G], or [P * G, T] of each token.
    """
    size = len(rollouts) // len(problems)
    groups = []
    for g, problem in enumerate(problems[: tokens.GROUPS]):
        responses = []
        for i in range(g * size, (g + 1) * size):
            responses.append(
                {
                    "text": grades[i].text,
                    "tokens": len(rollouts[i].response),
                    "finished": rollouts[i].finished,
                    **asdict(grades[i].reward),
                    "advantage": tokens.of_response(advantage[i], rollouts[i]),
                }
            )
        groups.append(
            {
                "step": step,
                "question": problem.question,
                "answer": problem.answer,
                "responses": responses,
            }
        )
    return groups


def token_lines(
    step: int,
    problems: list,
    rollouts: list,
    grades: list,
    looks: list,
    advantage: torch.Tensor,
    config,
    tokenizer,
    silent: set[int],
) -> list[dict]:
    """The lines of a step's first groups for tokens.jsonl.

    looks: at the rollouts of these groups, by the weights that drew them; advantage: [P * G];
    config: the run's; silent: the ids that no reward reads.
    """
    size = config.group_size
    lines = []
    for g, problem in enumerate(problems[: tokens.GROUPS]):
        group = slice(g * size, (g + 1) * size)
        records = []
        for rollout, grade, look in zip(rollouts[group], grades[group], looks[group]):
            records.append(tokens.response_record(rollout, grade.text, grade.reward, look))
        tokens.add_update(records, rollouts[group], looks[group], advantage[group], config)
        about = (step, "train", g, problem)
        lines.append(tokens.problem_line(*about, tokenizer, silent, records))
    return lines


# ---------------------------------------------------------------- an evaluation


# The figures of an evaluation, and their names in metrics.jsonl.
EVALUATED = {
    "pass@1": "eval_accuracy",
    "pass@1_ci": "eval_accuracy_ci",
    "truncated": "eval_truncated",
    "length": "eval_length",
    "length_right": "eval_length_right",
    "length_wrong": "eval_length_wrong",
}


def held_out_token_lines(
    step: int, kept: dict, looks: list, graded: list, tokenizer, silent: set[int]
) -> list[dict]:
    """The lines of an evaluation for tokens.jsonl.

    kept: rollouts by the index of their problem, in one order with `looks`; graded: the groups of
    all problems; silent: the ids that no reward reads.
    """
    lines = [tokens.evaluation_line(step, [group.right[0] for group in graded])]
    for (i, rollout), look in zip(kept.items(), looks):
        group = graded[i]
        text = group.responses[0].text
        record = tokens.response_record(rollout, text, group.rewards[0], look)
        about = (step, "held-out", i, group.problem)
        lines.append(tokens.problem_line(*about, tokenizer, silent, [record]))
    return lines
