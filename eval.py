"""Accuracy with its uncertainty: pass@1, avg@k, pass@k, maj@k, lengths, the truncated share, and behaviours by rule.

    python eval.py --model base --task countdown --n 512 --k 16 --json out.json
    python eval.py --model MODEL --template qwen-math --suite math --protocol dr-grpo --save out.jsonl
    python eval.py --regrade out.jsonl

Intervals are by problem: the k responses to one problem are not k independent pieces of evidence. A prompt that does
not fit the context counts as wrong; its problem is in every share of right answers, and in no length, truncated share
or behaviour, because nothing was drawn for it.
"""
import json
import math
import os
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import behaviour
import benchmarks
import model as lm
import extract
import jsonl
import responses
import reward
import sample
import tables
import tasks
from config import Refusal, check_values, parse, run, setting
from storage.folders import write_file
from optim import pick_device
from responses import Graded, Response

Z = 1.96  # two-sided 95 %
MOST_VALUES = 16  # different values that a spelling is compared with: a vote beyond these stands for itself

# How the systems measure: temperature, top-p, longest response, responses a problem. A flag given by hand beats it.
PROTOCOLS = {
    "dr-grpo": dict(temperature=0.0, top_p=1.0, max_new_tokens=3000, k=1),  # arXiv 2503.20783
    "r1": dict(temperature=0.6, top_p=0.95, max_new_tokens=32768, k=16),  # 2501.12948: 4 to 64 responses, by benchmark
    "simplerl-zoo": dict(temperature=1.0, top_p=0.95, max_new_tokens=16000, k=1),  # 2503.18892; AIME24 also with k 32
}


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


def one_spelling(answers: list[str | None], problem: tasks.Problem) -> list[str | None]:
    """Maths answers, each in the commonest spelling of its value, so that `1/2` and `0.5` vote together.

    A rarer spelling is graded as if the commoner one were the right answer, exactly, whatever tolerance the problem has.
    """
    if problem.task != "math":
        return answers
    values, spelling = [], {None: None}
    for answer, _ in Counter(answer for answer in answers if answer is not None).most_common():
        equal = (value for value in values if reward.check(answer, replace(problem, answer=value, facts={}))[0])
        spelling[answer] = next(equal, answer)
        if spelling[answer] == answer and len(values) < MOST_VALUES:
            values.append(answer)
    return [spelling[answer] for answer in answers]


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


def flat(found: dict[str, tuple]) -> dict:
    """{"name": (value, low, high)} as {"name": value, "name_ci": [low, high]}."""
    return {key: part for name, (value, low, high) in found.items()
            for key, part in ((name, value), (name + "_ci", [low, high]))}


def figures(graded: list[Graded]) -> dict:
    """Every figure as {"name": value, "name_ci": [low, high]}; one that no response has is None."""
    k, drawn = len(graded[0].responses), [g for g in graded if g.responses[0].tokens]
    right = [[r.accuracy == 1.0 for r in g.rewards] for g in graded]
    sizes = sorted({1 << i for i in range(k.bit_length())} | {k})
    found = {"pass@1": share_interval([sum(row) / k for row in right], k)}
    found |= {f"pass@{j}": share_interval([pass_at_k(k, sum(row), j) for row in right], k) for j in sizes if j > 1}
    if k > 1:
        votes = [majority(one_spelling(g.answers, g.problem), row) for g, row in zip(graded, right)]
        found[f"maj@{k}"] = share_interval(votes, k)
    hit_limit = [sum(not r.finished for r in g.responses) / k for g in drawn]
    found["truncated"] = share_interval(hit_limit, k) if drawn else (None, None, None)
    lengths = [[(r.tokens, earned.accuracy == 1.0) for r, earned in zip(g.responses, g.rewards)] for g in drawn]
    found["length"] = mean_interval([[n for n, _ in row] for row in lengths])
    found["length_right"] = mean_interval([[n for n, ok in row if ok] for row in lengths])
    found["length_wrong"] = mean_interval([[n for n, ok in row if not ok] for row in lengths])
    return {"problems": len(graded), "k": k, "too_long": len(graded) - len(drawn), **flat(found)}


def behaviours(graded: list[Graded]) -> dict:
    """Of each behaviour the mean count a response and `_share`, the responses with any; and the outcome efficiency.

    Outcome efficiency (arXiv 2412.21187): tokens up to the first right answer by all tokens, 0 for a wrong response;
    `efficiency_right` is its mean over right responses alone.
    """
    drawn, found, k = [g for g in graded if g.responses[0].tokens], {}, len(graded[0].responses)
    counts = [[behaviour.count(r.text, g.problem) for r in g.responses] for g in drawn]
    for name in behaviour.RULES:
        found[name] = mean_interval([[c[name] for c in row] for row in counts])
        some = [sum(c[name] > 0 for c in row) / k for row in counts]
        found[name + "_share"] = share_interval(some, k) if some else (None, None, None)
    spent = [[responses.tokens_until(r, behaviour.first_right(r.text, g.problem)) / r.tokens if earned.accuracy else None
              for r, earned in zip(g.responses, g.rewards)] for g in drawn]
    found["efficiency"] = mean_interval([[share or 0.0 for share in row] for row in spent])
    found["efficiency_right"] = mean_interval([[share for share in row if share is not None] for row in spent])
    return flat(found)


