"""Accuracy with its uncertainty: pass@1, avg@k, pass@k and maj@k.

Beside it the lengths, the truncated share, and behaviours by rule.

    python eval.py --model base --task countdown --n 512 --k 16 --json out.json
    python eval.py --model MODEL --template qwen-math --suite math --protocol dr-grpo
    python eval.py --model MODEL --save out.jsonl --html out.html
    python eval.py --model base --force-wait 2 --wait-text $'\n' --wait-unless " yes"
    python eval.py --regrade out.jsonl
    python eval.py --split train --n 2048 --save responses.jsonl    # for sft.py --data

Intervals are by problem: the k responses to one problem are not k independent pieces of evidence.
A prompt that does not fit the context counts as wrong; its problem is in every share of right
answers, and in no length, truncated share or behaviour, because nothing was drawn for it.

Responses are drawn here. What is kept of them, the figures, and what test-time methods do to the
draws are the business of `evaluation/`.
"""

import itertools
import json
import math
import os
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import model as lm
import reward
import sample
import tasks
from config import UserError, check_values, parse, run_program, setting
from engine.decoder import MOST_SLOTS
from engine.device import DTYPES, default_budget, pick_device
from engine.plan import out_of_memory, plan_slots
from evaluation import (
    Graded,
    behaviours,
    benchmarks,
    budget,
    figures,
    page,
    responses,
    tables,
    thoughts,
    tokens,
    votes,
)
from reward import STYLES
from storage import model_folder, pinned
from storage.folders import check_file, write_file
from tasks import files

# How the systems measure: temperature, top-p, longest response, responses a problem.
# A flag given by hand beats it.
PROTOCOLS = {
    # arXiv 2503.20783
    "dr-grpo": dict(temperature=0.0, top_p=1.0, max_new_tokens=3000, k=1),
    # arXiv 2501.12948: 4 to 64 responses, by benchmark
    "r1": dict(temperature=0.6, top_p=0.95, max_new_tokens=32768, k=16),
    # arXiv 2503.18892; AIME24 also with k 32
    "simplerl-zoo": dict(temperature=1.0, top_p=0.95, max_new_tokens=16000, k=1),
    # arXiv 2501.19393: the last 100 tokens are kept for a forced answer
    "s1": dict(temperature=0.0, top_p=1.0, max_new_tokens=32768, k=1, think_cap=32668),
}


# ---------------------------------------------------------------- an evaluation


