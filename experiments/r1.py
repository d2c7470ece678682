"""DeepSeek-R1's four stages, one call below the other, and R1-Zero beside them (arXiv 2501.12948).

    python -m experiments.r1 --model base
    python -m experiments.r1 --model MODEL --template r1-summary --data problems.jsonl --others ""
    python -m experiments.r1 --model MODEL --traces traces.jsonl      # a cold start of your own

    R1-Zero  section 2.2    RL from the base; it pays right answers and the format
    stage 1  section 2.3.1  cold start: the base is trained on a few readable traces
    stage 2  section 2.3.2  RL from there; it pays right answers and the language of the thinking
    stage 3  section 2.3.3  rejection sampling: the base, again, is trained on the right responses
                            of stage 2 and on other data
    stage 4  section 2.3.4  RL on all tasks; it pays the summary, too, and no forbidden word

Each stage is a call of sft.py or train.py, printed as the command that does the same. Started again
the script goes on where it was; --out keeps the settings, and others are refused there. Then every
model answers the same held-out problems, and a table tells what each stage has changed.

The paper's cold start has "thousands" of traces: by few-shot prompting, by asking for detailed
answers, and from R1-Zero's own readable responses, mended by people. Here they come from --traces;
or R1-Zero is prompted with the examples of --examples; or, without either, its own right
responses get a summary by rule, the last line of their thinking. Whatever drew them, the right and
readable ones are kept.

What is ours: the last stage's reward models are rules (reward.r1_scenarios); the other data of
stage 3 (200,000 samples of writing, question answering and more) are the base's right responses to
other tasks of this project; the weights of the reward's parts, which the paper does not give, are
1.
"""

import json
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path

import model as lm
import reward
import sample
import sft
import tasks
import train
from config import UserError, check_settings, flag_of, parse, run_program, setting
from engine.device import DTYPES, pick_device
from eval import evaluate, held_out
from evaluation import Graded, responses
from experiments.training import write_rows
from storage.folders import write_file
from tasks.pairs import read_pairs

READABLE = 0.9  # least share of a trace's words that are in Latin letters
OTHER_SHARE = 0.25  # of stage 3's rows: 200,000 of 800,000
EPOCHS = 2  # of stage 3, and here of stage 1
SAVE_EVERY = 20  # steps of RL between checkpoints


@dataclass(frozen=True)
class R1Config:
    """The settings of the four stages."""

    model: str = setting("base", "the base: model folder or hub id")
    template: str = setting("short", "prompt template", choices=tuple(tasks.TEMPLATES))
    task: str = setting("countdown", "task of the reasoning stages")
    data: str | None = setting(None, "JSONL file of problems in place of --task")
    others: str = setting("kk:2,arithmetic", 'other tasks of stages 3 and 4, with commas; "": none')
    traces: str | None = setting(
        None, "JSONL file of pairs (prompt, response) for the cold start, in place of R1-Zero's own"
    )
    examples: str | None = setting(
        None, "JSONL file of pairs that R1-Zero is prompted with to write the traces"
    )
    n: int = setting(
        2048, "training problems that are answered to make the data of stages 1 and 3", at_least=1
    )
    k: int = setting(2, "responses to each of them", at_least=1)
    keep: str = setting("right", "responses that stage 3 trains on", choices=("right", "all"))
    steps: int = setting(40, "steps of each RL", at_least=1)
    prompts_per_step: int = setting(16, "problems a step of RL", at_least=1)
    group_size: int = setting(8, "responses to each of them", at_least=1)
    max_new_tokens: int = setting(256, "longest response, tokens", at_least=1)
    lr: float = setting(3e-4, "learning rate of R1-Zero", above=0)
    later_lr: float = setting(
        1e-4, "learning rate of stages 2 and 4, which begin at able models", above=0
    )
    sft_lr: float = setting(5e-4, "peak learning rate of stages 1 and 3", above=0)
    sft_rows: int = setting(32, "rows a step of stages 1 and 3", at_least=1)
    eval_problems: int = setting(256, "held-out problems of each task", at_least=1)
    seed: int = setting(0, "seed of every stage")
    out: str = setting("runs/r1", "folder for models, data and the table")
    device: str = setting("auto", "auto, cpu or cuda")
    dtype: str = setting("auto", "compute type: auto, fp32 or bf16", choices=("auto", *DTYPES))

    def __post_init__(self):
        check_settings(self)
        if self.traces and self.examples:
            raise UserError("--traces and --examples: choose one of them")
        for task in self.other_tasks():
            tasks.generator(task)

    def other_tasks(self) -> list[str]:
        """The names in --others."""
        return [name for name in self.others.split(",") if name]