def evaluate(model, tokenizer, problems: list[tasks.Problem], template: str, reward_name: str, k: int,
             sampling: sample.Sampling, seed: int, progress: str | None = None,
             style: str = "auto", slots: int = 256, decoder=None) -> tuple[dict, list[Graded]]:
    """Sample k responses to each problem, `slots` at a time or as `decoder` has, and grade them; (figures, graded)."""
    prompts, context = encoded(problems, template, tokenizer), model.config.max_position_embeddings
    fit = [i for i, prompt in enumerate(prompts) if len(prompt) + sampling.max_new_tokens <= context]
    rollouts = fit and sample.generate(model, tokenizer, [prompts[i] for i in fit], sampling, k, seed, slots,
                                       progress=progress, decoder=decoder)
    kept = {i: [responses.keep(tokenizer, r) for r in rollouts[at * k:(at + 1) * k]] for at, i in enumerate(fit)}
    graded = [responses.grade(p, kept.get(i, [Response("", 0, False)] * k), reward_name, style)
              for i, p in enumerate(problems)]
    return figures(graded), graded


def encoded(problems: list[tasks.Problem], template: str, tokenizer) -> list[list[int]]:
    return [tasks.encode(tasks.prompt(p, template, tokenizer), template, tokenizer) for p in problems]


# ---------------------------------------------------------------- python eval.py

@dataclass(frozen=True)
class EvalConfig:
    model: str = setting("base", "model folder or hub id")
    task: str = setting("countdown", "countdown, kk or arithmetic, with a size if you like (countdown:4); math, to grade "
                                     "the answers of --data as maths")
    suite: str | None = setting(None, "benchmarks, instead of --task: math (five of them), gsm8k, or names with commas")
    data_dir: str | None = setting(None, "folder that holds the files of --suite; else they are fetched once")
    data: str | None = setting(None, "JSONL file of problems, instead of --task")
    split: str = setting("held-out", "problems of --data: its held-out side, or all", choices=("held-out", "all"))
    question_field: str = setting("", "field of --data that holds the question; by default it is found")
    answer_field: str = setting("", "field of --data that holds the answer; by default it is found")
    levels: str = setting("", "levels of --data that are taken, as 3,4,5 or 3-5; by default all")
    n: int = setting(512, "problems (of each benchmark); 0 takes all, the default of --suite and --split all")
    k: int = setting(1, "responses per problem")
    protocol: str | None = setting(None, "temperature, top-p, length and k as a system has them; other flags beat it",
                                   choices=tuple(PROTOCOLS))
    template: str = setting("short", "prompt template", choices=tuple(tasks.TEMPLATES))
    reward: str = setting("dr_grpo", "rule that decides what is right", choices=tuple(reward.REWARDS))
    answer_style: str = setting("auto", "where in a response the answer stands", choices=extract.STYLES)
    max_new_tokens: int = setting(256, "longest response, tokens")
    temperature: float = setting(1.0, "0 is greedy")
    top_k: int = setting(0, "keep the k likeliest tokens; 0 keeps all")
    top_p: float = setting(1.0, "keep the smallest set with this probability")
    min_p: float = setting(0.0, "keep tokens with this share of the likeliest one's probability")
    slots: int = setting(256, "responses that decode at a time; fewer take less memory")
    seed: int = setting(0, "seed of the draws; the held-out problems are always the same")
    json: str | None = setting(None, "write the figures to this file")
    save: str | None = setting(None, "write every response to this file")
    regrade: str | None = setting(None, "grade the responses of a file from --save again, without a model")
    device: str = setting("auto", "auto, cpu or cuda")


def held_out(task: str, n: int, data: str | None = None, question_field: str = "", answer_field: str = "",
             levels: str = "", split: str = "held-out") -> list[tasks.Problem]:
    """The first n problems of a task's or file's held-out side, or of the whole file: the same for every run and seed."""
    if data is None:
        return tasks.draw(task, "held-out", 0, n)
    how = data, question_field, answer_field, "math" if task == "math" else "data", jsonl.levels_of(levels)
    problems = tasks.read_rows(*how) if split == "all" else tasks.read_jsonl(*how)["held-out"]
    return problems[:n] if n else problems


