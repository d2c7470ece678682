"""Accuracy with its uncertainty: pass@1, pass@k, maj@k, lengths and the truncated share, each with a 95 % interval.

    python eval.py --model base --task countdown --n 512 --k 16 --json out.json

Intervals are by problem: the k responses to one problem are not k independent pieces of evidence.
"""
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import checkpoint
import reward
import sample
import tasks
from config import Refusal, parse, run, setting
from files import write_file
from optim import pick_device

Z = 1.96  # two-sided 95 %


@dataclass
class Graded:
    """One problem, its k responses and what they earned."""
    problem: tasks.Problem
    rollouts: list
    rewards: list = field(default_factory=list)
    answers: list = field(default_factory=list)  # extracted text per response, None where there is none


def pass_at_k(n: int, right: int, k: int) -> float:
    """Probability that k of n responses, drawn without replacement, hold a right one (arXiv 2107.03374, eq. 1)."""
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs at least {k} responses, not {n}")
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def majority(answers: list[str | None], right: list[bool]) -> float:
    """1.0 if the commonest answer is right. Responses without an answer do not vote.

    Ties: the expected value of drawing one of the tied answers at random. If nobody answers: 0. Answers are compared as
    text; one text is right or wrong for all who gave it, decided by the share of them that was.
    """
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return 0.0
    most = max(votes.values())
    tied = [answer for answer, n in votes.items() if n == most]
    return sum(sum(r for a, r in zip(answers, right) if a == answer) / most for answer in tied) / len(tied)


def share_interval(values: list[float], k: int | None = None) -> tuple[float, float, float]:
    """(mean, low, high) of per-problem values in [0, 1], each from `k` responses.

    Wilson's score interval at the sample size that gives the observed variance of the mean: with one response a problem
    it is the usual Wilson interval, with many it narrows as far as the problems differ from each other only.
    """
    n, mean = len(values), sum(values) / len(values)
    spread = sum((v - mean) ** 2 for v in values) / n
    size = n * mean * (1 - mean) / spread if spread > 1e-12 else n  # problems that all agree say no more than n can
    size = min(size, n * k) if k else size  # nor do k responses a problem say more than n * k independent ones
    centre, half = (mean + Z * Z / (2 * size)) / (1 + Z * Z / size), \
        Z / (1 + Z * Z / size) * math.sqrt(mean * (1 - mean) / size + Z * Z / (4 * size * size))
    return mean, max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half))


def mean_interval(groups: list[list[float]]) -> tuple[float | None, float | None, float | None]:
    """(mean, low, high) over all values, one list a problem; the interval is that of a ratio of sums over problems.

    None where nothing can be said: no mean without values, no interval from a single problem.
    """
    total = sum(map(len, groups))
    if not total:
        return None, None, None
    mean = sum(map(sum, groups)) / total
    if sum(map(bool, groups)) == 1:
        return mean, None, None
    half = Z * math.sqrt(sum((sum(g) - mean * len(g)) ** 2 for g in groups)) / total
    return mean, mean - half, mean + half


def figures(graded: list[Graded]) -> dict:
    """Every figure as {"name": value, "name_ci": [low, high]}; a length that no response has is None."""
    k, n = len(graded[0].rollouts), len(graded)
    right = [[r.accuracy == 1.0 for r in g.rewards] for g in graded]
    sizes = [1 << i for i in range(k.bit_length())]
    lengths = [[len(r.response) for r in g.rollouts] for g in graded]
    found = {"pass@1": share_interval([sum(row) / k for row in right], k)}
    found |= {f"pass@{j}": share_interval([pass_at_k(k, sum(row), j) for row in right], k) for j in sizes if j > 1}
    if k > 1:
        found[f"maj@{k}"] = share_interval([majority(g.answers, row) for g, row in zip(graded, right)], k)
    found["truncated"] = share_interval([sum(not r.finished for r in g.rollouts) / k for g in graded], k)
    found["length"] = mean_interval(lengths)
    for name, wanted in (("length_right", True), ("length_wrong", False)):
        found[name] = mean_interval([[n for n, ok in zip(*pair) if ok == wanted] for pair in zip(lengths, right)])
    flat = {"problems": n, "k": k}
    for name, (value, low, high) in found.items():
        flat[name], flat[name + "_ci"] = value, [low, high]
    return flat


