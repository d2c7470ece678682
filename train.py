"""The loop: sample groups, reward them, turn rewards into advantages, update, log, evaluate, save.

    python train.py                                    # the embedded base learns Countdown
    python train.py --loss grpo --seed 1 --out runs/grpo
    python train.py --resume runs/grpo

A step is a pure function of the weights, the optimizer's state, the seed and the step's number: problems and draws are
seeded by (seed, step). So a checkpoint needs no random generator's state, and a resumed run repeats an undisturbed one (on
a GPU up to rounding: the backward pass of its attention adds in no fixed order).

Left out on purpose: several GPUs, asynchronous sampling, learning-rate decay, a value network.
"""
import importlib.util
import json
import math
import random
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace

import torch
from tqdm import tqdm

import grpo
import plot
import reward
import sample
import tasks
from config import Refusal, parse, run, setting
from eval import evaluate
from evaluation import benchmarks
from reward import STYLES
from runs import Run, append_line, open_run, resumed, save, summary
from storage.folders import write_file
from tasks import files
from update import out_of_memory, update_or_retry


@dataclass(frozen=True)
class TrainConfig:
    out: str | None = setting(None, "run folder; by default a new one under runs/")
    model: str = setting("base", "model folder or hub id to start from")
    task: str = setting("countdown", "countdown, kk or arithmetic, with a size if you like (countdown:4, kk:3-7), or math")
    data: str | None = setting(None, "JSONL file of problems; with --task math answers count by value, else as they stand")
    question_field: str = setting("", "field of --data that holds the question; by default it is found")
    answer_field: str = setting("", "field of --data that holds the answer; by default it is found")
    levels: str = setting("", "levels of --data that are taken, as 3,4,5 or 3-5; by default all")
    template: str = setting("short", "prompt template", choices=tuple(tasks.TEMPLATES))
    reward: str = setting("dr_grpo", "rule reward", choices=tuple(reward.REWARDS))
    answer_style: str = setting("auto", "where in a response the answer stands", choices=STYLES)
    loss: str = setting("dr_grpo", "loss", choices=tuple(grpo.LOSSES))
    std: str = setting("auto", "divide advantages by the group's standard deviation", choices=("auto", "on", "off"))
    normaliser: str = setting("auto", "what a row's summed loss is divided by", choices=("auto", *grpo.NORMALISERS))
    clip_low: float = setting(0.2, "ratios below 1 - this are clipped")
    clip_high: float = setting(0.2, "ratios above 1 + this are clipped")
    kl_coef: float = setting(0.0, "weight of the KL term to the starting model; 0 keeps no reference model")
    kl_kind: str = setting("k3", "estimator of the KL term", choices=("k1", "k2", "k3"))
    steps: int = setting(80, "steps")
    prompts_per_step: int = setting(16, "problems per step")
    group_size: int = setting(16, "responses per problem")
    updates_per_step: int = setting(1, "optimizer steps that a step's rollouts are divided among")
    max_new_tokens: int = setting(256, "longest response, tokens")
    temperature: float = setting(1.0, "of the sampler, and of the trainer's log-probs")
    top_k: int = setting(0, "refused: see top_p")
    top_p: float = setting(1.0, "refused: the trainer's distribution is not cut off, the sampler's must not be either")
    lr: float = setting(3e-4, "learning rate, constant after warm-up")
    warmup: int = setting(5, "steps of linear warm-up")
    weight_decay: float = setting(0.0, "AdamW's decoupled weight decay")
    clip_norm: float = setting(1.0, "largest gradient norm")
    token_budget: int = setting(0, "tokens per micro-batch, padding included; 0: 2048 on a CPU, 8192 on a GPU")
    slots: int = setting(0, "rows that decode at a time; 0: what the memory holds, 256 at most. Changes no draw")
    gradient_checkpointing: bool = setting(False, "keep of each layer its input alone, compute it anew in backward")
    offload_optimizer: bool = setting(False, "masters, gradient sums and AdamW on the CPU; the GPU keeps bf16 weights")
    optimizer_states: str = setting("fp32", "type of AdamW's two moments", choices=("fp32", "bf16"))
    memory_gb: float = setting(0.0, "GPU memory that may be used, GB (10^9 bytes); 0: what is free")
    max_logprob_gap: float = setting(1e-3, "largest difference of a log-prob between sampler and trainer before a step's "
                                     "first update; a run beyond stops. In bf16: 100 times that, of the mean; 0 is off")
    eval_every: int = setting(20, "steps between evaluations on held-out problems")
    eval_problems: int = setting(512, "held-out problems, one response each; 0 takes all of --data")
    eval_suite: str = setting("", "benchmarks to evaluate on as well, greedily: math, gsm8k, aime24, ...")
    eval_suite_problems: int = setting(0, "of each benchmark, the first ones; 0 takes all")
    data_dir: str | None = setting(None, "folder of the benchmarks' files; by default they are fetched once")
    save_every: int = setting(20, "steps between checkpoints")
    seed: int = setting(0, "seed of problems and draws")
    device: str = setting("auto", "auto, cpu or cuda")
    recipe: str | None = setting(None, "TOML file of settings; flags beat it")
    resume: str | None = setting(None, "run folder to go on with; beside it --steps, --device and what is the machine's: "
                                "--token-budget, --slots, --memory-gb, --gradient-checkpointing, --offload-optimizer")

    def __post_init__(self):
        for name, low in dict(steps=1, prompts_per_step=1, group_size=2, updates_per_step=1, max_new_tokens=1,
                              eval_every=1, save_every=1, token_budget=0, slots=0, warmup=0, eval_problems=0,
                              eval_suite_problems=0).items():
            if getattr(self, name) < low:
                why = ": a group of one has no advantage" if name == "group_size" else ""
                raise Refusal(f"--{name.replace('_', '-')} must be at least {low}{why}")
        if self.top_k or self.top_p != 1.0:
            raise Refusal("training draws from the whole distribution: leave --top-k at 0 and --top-p at 1, or sampler "
                          "and trainer would disagree about every probability")
        for name, low in dict(lr=0, weight_decay=0, clip_low=0, clip_high=0, kl_coef=0, memory_gb=0,
                              max_logprob_gap=0).items():
            if not low <= getattr(self, name) < math.inf:
                raise Refusal(f"--{name.replace('_', '-')} must be a number, at least {low}")
        if not 0 < self.temperature < math.inf or not 0 < self.clip_norm:
            raise Refusal("--temperature and --clip-norm must be above 0")
        if self.eval_problems == 0 and self.data is None:
            raise Refusal("--eval-problems must be at least 1 without --data")
        if self.data_dir and not self.eval_suite:
            raise Refusal("--data-dir holds the files of an --eval-suite: name the suite")
        if self.data and self.task not in ("math", type(self).task):
            raise Refusal(f"--task {self.task} beside --data: a file has its own problems (--task math grades them as maths)")
        if self.levels and self.data is None:
            raise Refusal("--levels chooses rows of --data")
        files.levels_of(self.levels)
        if self.eval_suite:
            benchmarks.names_of(self.eval_suite)
        for flag, value, known in (("reward", self.reward, reward.REWARDS), ("template", self.template, tasks.TEMPLATES),
                                   ("answer-style", self.answer_style, STYLES),
                                   ("kl-kind", self.kl_kind, ("k1", "k2", "k3")),
                                   ("optimizer-states", self.optimizer_states, ("fp32", "bf16"))):
            if value not in known:  # the command line checks its choices itself; recipes arrive here
                raise Refusal(f"--{flag} {value}: choose {', '.join(known)}")
        grpo.choose(self.loss, self.std, self.normaliser)