def settled(c: EvalConfig, given: set[str]) -> EvalConfig:
    """The settings with the protocol's filled in; Refusal if they contradict each other."""
    if sum(value is not None for value in (c.suite, c.data, c.regrade)) > 1:
        raise Refusal("choose one of --suite, --data and --regrade")
    if extra := c.regrade and given - {"regrade", "reward", "answer_style", "json", "save"}:
        raise Refusal(f"--regrade takes the file's own settings; leave out --{min(extra).replace('_', '-')}")
    if c.data_dir and not c.suite:
        raise Refusal("--data-dir holds the files of a --suite: name the suite")
    if c.data is None and (c.split == "all" or c.levels or c.task == "math"):
        raise Refusal("--split, --levels and --task math say how to take a file: name it with --data")
    for flag, file in (("--json", c.json), ("--save", c.save)):  # said before the work, not after it
        if file and not Path(file).parent.is_dir():
            raise Refusal(f"{flag} {file}: there is no such folder")
        if file and (Path(file).is_dir() or not os.access(Path(file).parent, os.W_OK)):
            raise Refusal(f"{flag} {file}: no file can be written there")
    if c.save and c.json and Path(c.save).resolve() == Path(c.json).resolve():
        raise Refusal("--save and --json name the same file")
    if "task" in given and (c.suite or c.data and c.task != "math"):
        raise Refusal(f"--task {c.task} beside {'--suite' if c.suite else '--data'}: a file has its own problems (--task math "
                      "grades those of --data as maths)")
    whole = {"n": 0} if c.suite or c.split == "all" else {}
    c = replace(c, **{name: value for name, value in {**whole, **PROTOCOLS.get(c.protocol, {})}.items()
                      if name not in given})
    if c.n < (0 if c.data or c.suite else 1) or min(c.k, c.slots) < 1:
        raise Refusal("--n, --k and --slots must be at least 1")
    return c


def fitted(c: EvalConfig, given: set[str], context: int, prompts: list[list[int]]) -> EvalConfig:
    """A protocol's longest response, lowered to what the longest prompt leaves of the context, at least half of it."""
    room = max(context - max(map(len, prompts)), context // 2)
    if c.protocol and "max_new_tokens" not in given and c.max_new_tokens > room:
        print(f"--protocol {c.protocol}: {room} new tokens, not {c.max_new_tokens}: the model's context is {context}")
        return replace(c, max_new_tokens=room)
    if c.max_new_tokens >= context:
        raise Refusal(f"--max-new-tokens {c.max_new_tokens} leaves no room for a prompt in the model's context of {context}")
    return c


def sampled(c: EvalConfig, given: set[str]) -> tuple[EvalConfig, dict[str, list[Graded]]]:
    """(the settings used, the graded problems of each benchmark)."""
    if c.suite:
        problems = {name: p[:c.n or None] for name, p in benchmarks.load(c.suite, c.data_dir).items()}
    else:
        name = Path(c.data).stem if c.data else c.task
        problems = {name: held_out(c.task, c.n, c.data, c.question_field, c.answer_field, c.levels,
                                   c.split)}
    model, tokenizer = lm.load(c.model, *pick_device(c.device))
    c = fitted(c, given, model.config.max_position_embeddings,
               encoded([p for group in problems.values() for p in group], c.template, tokenizer))
    sampling = sample.Sampling(c.max_new_tokens, c.temperature, c.top_k, c.top_p, c.min_p,
                               tasks.STOP_STRINGS.get(c.template, ()))
    return c, {name: evaluate(model, tokenizer, group, c.template, c.reward, c.k, sampling, c.seed, name, c.answer_style,
                              c.slots)[1] for name, group in problems.items()}


def regraded(c: EvalConfig, given: set[str]) -> tuple[EvalConfig, dict[str, list[Graded]]]:
    """(the settings of the saved file with what was given by hand, its problems graded again)."""
    stored, problems = responses.read(c.regrade)
    by_hand = {name: getattr(c, name) for name in ("regrade", "json", "save", *given)}
    c = EvalConfig(**{**check_values(stored, EvalConfig, c.regrade), **by_hand})
    return c, {name: [responses.grade(p, r, c.reward, c.answer_style) for p, r in group] for name, group in problems.items()}


def main():
    c, given = parse(EvalConfig, "accuracy on held-out problems or benchmarks, with intervals")
    c, graded = (regraded if c.regrade else sampled)(settled(c, given), given)
    found = {name: {**figures(group), **behaviours(group)} for name, group in graded.items()}
    source, known = benchmarks.published(c.model)
    known = {name: value for name, value in known.items() if name in found and c.suite and not c.n}  # beside whole benchmarks
    for name, value in known.items():
        found[name]["published"] = value
    print(tables.table(found, source if known else ""))
    if c.save:
        responses.save(Path(c.save), asdict(c), graded)
    if c.json:
        rows = tables.with_mean(found)
        body = rows[next(iter(rows))] if len(rows) == 1 else {"benchmarks": found, "mean": rows["mean"]}
        write_file(Path(c.json), json.dumps({"config": asdict(c), **({"published_source": source} if known else {}), **body},
                                            indent=2) + "\n")


if __name__ == "__main__":
    run(main)