# ---------------------------------------------------------------- the stages


def all_stages(config: R1Config) -> dict[str, Path | str]:
    """Name of each stage and the model that it leaves, in their order."""
    base = config.model
    # R1-Zero: RL alone.
    zero = reinforce(config, "zero", base, "r1", config.lr)

    # 1. Cold start: a few readable traces, with a summary.
    traces = cold_start_traces(config, zero)
    started = supervise(config, "1-cold-start", traces)

    # 2. Reasoning RL: right answers, and the language of the thinking.
    reasoning = reinforce(config, "2-reasoning", started, "r1_language", config.later_lr)

    # 3. Rejection sampling: the base is trained on the right responses, and on other data.
    drawn = draw_training_problems(config, "3-drawn", reasoning)
    other = other_data(config)
    rejected = supervise(config, "3-rejection-sampling", drawn, saved=True, other=other)

    # 4. RL for all scenarios: every task, the summary, and no forbidden word.
    every_task = problems_of_all_tasks(config)
    final = reinforce(
        config, "4-all-scenarios", rejected, "r1_scenarios", config.later_lr, every_task
    )
    return {
        "base": base,
        "R1-Zero": zero,
        "1 cold start": started,
        "2 reasoning RL": reasoning,
        "3 rejection sampling": rejected,
        "4 all scenarios": final,
    }


def keep_settings(config: R1Config) -> None:
    """Write the settings into --out; a UserError if the stages there were made with others.

    Those of the held-out problems and of the machine may change: they make no stage.
    """
    path = Path(config.out) / "settings.json"
    ours = asdict(config)
    for name in ("out", "eval_problems", "device", "dtype"):
        del ours[name]
    if path.is_file():
        try:
            theirs = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error}): choose another --out") from None
        others = [name for name in ours if theirs.get(name) != ours[name]]
        if others:
            flags = ", ".join(map(flag_of, others))
            raise UserError(
                f"--out {config.out} has stages that were made with another {flags}: choose "
                "another --out, or the same settings"
            )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps(ours, indent=2) + "\n")


def reinforce(
    config: R1Config, name: str, model: Path | str, reward_name: str, lr: float, files: tuple = ()
) -> Path:
    """RL from a model under a reward; returns the folder of the model that comes out.

    files: (training problems, held-out problems) in place of the task's or of --data.
    """
    folder = Path(config.out) / name
    task = config.task
    data = config.data
    eval_data = None
    if files:
        data, eval_data = map(str, files)
        task = train.TrainConfig.task  # whole problems say themselves what they are
    settings = train.TrainConfig(
        model=str(model),
        out=str(folder),
        task=task,
        data=data,
        eval_data=eval_data,
        template=config.template,
        reward=reward_name,
        steps=config.steps,
        prompts_per_step=config.prompts_per_step,
        group_size=config.group_size,
        max_new_tokens=config.max_new_tokens,
        lr=lr,
        eval_every=config.steps,
        eval_problems=min(64, config.eval_problems),
        save_every=SAVE_EVERY,
        seed=config.seed,
        device=config.device,
        dtype=config.dtype,
    )
    trained = folder / "checkpoints" / f"step-{config.steps}"
    announce("train.py", settings)
    if not trained.is_dir():
        if (folder / "config.json").is_file():  # it was interrupted, and goes on
            settings = train.resumed(train.TrainConfig(resume=str(folder)), {"resume"})
        summary = train.train(settings)
        if not summary:  # Ctrl-C: the run is saved, and so far no further
            raise KeyboardInterrupt
    return trained


def supervise(
    config: R1Config, name: str, data: Path, saved: bool = False, other: Path | None = None
) -> Path:
    """Supervised training of the base on a file; returns the folder of the model that comes out.

    saved: the file is one of `responses.save`: then --keep and R1's filters apply. other: a file of
    pairs, a quarter of the rows.
    """
    folder = Path(config.out) / name
    settings = sft.SFTConfig(
        model=config.model,
        out=str(folder),
        data=str(data),
        epochs=EPOCHS,
        rows=config.sft_rows,
        lr=config.sft_lr,
        warmup=5,
        save_every=10**9,  # at the end alone
        seed=config.seed,
        device=config.device,
        dtype=config.dtype,
    )
    if saved:
        settings = replace(settings, keep=config.keep, min_language=READABLE, drop_code=True)
    if other:
        settings = replace(settings, mix=(f"{other}:{OTHER_SHARE}",))
    announce("sft.py", settings)
    if not (folder / "model.safetensors").is_file():
        sft.train(settings)
    return folder