# ---------------------------------------------------------------- the loop

def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def sampling_memory(this: Run):
    return out_of_memory(f"while sampling: lower --slots, {this.slots} now")


def sample_and_grade(this: Run, problems: list) -> tuple[list, list[tuple], float]:
    """Rollouts, of each (text, reward, seconds of grading), and the moment at which the sampler was done.

    A rollout is graded as soon as it is complete, in a thread beside the sampler: a verdict depends on nothing else.
    """
    c = this.c
    prompts = tasks.encode_prompts(problems, c.template, this.tokenizer)

    def grade(i: int, rollout) -> tuple:
        began, text = time.thread_time(), sample.text_of(this.tokenizer, rollout)
        got = reward.score(c.reward, text, problems[i // c.group_size], rollout.finished, c.answer_style)
        return text, got, time.thread_time() - began

    with ThreadPoolExecutor(1) as pool:
        jobs = {}
        rollouts = sample.generate(this.model, this.tokenizer, prompts, this.sampling(), c.group_size, this.seed("draws"),
                                   on_done=lambda i, rollout: jobs.update({i: pool.submit(grade, i, rollout)}),
                                   decoder=this.decoder)
        sampled = time.time()
        return rollouts, [jobs[i].result() for i in range(len(rollouts))], sampled


def one_step(this: Run) -> tuple[dict, list[dict]]:
    """Sample, reward, advantage, update; returns the step's line of metrics and its first two groups in full."""
    c, clock = this.c, [time.time()]
    problems = tasks.batch(this.problems, c.seed, this.step, c.prompts_per_step)
    with sampling_memory(this):
        rollouts, graded, sampled = sample_and_grade(this, problems)
    if not this.resident:
        this.decoder.release()
        torch.cuda.empty_cache()  # its blocks: what the update leaves in them would be in the next cache's way
    texts, rewards, _ = zip(*graded)
    table = torch.tensor([r.total for r in rewards]).view(len(problems), c.group_size)  # (P, G)
    advantage = grpo.advantages(table, grpo.choose(c.loss, c.std, c.normaliser).divide_by_std).flatten()
    clock += [sampled, time.time()]

    order = list(range(len(rollouts)))
    random.Random(this.seed("order")).shuffle(order)  # which rollouts share an optimizer step, if there are several
    parts = [order[i::c.updates_per_step] for i in range(c.updates_per_step)]
    lr = c.lr * min(1.0, (this.step + 1) / max(1, c.warmup))
    all_stats = [update_or_retry(this, [rollouts[i] for i in part], advantage[part], lr, on_policy=part is parts[0])
                 for part in parts]
    torch.cuda.empty_cache()
    clock.append(time.time())

    first, (trained, positions, padding) = all_stats[0], (sum(s[name] for s in all_stats)
                                                          for name in ("tokens", "positions", "padding"))
    lengths = [len(r.response) for r in rollouts]
    by_outcome = {ok: [n for n, r in zip(lengths, rewards) if (r.accuracy == 1.0) == ok] for ok in (True, False)}
    line = {"step": this.step + 1, "reward": mean([r.total for r in rewards]),
            "accuracy": mean([r.accuracy for r in rewards]), "format": mean([r.format for r in rewards]),
            "length": mean(lengths), "length_right": mean(by_outcome[True]), "length_wrong": mean(by_outcome[False]),
            "truncated": mean([not r.finished for r in rollouts]),
            "equal_groups": grpo.equal_groups(table).float().mean().item(),
            # entropy, clip share and KL: over the tokens that were trained, those of groups with unequal rewards
            "entropy": sum(s["entropy"] for s in all_stats) / trained if trained else None,
            "grad_norm": mean([s["grad_norm"] for s in all_stats]), "loss": mean([s["loss"] for s in all_stats]), "lr": lr,
            # of the first optimizer step: later ones are meant to differ from the sampler
            "logprob_gap_mean": first["gap_sum"] / first["tokens"] if first["tokens"] else None,
            "logprob_gap_max": first["gap_max"] if first["tokens"] else None,
            "clip_share": sum(s["clipped"] for s in all_stats) / trained if trained else None,
            "kl": sum(s["kl"] for s in all_stats) / trained if trained and c.kl_coef else None,
            "padding_share": padding / (positions + padding) if positions else None,  # of what the update computed on
            **{f"seconds_{name}": b - a for name, a, b in zip(("sample", "reward", "update"), clock, clock[1:])},
            # seconds_reward is what the step waited for grading after sampling; the share counts all processor time of
            # grading, most of it beside the sampler: the most that grading can cost
            "grading_share": sum(seconds for *_, seconds in graded) / (clock[-1] - clock[0]),
            "tokens_per_second": sum(lengths) / (clock[-1] - clock[0])}
    groups = [{"step": this.step + 1, "question": problems[g].question, "answer": problems[g].answer, "responses": [
        {"text": texts[i], "tokens": lengths[i], "finished": rollouts[i].finished, **asdict(rewards[i]),
         "advantage": advantage[i].item()} for i in range(g * c.group_size, (g + 1) * c.group_size)]}
        for g in range(min(2, len(problems)))]
    return line, groups


def held_out_figures(this: Run) -> dict:
    """The evaluation's figures, named for the metrics file; of a suite each benchmark's accuracy and their plain mean."""
    def figures(problems: list, sampling: sample.Sampling, name: str) -> dict:
        with sampling_memory(this):
            return evaluate(this.model, this.tokenizer, problems, this.c.template, this.c.reward, 1, sampling, this.c.seed,
                            progress=name, style=this.c.answer_style, decoder=this.decoder)[0]
    found = figures(this.held_out, this.sampling(), "held-out")
    names = {"pass@1": "eval_accuracy", "pass@1_ci": "eval_accuracy_ci", "truncated": "eval_truncated",
             "length": "eval_length", "length_right": "eval_length_right", "length_wrong": "eval_length_wrong"}
    greedy = replace(this.sampling(), temperature=0.0)
    suite = {f"eval_{name}": figures(problems, greedy, name)["pass@1"] for name, problems in this.suite.items()}
    average = {"eval_mean": mean(list(suite.values()))} if suite else {}
    return {ours: found[name] for name, ours in names.items()} | suite | average


def warn(line: dict, bar) -> None:
    """Say aloud when a run is sick."""
    for name, text in (("truncated", "of the responses hit --max-new-tokens and earn nothing"),
                       ("equal_groups", "of the groups have equal rewards and teach nothing")):
        if line[name] > 0.5:
            bar.write(f"step {line['step']}: {line[name]:.0%} {text}", file=sys.stderr)


def train(c: TrainConfig) -> dict:
    """Run or resume a training; returns what summary.json says."""
    this = open_run(c)
    interrupted = []
    earlier = signal.signal(signal.SIGINT, lambda *_: (interrupted.append(1), signal.signal(signal.SIGINT, earlier)))
    metrics, bar = this.folder / "metrics.jsonl", tqdm(total=c.steps, initial=this.step, desc=this.folder.name)
    bar.write(f"run folder: {this.folder}")
    try:
        if this.step == 0:
            began = time.time()
            line = {"step": 0, **held_out_figures(this)}
            append_line(metrics, {**line, "seconds": time.time() - began})
            this.seconds += time.time() - began
            bar.write(f"step 0: held-out accuracy {line['eval_accuracy']:.3f}")
        while this.step < c.steps and not interrupted:
            began = time.time()
            line, groups = one_step(this)
            this.step += 1
            due = this.step % c.eval_every == 0 or this.step == c.steps
            if due:
                line |= held_out_figures(this)
                bar.write(f"step {this.step}: held-out accuracy {line['eval_accuracy']:.3f}")
            if due or this.step == 1:
                warn(line, bar)
                for group in groups:
                    append_line(this.folder / "rollouts.jsonl", group)
            line["seconds"] = time.time() - began
            this.seconds += line["seconds"]
            append_line(metrics, line)
            bar.update()
            bar.set_postfix(reward=f"{line['reward']:.2f}", acc=f"{line['accuracy']:.2f}", len=f"{line['length']:.0f}",
                            tok_s=f"{line['tokens_per_second']:.0f}")
            if this.step % c.save_every == 0 or this.step == c.steps or interrupted:
                save(this)
    finally:
        bar.close()
        this.lock.close()
        signal.signal(signal.SIGINT, earlier)
    if this.step < c.steps:
        print(f"stopped after step {this.step}; go on with: python train.py --resume {this.folder}")
        return {}
    result = summary(this)
    write_file(this.folder / "summary.json", json.dumps(result, indent=2) + "\n")
    if importlib.util.find_spec("matplotlib"):
        plot.plot([str(this.folder)], str(this.folder / "curves.png"))
    return result


def main():
    c, given = parse(TrainConfig, "GRPO and Dr. GRPO on one GPU, or on a laptop")
    result = train(resumed(c, given) if c.resume else c)
    if result:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    run(main)