def evaluate(
    model,
    tokenizer,
    problems: list[tasks.Problem],
    template: str,
    reward_name: str,
    k: int,
    sampling: sample.Sampling,
    seed: int,
    progress: str | None = None,
    style: str = "auto",
    slots: int = MOST_SLOTS,
    decoder=None,
    on_rollout=None,
    generate=None,
) -> tuple[dict, list[Graded]]:
    """Sample k responses to each problem and grade them; (figures, graded).

    `slots` responses decode at a time, or as many as `decoder` has. `progress` names the bar.
    on_rollout(index of the problem, rollout) is called for each, in order, when all are drawn.
    generate: a test-time method that draws in place of the sampler.
    """
    vocabulary = model.config.vocab_size
    prompts = tasks.encode_prompts(problems, template, tokenizer, vocabulary)
    text_of = partial(sample.text_of, model, tokenizer)
    context = model.config.max_position_embeddings
    longest = context - sampling.max_new_tokens
    fit = [i for i, prompt in enumerate(prompts) if len(prompt) <= longest]
    rollouts = []
    if fit:
        draw = generate or sample.generate
        rollouts = draw(
            model,
            tokenizer,
            [prompts[i] for i in fit],
            sampling,
            n=k,
            seed=seed,
            slots=slots,
            progress=progress,
            decoder=decoder,
        )
    drawn = {i: [] for i in fit}
    for number, rollout in enumerate(rollouts):
        i = fit[number // k]  # the k rollouts of a prompt stand together
        drawn[i].append(responses.keep(rollout, text_of))
        if on_rollout is not None:
            on_rollout(i, rollout)
    graded = []
    for i, problem in enumerate(problems):
        group = drawn.get(i, [responses.NOT_DRAWN] * k)
        graded.append(responses.grade(problem, group, reward_name, style))
    return figures(graded), graded


def held_out(
    task: str,
    n: int,
    data: str | None = None,
    question_field: str = "",
    answer_field: str = "",
    levels: str = "",
    split: str = "held-out",
    style: str = "auto",
    seed: int = 0,
) -> list[tasks.Problem]:
    """The first n problems of a task's or file's held-out side, its training side, or of the whole
    file.

    Of a file 0 takes all. They are the same for every run and seed, but for training problems that
    a task generates: these are others with every seed.
    """
    if data is None:
        if split == "train":
            return tasks.make_problems(task, "train", seed, n)
        return tasks.make_problems(task, "held-out", 0, n)
    kind = "data"
    if task == "math":
        kind = "math"
    can_be_right = partial(reward.can_be_right, style=style)
    how = (data, question_field, answer_field, kind, files.levels_of(levels), can_be_right)
    if split == "all":
        problems = tasks.read_rows(*how)
        files.warn_of_contradictions(problems, data)
    else:
        problems = tasks.read_jsonl(*how)[split]
    return first(problems, n)


def first(problems: list[tasks.Problem], n: int) -> list[tasks.Problem]:
    """The first n problems; 0 takes all."""
    if n == 0:
        return problems
    return problems[:n]


# ---------------------------------------------------------------- python eval.py


# Headings of --help.
BUDGET = "budget forcing (s1, arXiv 2501.19393)"
SWITCHES = "a penalty on switching thoughts (TIP, arXiv 2501.18585)"


@dataclass(frozen=True)
class EvalConfig:
    """The settings of an evaluation."""

    model: str = setting("base", "model folder or hub id")
    task: str = setting(
        "countdown",
        "countdown, kk, kk-perturbed, arithmetic, sums or words, with a size if you like "
        "(countdown:4); math, to grade the answers of --data as maths",
    )
    suite: str | None = setting(
        None,
        "benchmarks, instead of --task: math (five of them), gsm8k, or names with commas",
    )
    data_dir: str | None = setting(
        None, "folder of the files that --suite and --data name; by default they are fetched once"
    )
    data: str | None = setting(
        None,
        f"file of problems (JSON lines, a JSON array, parquet), or {' or '.join(pinned.TRAINING)}, "
        "which are fetched once; instead of --task",
    )
    split: str = setting(
        "held-out",
        "problems of --task or --data: the held-out side, the training side (for sft.py), or all "
        "of --data",
        choices=("held-out", "train", "all"),
    )
    question_field: str = setting(
        "", "field of --data that holds the question; by default it is found"
    )
    answer_field: str = setting(
        "",
        "field of --data that holds the answer, as reward_model.ground_truth; by default it is "
        "found",
    )
    levels: str = setting("", "levels of --data that are taken, as 3,4,5 or 3-5; by default all")
    n: int = setting(
        512,
        "problems (of each benchmark); 0 takes all, the default of --suite and --split all",
    )
    k: int = setting(1, "responses per problem")
    protocol: str | None = setting(
        None,
        "temperature, top-p, length and k as a system has them; other flags beat it",
        choices=tuple(PROTOCOLS),
    )
    template: str = setting("short", "prompt template", choices=tuple(tasks.TEMPLATES))
    stop: tuple[str, ...] = setting(
        (),
        "end a response whose text ends in this string, beside the template's own; may be given "
        "more than once",
    )
    reward: str = setting(
        "dr_grpo", "rule that decides what is right", choices=tuple(reward.REWARDS)
    )
    answer_style: str = setting("auto", "where in a response the answer stands", choices=STYLES)
    max_new_tokens: int = setting(256, "longest response, tokens")
    temperature: float = setting(1.0, "0 is greedy")
    top_k: int = setting(0, "keep the k likeliest tokens; 0 keeps all")
    top_p: float = setting(1.0, "keep the smallest set with this probability")
    min_p: float = setting(0.0, "keep tokens with this share of the likeliest one's probability")
    slots: int = setting(
        0,
        f"responses that decode at a time; 0: what the memory holds, {MOST_SLOTS} at most, twice "
        "as many from 80 GB on",
    )
    seed: int = setting(
        0,
        "seed of the draws, and of a task's training problems; the held-out problems are always "
        "the same",
    )
    json: str | None = setting(None, "write the figures to this file")
    save: str | None = setting(None, "write every response to this file")
    html: str | None = setting(None, "write the responses to this page, as report.py shows a run's")
    regrade: str | None = setting(
        None, "grade the responses of a file from --save again, without a model"
    )
    device: str = setting("auto", "auto, cpu or cuda")
    dtype: str = setting("auto", "compute type: auto, fp32 or bf16", choices=("auto", *DTYPES))
    force_wait: int = setting(
        0,
        "times that the end of a response's thinking is taken away and --wait-text put there",
        group=BUDGET,
    )
    wait_text: str = setting("Wait", "what is put there", group=BUDGET)
    wait_unless: str = setting(
        "", "the thinking may end after all if its last line holds this text", group=BUDGET
    )
    end_of_thinking: str = setting(
        "</think>", "what ends the thinking; without it the stop token does", group=BUDGET
    )
    think_cap: int = setting(
        0, "tokens after which the thinking is closed and an answer forced; 0: never", group=BUDGET
    )
    final_text: str = setting(
        "", "what closes it and begins the answer; by default the template's form", group=BUDGET
    )
    answer_tokens: int = setting(
        100, "longest forced answer, tokens, --final-text among them", group=BUDGET
    )
    switch_penalty: float = setting(
        0.0, "subtracted from the logits of ids that begin a switch word", group=SWITCHES
    )
    switch_window: int = setting(
        600, "tokens from the beginning of a thought for which that holds", group=SWITCHES
    )
    switch_words: tuple[str, ...] = setting(
        ("Alternatively",),
        "what begins another thought; may be given more than once",
        group=SWITCHES,
    )


def settled(settings: EvalConfig, given: set[str]) -> EvalConfig:
    """The settings with the protocol's filled in; UserError if they contradict each other."""
    check_source(settings, given)
    check_files(settings)
    check_task(settings, given)
    tasks.stop_strings(settings.template, settings.stop)
    settings = with_defaults(settings, given)
    fewest = 1
    if settings.data or settings.suite:
        fewest = 0  # takes all
    if settings.n < fewest or settings.k < 1:
        raise UserError("--n and --k must be at least 1")
    if settings.slots < 0:
        raise UserError("--slots must be at least 0")
    check_budget(settings, given)
    check_switches(settings, given)
    return settings


def check_budget(settings: EvalConfig, given: set[str]) -> None:
    """Refuse a budget that cannot be forced, and what says how to force one that is not asked."""
    if settings.force_wait < 0 or settings.think_cap < 0 or settings.answer_tokens < 1:
        raise UserError(
            "--force-wait and --think-cap must be at least 0, --answer-tokens at least 1"
        )
    if not settings.wait_text or not settings.end_of_thinking:
        raise UserError("--wait-text and --end-of-thinking must not be empty")
    if given & {"wait_text", "wait_unless"} and "force_wait" not in given:
        raise UserError("--wait-text and --wait-unless say how --force-wait waits: give it")
    if given & {"final_text", "answer_tokens"} and not settings.think_cap:
        raise UserError("--final-text and --answer-tokens say what --think-cap forces: give it")
    if "end_of_thinking" in given and not given & {"force_wait", "think_cap", "protocol"}:
        raise UserError("--end-of-thinking is for --force-wait and --think-cap: give one")
    if settings.think_cap and longest_forced(settings) > settings.max_new_tokens:
        raise UserError(
            f"--think-cap {settings.think_cap} and --answer-tokens {settings.answer_tokens} are "
            f"more than --max-new-tokens {settings.max_new_tokens}: lower one"
        )


def check_switches(settings: EvalConfig, given: set[str]) -> None:
    """Refuse a penalty on switches that says nothing, or stands beside another method."""
    if not 0 <= settings.switch_penalty < math.inf or settings.switch_window < 1:
        raise UserError("--switch-penalty must be at least 0, --switch-window at least 1")
    if not all(word.strip() == word and word for word in settings.switch_words):
        raise UserError("--switch-words must be words without blanks around them")
    if given & {"switch_window", "switch_words"} and "switch_penalty" not in given:
        raise UserError("--switch-window and --switch-words are for --switch-penalty: give it")
    if settings.switch_penalty and (settings.force_wait or settings.think_cap):
        raise UserError("choose one: --switch-penalty, or --force-wait and --think-cap")


def longest_forced(settings: EvalConfig) -> int:
    """The tokens that a response whose thinking is closed by the cap may have; 0 without a cap."""
    if not settings.think_cap:
        return 0
    return settings.think_cap + settings.answer_tokens


def check_source(settings: EvalConfig, given: set[str]) -> None:
    """Refuse problems from two places at once, and settings of a place that is not named."""
    sources = (settings.suite, settings.data, settings.regrade)
    named = [source for source in sources if source is not None]
    if len(named) > 1:
        raise UserError("choose one of --suite, --data and --regrade")
    extra = given - {"regrade", "reward", "answer_style", "json", "save", "html"}
    if settings.regrade and extra:
        flag = min(extra).replace("_", "-")
        raise UserError(f"--regrade takes the file's own settings; leave out --{flag}")
    if settings.data_dir and not settings.suite and settings.data not in pinned.TRAINING:
        raise UserError(
            "--data-dir holds the files of --suite and of --data "
            f"{' or '.join(pinned.TRAINING)}: name one of these"
        )
    of_file = settings.split == "all" or settings.levels or settings.task == "math"
    if settings.suite and settings.split == "train":
        raise UserError("--split train: benchmarks have no training side; leave out --suite")
    if settings.data is None and of_file:
        raise UserError(
            "--split all, --levels and --task math say how to take a file: name it with --data"
        )
    if settings.data is None and (settings.question_field or settings.answer_field):
        raise UserError("--question-field and --answer-field name fields of --data")


def check_files(settings: EvalConfig) -> None:
    """Refuse a file that cannot be written: this is said before the work, not after it."""
    outputs = {"--json": settings.json, "--save": settings.save, "--html": settings.html}
    outputs = {flag: file for flag, file in outputs.items() if file}
    for flag, file in outputs.items():
        check_file(flag, file)
        place = Path(os.path.realpath(file))
        model = model_folder.local(settings.model)
        if model and place.exists() and place.parent == model.resolve():
            raise UserError(f"{flag} {file}: that is a file of --model")
        for source in (settings.data, settings.regrade):
            if source and Path(source).resolve() == Path(file).resolve():
                raise UserError(f"{flag} {file}: that is the file that is read")
    for (flag, file), (other, second) in itertools.combinations(reversed(outputs.items()), 2):
        if Path(file).resolve() == Path(second).resolve():
            raise UserError(f"{flag} and {other} name the same file")


def check_task(settings: EvalConfig, given: set[str]) -> None:
    """Refuse a task beside a file, but for `math`, which says how the file is graded."""
    if "task" not in given:
        return
    beside = ""
    if settings.suite:
        beside = "--suite"
    elif settings.data and settings.task != "math":
        beside = "--data"
    if beside:
        raise UserError(
            f"--task {settings.task} beside {beside}: a file has its own problems (--task math "
            "grades those of --data as maths)"
        )


def with_defaults(settings: EvalConfig, given: set[str]) -> EvalConfig:
    """The settings as a whole file and the protocol have them, but for those given by hand."""
    changes = {}
    if settings.suite or settings.split == "all":
        changes["n"] = 0
    changes.update(PROTOCOLS.get(settings.protocol, {}))
    if "think_cap" in changes and "max_new_tokens" in given:  # the answer stays within these
        room = settings.max_new_tokens - settings.answer_tokens
        changes["think_cap"] = max(1, min(changes["think_cap"], room))
    for name in given:
        changes.pop(name, None)
    return replace(settings, **changes)


def fitted(
    settings: EvalConfig, given: set[str], context: int, prompts: list[list[int]]
) -> EvalConfig:
    """The settings with a protocol's longest response lowered to what the context leaves, aloud.

    That is what the longest prompt leaves, and at least half of the context. A length given by hand
    stays; UserError if it leaves no room for a prompt.
    """
    longest_prompt = max(map(len, prompts))
    left = max(context - longest_prompt, context // 2)
    wanted = settings.max_new_tokens
    by_protocol = settings.protocol and "max_new_tokens" not in given
    if by_protocol and wanted > left:
        print(
            f"--protocol {settings.protocol}: {left} new tokens, not {wanted}: "
            f"the model's context is {context}"
        )
        changes = {"max_new_tokens": left}
        if "think_cap" not in given:
            changes["think_cap"] = min(settings.think_cap, left - settings.answer_tokens)
        settings = replace(settings, **changes)
        check_budget(settings, given)
        return settings
    if wanted >= context:
        raise UserError(
            f"--max-new-tokens {wanted} leaves no room for a prompt in the model's context of "
            f"{context}"
        )
    return settings


# ---------------------------------------------------------------- graded problems, drawn or read


def problems_of(settings: EvalConfig) -> dict[str, list[tasks.Problem]]:
    """{benchmark: its problems}; a task or a file is one benchmark."""
    if settings.suite:
        suite = benchmarks.load(settings.suite, settings.data_dir)
        return {name: first(problems, settings.n) for name, problems in suite.items()}
    name = settings.task
    place = None
    if settings.data:
        name = Path(settings.data).stem
        place = pinned.place_of_data(settings.data, settings.data_dir)
    problems = held_out(
        settings.task,
        settings.n,
        place,
        settings.question_field,
        settings.answer_field,
        settings.levels,
        settings.split,
        settings.answer_style,
        settings.seed,
    )
    return {name: problems}


def sampled(
    settings: EvalConfig, given: set[str], lines: dict
) -> tuple[EvalConfig, dict[str, list[Graded]]]:
    """(the settings used, the graded problems of each benchmark).

    What --html shows of each benchmark is put into `lines`.
    """
    found = problems_of(settings)
    device = pick_device(settings.device)
    model, tokenizer = lm.load(settings.model, device, settings.dtype)
    prompts = []
    for problems in found.values():
        vocabulary = model.config.vocab_size
        prompts += tasks.encode_prompts(problems, settings.template, tokenizer, vocabulary)
    settings = fitted(settings, given, model.config.max_position_embeddings, prompts)
    sampling = sample.Sampling(
        settings.max_new_tokens,
        settings.temperature,
        settings.top_k,
        settings.top_p,
        settings.min_p,
        tasks.stop_strings(settings.template, settings.stop),
    )
    slots = slots_for(settings, model, prompts)
    generate = generate_for(settings, model, tokenizer)
    graded = {}
    for name, problems in found.items():
        rollouts = []
        with out_of_memory(f"while sampling: lower --slots, {slots} now", resumable=False):
            _, graded[name] = evaluate(
                model,
                tokenizer,
                problems,
                settings.template,
                settings.reward,
                settings.k,
                sampling,
                settings.seed,
                progress=name,
                style=settings.answer_style,
                slots=slots,
                on_rollout=partial(keep_rollout, rollouts),
                generate=generate,
            )
        if settings.html:
            with out_of_memory("in a look at tokens: leave out --html", resumable=False):
                lines[name] = lines_of(model, tokenizer, graded[name], rollouts, settings)
    return settings, graded


def generate_for(settings: EvalConfig, model, tokenizer):
    """What draws the responses: the sampler, or a test-time method around it."""
    if settings.switch_penalty:
        words = settings.switch_words
        how = (settings.switch_penalty, settings.switch_window, model, tokenizer)
        return partial(sample.generate, bias=thoughts.SwitchPenalty(words, *how))
    if not settings.force_wait and not settings.think_cap:
        return sample.generate
    forced = budget.Budget(
        settings.force_wait,
        settings.wait_text,
        settings.wait_unless,
        settings.end_of_thinking,
        settings.think_cap,
        settings.final_text or budget.final_text_of(settings.template),
        settings.answer_tokens,
    )
    text_of = partial(sample.text_of, model, tokenizer)
    return budget.Forcing(forced, model, tokenizer, sample.generate, sample.random_numbers, text_of)


def slots_for(settings: EvalConfig, model, prompts: list[list[int]]) -> int:
    """The responses that decode at a time, for the longest prompt that fits the context."""
    room = model.config.max_position_embeddings - settings.max_new_tokens
    lengths = [len(prompt) for prompt in prompts if len(prompt) <= room]
    tokens = max(lengths, default=0) + settings.max_new_tokens
    rollouts = max(1, len(lengths)) * settings.k
    return plan_slots(model.config, tokens, settings.slots, rollouts, model.device, model.dtype)


def keep_rollout(kept: list, i: int, rollout: sample.Rollout) -> None:
    """Put a rollout, with its problem's index, behind those that are kept."""
    kept.append((i, rollout))


# Tokens of a benchmark that --html looks at: more than its page holds.
MOST_LOOKED_AT = 60_000


def lines_of(model, tokenizer, graded: list[Graded], rollouts: list, settings) -> list[dict]:
    """A line for each problem, as a run has them in tokens.jsonl; rollouts: (problem, rollout).

    Where a test-time method has drawn there are no log-probs to show, and lines have texts alone.
    """
    if not all(rollout.logprobs for _, rollout in rollouts):
        return tokens.text_lines(graded)
    looked_at = []
    total = 0
    for _, rollout in rollouts:
        total += len(rollout.response)
        if total > MOST_LOOKED_AT:
            break
        looked_at.append(rollout)
    looks = lm.look(
        model,
        [rollout.prompt for rollout in looked_at],
        [rollout.response for rollout in looked_at],
        settings.temperature or 1.0,  # greedily drawn ones as the model itself sees them
        default_budget(model.device),
    )
    silent = sample.silent_ids(model, tokenizer)
    drawn = {}
    for (i, rollout), look in zip(rollouts, looks):
        drawn.setdefault(i, []).append((rollout, look))
    lines = []
    for i, group in enumerate(graded):
        records = []
        for k, response in enumerate(group.responses):
            earned = group.rewards[k]
            if k < len(drawn.get(i, ())):
                rollout, look = drawn[i][k]
                records.append(tokens.response_record(rollout, response.text, earned, look))
            else:
                records.append(tokens.text_record(response, earned))
        about = (0, "eval", i, group.problem)
        lines.append(tokens.problem_line(*about, tokenizer, silent, records))
    return lines


def regraded(settings: EvalConfig, given: set[str]) -> tuple[EvalConfig, dict[str, list[Graded]]]:
    """(the settings of the saved file with what was given by hand, its problems graded again)."""
    stored, found = responses.read(settings.regrade)
    used = check_values(stored, EvalConfig, settings.regrade)
    for name in ("regrade", "json", "save", "html", *given):
        used[name] = getattr(settings, name)
    settings = EvalConfig(**used)
    graded = {}
    for name, problems in found.items():
        graded[name] = []
        for problem, group in problems:
            again = responses.grade(problem, group, settings.reward, settings.answer_style)
            graded[name].append(again)
    return settings, graded


# ---------------------------------------------------------------- what is printed and written


def add_published(found: dict[str, dict], settings: EvalConfig) -> str:
    """Put the published figures of the model beside ours, of whole benchmarks only.

    Returns their source, "" if there are none.
    """
    if not settings.suite or settings.n:
        return ""
    source, known = benchmarks.published(settings.model)
    beside = ""
    for name, value in known.items():
        if name in found:
            found[name]["published"] = value
            beside = source
    return beside


def as_json(found: dict[str, dict], source: str, settings: EvalConfig) -> str:
    """The figures and their settings as JSON; of several benchmarks, each and their mean."""
    content = {"config": asdict(settings)}
    if source:
        content["published_source"] = source
    if len(found) == 1:
        content |= next(iter(found.values()))
    else:
        content["benchmarks"] = found
        content["mean"] = tables.with_mean(found)["mean"]
    return json.dumps(content, indent=2) + "\n"


def main():
    settings, given = parse(
        EvalConfig, "accuracy on held-out problems or benchmarks, with intervals"
    )
    settings = settled(settings, given)
    lines = {}
    if settings.regrade:
        settings, graded = regraded(settings, given)
        for name, groups in graded.items():
            lines[name] = tokens.text_lines(groups)
    else:
        settings, graded = sampled(settings, given, lines)
    found = {}
    for name, group in graded.items():
        found[name] = votes(group) | figures(group) | behaviours(group)
        if settings.force_wait or settings.think_cap:
            found[name] |= budget.figures(group, longest_forced(settings))
    source = add_published(found, settings)
    print(tables.table(found, source))
    if settings.save:
        responses.save(Path(settings.save), asdict(settings), graded)
    if settings.json:
        write_file(Path(settings.json), as_json(found, source, settings))
    if settings.html:
        page.write_evaluation(settings.html, settings.model, asdict(settings), found, lines)


if __name__ == "__main__":
    run_program(main)