def announce(program: str, settings) -> None:
    """Print the command that does what a call with these settings does."""
    words = ["\npython", program]
    for field in fields(settings):
        value = getattr(settings, field.name)
        if value == field.default:
            continue
        flag = flag_of(field.name)
        if isinstance(value, bool):
            words.append(flag)
        elif isinstance(value, tuple):
            for part in value:
                words += [flag, str(part)]
        else:
            words += [flag, str(value)]
    print(" ".join(words), flush=True)


# ---------------------------------------------------------------- data of the stages


def training_problems(config: R1Config, purpose: str) -> list[tasks.Problem]:
    """`n` training problems of --task, others for each purpose, or the first ones of --data."""
    seed = f"{purpose}/{config.seed}"
    return held_out(config.task, config.n, config.data, split="train", seed=seed)


def problems_of_all_tasks(config: R1Config) -> tuple[Path, Path] | tuple:
    """Files of training and of held-out problems of all tasks; none if there is one task alone."""
    others = config.other_tasks()
    if not others:
        return ()
    training = training_problems(config, "scenarios")
    unseen = held_out(config.task, config.eval_problems, config.data)
    for task in others:
        share = len(training) // (len(others) + 1)
        # A small task may have fewer problems: then all that it has.
        training = training + tasks.up_to(task, "train", config.seed, share)
        unseen = unseen + tasks.up_to(task, "held-out", 0, config.eval_problems)
    files = []
    for name, problems in (("train", training), ("held-out", unseen)):
        path = Path(config.out) / f"4-problems-{name}.jsonl"
        write_rows(path, [tasks.row_of(problem) for problem in problems])
        files.append(path)
    return tuple(files)


def draw_training_problems(config: R1Config, name: str, model: Path) -> Path:
    """A model's responses to training problems, as `eval.py --split train --save` writes them."""
    path = Path(config.out) / f"{name}.jsonl"
    if not path.is_file():
        problems = training_problems(config, name)
        loaded = lm.load(str(model), pick_device(config.device), config.dtype)
        graded = answer(config, loaded, problems, config.k, name)
        about = {"template": config.template, "answer_style": "auto"}
        responses.save(path, about, {config.task: graded})
    return path


def cold_start_traces(config: R1Config, zero: Path) -> Path:
    """The file of pairs for stage 1: --traces, or what R1-Zero has written that is readable."""
    if config.traces:
        return Path(config.traces)
    path = Path(config.out) / "1-traces.jsonl"
    if path.is_file():
        return path
    problems = training_problems(config, "traces")
    model, tokenizer = lm.load(str(zero), pick_device(config.device), config.dtype)
    before = ""
    if config.examples:
        before = few_shot(config, tokenizer)
    graded = answer(config, (model, tokenizer), problems, config.k, "traces", before)
    rows = []
    for group in graded:
        prompt = tasks.prompt(group.problem, config.template, tokenizer)
        for response, right in zip(group.responses, group.right):
            text = response.text
            if not config.examples:
                text = with_summary(text)
            if right and is_readable(text):
                rows.append({"prompt": prompt, "response": text})
    if not rows:
        raise UserError(
            "R1-Zero has written no right and readable response to start from: raise --steps or "
            "--n, or give traces with --traces"
        )
    print(f"cold start: {len(rows)} traces of {config.n * config.k} responses of R1-Zero")
    write_rows(path, rows)
    return path