def evaluate(model, tokenizer, problems: list[tasks.Problem], template: str, reward_name: str, k: int,
             sampling: sample.Sampling, seed: int, progress: str | None = None) -> tuple[dict, list[Graded]]:
    """Sample k responses to each problem and grade them; (figures, graded problems)."""
    prompts = [tasks.encode(tasks.prompt(p, template, tokenizer), template, tokenizer) for p in problems]
    rollouts = sample.generate(model, tokenizer, prompts, sampling, k, seed, progress=progress)
    graded = [Graded(p, rollouts[i * k:(i + 1) * k]) for i, p in enumerate(problems)]
    for g in graded:
        for rollout in g.rollouts:
            text = sample.text_of(tokenizer, rollout)
            g.rewards.append(reward.score(reward_name, text, g.problem, rollout.finished))
            g.answers.append(reward.extract_answer(text))
    return figures(graded), graded


def table(found: dict) -> str:
    """The figures as lines of text."""
    lines = [f"{found['problems']} problems, {found['k']} responses each; 95 % intervals by problem"]
    for name, value in found.items():
        if name + "_ci" in found:
            low, high = found[name + "_ci"]
            digits = 1 if name.startswith("length") else 3
            shown = "none" if value is None else f"{value:8.{digits}f}"
            lines.append(f"  {name:<14}{shown}" + ("" if low is None else f"  [{low:.{digits}f}, {high:.{digits}f}]"))
    return "\n".join(lines)


# ---------------------------------------------------------------- python eval.py

@dataclass(frozen=True)
class EvalConfig:
    model: str = setting("base", "model folder")
    task: str = setting("countdown", "countdown, kk or arithmetic, with a size if you like (countdown:4)")
    data: str | None = setting(None, "JSONL file of problems, instead of --task; its held-out side is used")
    question_field: str = setting("question", "field of --data that holds the question")
    answer_field: str = setting("answer", "field of --data that holds the answer")
    n: int = setting(512, "problems; 0 takes all of --data")
    k: int = setting(1, "responses per problem")
    template: str = setting("short", "prompt template", choices=tuple(tasks.TEMPLATES))
    reward: str = setting("dr_grpo", "rule that decides what is right", choices=tuple(reward.REWARDS))
    max_new_tokens: int = setting(256, "longest response, tokens")
    temperature: float = setting(1.0, "0 is greedy")
    top_k: int = setting(0, "keep the k likeliest tokens; 0 keeps all")
    top_p: float = setting(1.0, "keep the smallest set with this probability")
    min_p: float = setting(0.0, "keep tokens with this share of the likeliest one's probability")
    seed: int = setting(0, "seed of the draws; the held-out problems are always the same")
    json: str | None = setting(None, "write the figures to this file")
    device: str = setting("auto", "auto, cpu or cuda")


def held_out(task: str, n: int, data: str | None = None, question_field: str = "question",
             answer_field: str = "answer") -> list[tasks.Problem]:
    """The first n held-out problems of a task or file: the same ones for every run and every seed."""
    if data is None:
        return tasks.draw(task, "held-out", 0, n)
    problems = tasks.read_jsonl(data, question_field, answer_field)["held-out"]
    return problems[:n] if n else problems


def main():
    c, _ = parse(EvalConfig, "accuracy on held-out problems, with intervals")
    if c.n < (0 if c.data else 1) or c.k < 1:
        raise Refusal("--n and --k must be at least 1")
    if c.json and not Path(c.json).parent.is_dir():  # said before the work, not after it
        raise Refusal(f"--json {c.json}: there is no such folder")
    problems = held_out(c.task, c.n, c.data, c.question_field, c.answer_field)
    model, tokenizer = checkpoint.load(c.model, *pick_device(c.device))
    sampling = sample.Sampling(c.max_new_tokens, c.temperature, c.top_k, c.top_p, c.min_p,
                               tasks.STOP_STRINGS.get(c.template, ()))
    found, _ = evaluate(model, tokenizer, problems, c.template, c.reward, c.k, sampling, c.seed, "evaluating")
    print(table(found))
    if c.json:
        write_file(Path(c.json), json.dumps({"config": asdict(c), **found}, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