def other_data(config: R1Config) -> Path | None:
    """A file of pairs for stage 3 beside reasoning: the base's right responses to the other tasks.

    They get a summary by rule, as the cold start's traces do. None without other tasks.
    """
    if not config.other_tasks():
        return None
    path = Path(config.out) / "3-other.jsonl"
    if path.is_file():
        return path
    model, tokenizer = lm.load(config.model, pick_device(config.device), config.dtype)
    rows = []
    for task in config.other_tasks():
        problems = tasks.up_to(task, "train", config.seed, config.n // 4)
        for group in answer(config, (model, tokenizer), problems, config.k, task):
            prompt = tasks.prompt(group.problem, config.template, tokenizer)
            for response, right in zip(group.responses, group.right):
                if right or config.keep == "all":
                    rows.append({"prompt": prompt, "response": with_summary(response.text)})
    if not rows:
        raise UserError("the base has answered none of --others rightly: choose others, or none")
    write_rows(path, rows)
    return path


def few_shot(config: R1Config, tokenizer) -> str:
    """The text of --examples, for R1-Zero to go on in their manner."""
    how = ("prompt", "response", None, tokenizer)
    shown = [prompt + response for prompt, response in read_pairs(config.examples, *how)]
    return "\n\n".join(shown) + "\n\n"


def with_summary(response: str) -> str:
    """A response whose answer is preceded by a summary: the last line of its thinking.

    This is what people did for R1's cold start, by a rule.
    """
    thinking, closed, shown = response.partition("</think>")
    lines = thinking.strip().splitlines()
    if not closed or not lines:
        return response
    return f"{thinking}</think> {lines[-1].strip()} {shown.strip()}"


def is_readable(response: str) -> bool:
    """Whether a response is in the target language and has a summary."""
    share = reward.language_share(reward.read_response(response).thinking)
    return share is not None and share >= READABLE and reward.summary_of(response) != ""


# ---------------------------------------------------------------- the table


def answer(
    config: R1Config, loaded: tuple, problems: list, k: int, name: str, before: str = ""
) -> list[Graded]:
    """k graded responses of a model to each problem. before: text in front of every prompt."""
    model, tokenizer = loaded
    stop_strings = tasks.stop_strings(config.template)
    sampling = sample.Sampling(config.max_new_tokens, stop_strings=stop_strings)
    generate = None
    if before:
        generate = partial(generate_after, before=before)
    _, graded = evaluate(
        model,
        tokenizer,
        problems,
        config.template,
        "dr_grpo",
        k,
        sampling,
        config.seed,
        progress=name,
        generate=generate,
    )
    return graded


def generate_after(model, tokenizer, prompts, *settings, before: str, **others):
    """`sample.generate` with the ids of a text in front of every prompt."""
    ids = tokenizer(before)["input_ids"]
    return sample.generate(
        model, tokenizer, [ids + prompt for prompt in prompts], *settings, **others
    )


def measured(config: R1Config, model: Path | str) -> dict:
    """What the model of a stage is like on held-out problems."""
    loaded = lm.load(str(model), pick_device(config.device), config.dtype)
    problems = held_out(config.task, config.eval_problems, config.data)
    graded = answer(config, loaded, problems, 1, "held out")
    row = {"accuracy": accuracy(graded)}
    for task in config.other_tasks():
        problems = tasks.up_to(task, "held-out", 0, config.eval_problems)
        row[task] = accuracy(answer(config, loaded, problems, 1, task))
    return row | manner(graded)


def accuracy(graded: list[Graded]) -> float:
    """The share of right responses, one a problem."""
    return share([group.right[0] for group in graded])


def manner(graded: list[Graded]) -> dict:
    """How the responses are written, whatever their answers are."""
    drawn = [group.responses[0] for group in graded]
    earned = [group.rewards[0] for group in graded]
    summaries = [reward.summary_of(response.text) for response in drawn]
    words = sum(one.words for one in earned)
    latin = sum(one.latin_words for one in earned)
    return {
        "language": latin / words if words else None,
        "words": words / len(drawn),
        "wordless": share([one.words == 0 for one in earned]),
        "summary": share([0 < len(text) <= reward.LONGEST_SUMMARY for text in summaries]),
        "forbidden": share([reward.is_forbidden(response.text) for response in drawn]),
        "tokens": sum(response.tokens for response in drawn) / len(drawn),
        "cut off": share([not response.finished for response in drawn]),
    }


def share(which: list[bool]) -> float:
    """The share of those that are true."""
    return sum(which) / len(which)


def table_of(rows: dict[str, dict]) -> str:
    """Markdown: a line a stage, a column a figure."""
    names = list(next(iter(rows.values())))
    lines = [
        "| stage | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for stage, row in rows.items():
        cells = []
        for name in names:
            digits = 1 if name in ("words", "tokens") else 3
            value = row[name]
            cells.append("" if value is None else f"{value:.{digits}f}")
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    config, _ = parse(R1Config, "R1's four stages, and R1-Zero beside them")
    keep_settings(config)
    models = all_stages(config)
    rows = {}
    for stage, model in models.items():
        rows[stage] = measured(config, model)
    print("\n" + table_of(rows))
    result = {"config": asdict(config), "stages": rows}
    write_file(Path(config.out) / "stages.json", json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    run_program(main)
