"""Whole steps through the loop, on a tiny model."""

import dataclasses
import json
import threading
import time
from pathlib import Path

import pytest
import torch

import config
import estimators
import reward
import sample
import tasks
import train
from engine.attention import has_packed_kernel
from engine.device import pick_device, pick_dtype
from engine.plan import plan_memory
from speed.memory import SHAPES
from storage import pinned, runs

pytestmark = pytest.mark.usefixtures("varied_reward")
SMALL = dict(
    steps=1, prompts_per_step=4, group_size=4, max_new_tokens=12, eval_problems=8, reward="varied"
)


def run_of(folder, model, **more):
    train.train(train.TrainConfig(**{**SMALL, "out": str(folder), "model": model, **more}))
    lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return lines, [
        json.loads(line) for line in (Path(folder) / "rollouts.jsonl").read_text().splitlines()
    ]


def test_all_losses_start_from_the_same_rollouts_and_differ_afterwards(tmp_path, tiny_folder):
    texts, weights = {}, {}
    # Two need a right answer, which a random model has not.
    for loss in estimators.PRESETS.keys() - {"rft", "maxrl"}:
        lines, groups = run_of(tmp_path / loss, tiny_folder, loss=loss, lr=1e-3)
        texts[loss] = [r["text"] for g in groups for r in g["responses"]]
        weights[loss] = (runs.checkpoints(tmp_path / loss)[-1] / "model.safetensors").read_bytes()
    assert len({tuple(t) for t in texts.values()}) == 1
    assert weights["grpo"] != weights["dr_grpo"] != weights["token_mean"]


def test_one_update_on_the_samples_own_policy_clips_nothing_and_shows_no_gap(tmp_path, tiny_folder):
    lines, _ = run_of(tmp_path / "run", tiny_folder, temperature=0.8)
    assert lines[1]["clip_share"] == 0 and lines[1]["logprob_gap_max"] < 1e-4
    assert lines[1]["entropy"] > 0 and lines[1]["grad_norm"] > 0 and lines[1]["kl"] is None


def test_several_updates_a_step_leave_the_samples_policy(tmp_path, tiny_folder):
    lines, _ = run_of(tmp_path / "run", tiny_folder, updates_per_step=4, lr=0.03, warmup=0)
    assert (
        lines[1]["clip_share"] > 0 and lines[1]["logprob_gap_max"] < 1e-4
    )  # the gap is the first update's


def test_a_kl_term_needs_a_reference_and_starts_at_zero(tmp_path, tiny_folder):
    lines, _ = run_of(tmp_path / "run", tiny_folder, kl_coef=0.1, steps=2, lr=1e-2, warmup=0)
    assert abs(lines[1]["kl"]) < 1e-5 < lines[2]["kl"]


def test_the_update_raises_the_probability_of_what_was_better(tmp_path, tiny_folder):
    lines, _ = run_of(
        tmp_path / "run", tiny_folder, steps=40, lr=3e-3, group_size=16, eval_every=100
    )
    first, last = ([line["reward"] for line in part] for part in (lines[1:6], lines[-5:]))
    assert sum(last) / 5 > sum(first) / 5 + 0.1


def test_training_on_a_file_of_problems(tmp_path, tiny_folder):
    rows = [{"q": f"What is {i} + {i}?", "a": str(2 * i)} for i in range(60)]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines, groups = run_of(
        tmp_path / "run",
        tiny_folder,
        data=str(tmp_path / "p.jsonl"),
        question_field="q",
        answer_field="a",
        eval_problems=0,
    )
    assert groups[0]["question"].startswith("What is")


def maths_file(tmp_path, n=120):
    """n problems with MATH's fields; levels 0 to 5."""
    rows = [
        {"problem": f"What is {i} + {i}?", "answer": f"${2 * i}$", "level": i % 6} for i in range(n)
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(tmp_path / "m.jsonl")


def test_maths_trains_on_the_levels_asked_for(tmp_path, tiny_folder):
    _, groups = run_of(
        tmp_path / "run",
        tiny_folder,
        task="math",
        data=maths_file(tmp_path),
        levels="3-4,5",
        steps=4,
        eval_every=1,
        eval_problems=0,
    )
    assert len(groups) == 8 and all(int(g["answer"]) // 2 % 6 in (3, 4, 5) for g in groups)


def test_prompts_that_do_not_fit_the_context_are_passed_over_aloud(tmp_path, tiny_folder, capsys):
    rows = [{"problem": "long " * (900 if i % 4 else 1) + str(i), "answer": i} for i in range(60)]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines, groups = run_of(
        tmp_path / "run",
        tiny_folder,
        task="math",
        data=str(tmp_path / "l.jsonl"),
        steps=3,
        eval_every=1,
    )
    assert all(g["question"].count("long") == 1 for g in groups)
    assert "too long with 12 new tokens" in capsys.readouterr().err


RIGHT = {
    "auto": "work</think> <answer>{}</answer>",
    "answer-tag": "work</think> <answer>{}</answer>",
    "boxed": r"so \boxed{{{}}}",
    "last-number": "so it is\n#### {}",
}


@pytest.mark.parametrize(
    "recipe",
    sorted((Path(__file__).parent.parent / "recipes").glob("*.toml")),
    ids=lambda p: p.stem,
)
def test_every_recipe_starts(tmp_path, chatty_folder, recipe, monkeypatch):
    """A step of the recipe's own template, task, reward and loss, on a tiny model that is taken to be right now and then."""
    real, settings = reward.score, config.read_toml(str(recipe), train.TrainConfig)
    right = RIGHT[settings.get("answer_style", "auto")]

    def sometimes_right(name, text, problem, finished=True, style="auto"):
        return real(
            name, right.format(problem.answer) if len(text) % 2 else text, problem, True, style
        )

    monkeypatch.setattr(reward, "score", sometimes_right)
    if "data" in settings:
        assert settings["task"] == "math" and settings["data"] in pinned.TRAINING
        settings["data"] = maths_file(tmp_path)
    lines, _ = run_of(
        tmp_path / "run",
        **{
            **settings,
            "model": chatty_folder,
            "steps": 1,
            "prompts_per_step": 4,
            "updates_per_step": min(4, settings.get("updates_per_step", 1)),
            "group_size": 4,
            "max_new_tokens": 12,
            "eval_problems": 4,
            "eval_suite": "",
            "reward": settings.get("reward", "dr_grpo"),
        },
    )
    assert lines[1]["step"] == 1 and 0 < lines[1]["accuracy"] < 1 and lines[1]["grad_norm"] > 0


# ---------------------------------------------------------------- grading beside the sampler


def test_grading_begins_before_the_sampler_is_done(tmp_path, tiny_folder, monkeypatch):
    graded, real_score, real_generate = threading.Event(), reward.score, sample.generate

    def score(*args):
        graded.set()
        return real_score(*args)

    def generate(*args, **more):
        graded.clear()
        rollouts = real_generate(*args, **more)
        assert "on_done" not in more or graded.wait(600)
        return rollouts

    monkeypatch.setattr(reward, "score", score)
    monkeypatch.setattr(sample, "generate", generate)
    lines, _ = run_of(tmp_path / "run", tiny_folder)
    assert lines[1]["seconds_reward"] < lines[1]["seconds"] and 0 < lines[1]["grading_share"] < 1


def test_every_reward_belongs_to_its_response_however_long_grading_takes(
    tmp_path, tiny_folder, monkeypatch
):
    real = reward.score

    def slow(name, text, problem, *rest):
        time.sleep(len(text) % 5 / 500)
        return dataclasses.replace(real(name, text, problem, *rest), why=problem.question + text)

    monkeypatch.setattr(reward, "score", slow)
    _, groups = run_of(tmp_path / "run", tiny_folder)
    assert len({g["question"] for g in groups}) == 2
    assert all(r["why"] == g["question"] + r["text"] for g in groups for r in g["responses"])


def test_a_fault_in_a_reward_is_not_swallowed(tmp_path, tiny_folder, monkeypatch):
    def fault(right, parsed, reading):
        raise ZeroDivisionError("in the reward") if armed else None

    armed = []
    monkeypatch.setattr(
        reward, "score", lambda *a: armed and fault(*a[:3]) or reward.Reward(0.0, 0.0, 0.0, "")
    )
    real = train.train_step
    monkeypatch.setattr(train, "train_step", lambda this: armed.append(1) or real(this))
    with pytest.raises(ZeroDivisionError, match="in the reward"):
        run_of(tmp_path / "run", tiny_folder)


# ---------------------------------------------------------------- benchmarks during training, and resuming


def benchmark(n, answer):
    return [tasks.Problem("math", f"What is {i}?", answer, f"b{i}") for i in range(n)]


def test_a_suite_is_evaluated_with_the_held_out_problems_and_leaves_the_training_alone(
    tmp_path, tiny_folder, monkeypatch
):
    asked, drawn, real = [], [], sample.generate

    def generate(model, tokenizer, prompts, sampling, *args, **more):
        drawn.append((more.get("progress"), len(prompts), sampling.temperature))
        return real(model, tokenizer, prompts, sampling, *args, **more)

    monkeypatch.setattr(sample, "generate", generate)
    monkeypatch.setattr(
        train.benchmarks,
        "load",
        lambda suite, folder: (
            asked.append((suite, folder))
            or {"aime24": benchmark(5, "1"), "gsm8k": benchmark(3, "2")}
        ),
    )
    monkeypatch.setattr(reward, "check", lambda answer, problem: (problem.answer == "1", True, ""))
    more = dict(steps=2, eval_every=2, answer_style="last-number")
    lines, _ = run_of(
        tmp_path / "run",
        tiny_folder,
        eval_suite="aime24,gsm8k",
        eval_suite_problems=2,
        data_dir="there",
        **more,
    )
    evaluation = [("held-out", 8, 1.0), ("aime24", 2, 0.0), ("gsm8k", 2, 0.0)]
    assert asked == [("aime24,gsm8k", "there")] and [d for d in drawn if d[0]] == 2 * evaluation
    assert [
        sorted(k for k in line if k in ("eval_aime24", "eval_gsm8k", "eval_mean")) for line in lines
    ] == [
        ["eval_aime24", "eval_gsm8k", "eval_mean"],
        [],
        ["eval_aime24", "eval_gsm8k", "eval_mean"],
    ]
    for line in lines[::2]:
        assert (
            line["eval_gsm8k"] == 0
            and line["eval_mean"] == (line["eval_aime24"] + line["eval_gsm8k"]) / 2
        )
    run_of(tmp_path / "without", tiny_folder, **more)
    a, b = (
        (runs.checkpoints(tmp_path / x)[-1] / "model.safetensors").read_bytes()
        for x in ("run", "without")
    )
    assert a == b


def test_a_run_on_a_file_goes_on_from_another_folder_and_from_before_there_were_levels(
    tmp_path, tiny_folder, monkeypatch
):
    maths_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    run_of(tmp_path / "run", tiny_folder, task="math", data="m.jsonl")
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    for new in ("levels", "answer_style", "eval_suite", "eval_suite_problems", "data_dir"):
        del stored[new]
    (tmp_path / "run" / "config.json").write_text(json.dumps(stored))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    train.train(
        train.resumed(train.TrainConfig(resume=str(tmp_path / "run"), steps=2), {"resume", "steps"})
    )
    assert runs.checkpoints(tmp_path / "run")[-1].name == "step-2"


def test_a_resumed_run_keeps_its_own_stop_strings(tmp_path):
    _, groups = run_of(
        tmp_path / "run",
        "base",
        stop=("=", "</think>"),
        max_new_tokens=60,
        reward="dr_grpo",
    )
    texts = [r["text"] for g in groups for r in g["responses"]]
    assert texts and all(text.index("=") == len(text) - 1 for text in texts)
    assert all(r["finished"] for g in groups for r in g["responses"])
    resumed = train.resumed(train.TrainConfig(resume=str(tmp_path / "run")), {"resume"})
    assert resumed.stop == ("=", "</think>")
    with pytest.raises(config.UserError, match="leave out --stop"):
        train.resumed(train.TrainConfig(resume=str(tmp_path / "run")), {"resume", "stop"})


@pytest.mark.parametrize("template", [t for t in tasks.TEMPLATES if t != "chat"])
def test_every_template_trains(tmp_path, tiny_folder, template):
    lines, _ = run_of(
        tmp_path / "run",
        tiny_folder,
        template=template,
        prompts_per_step=2,
        group_size=2,
        eval_problems=1,
        max_new_tokens=4,
    )
    assert lines[1]["length"] <= 4


def test_bf16_compute_keeps_fp32_masters_through_a_checkpoint(tmp_path, tiny_folder):
    """The GPU's path, on a CPU: bf16 copy, fp32 masters, saved in fp32, resumed bit for bit."""
    c = train.TrainConfig(
        out=str(tmp_path / "a"),
        model=tiny_folder,
        **{**SMALL, "steps": 2, "save_every": 1, "lr": 1e-4},
        dtype="bf16",
    )
    train.train(c)
    other = dataclasses.replace(c, out=str(tmp_path / "b"), steps=1)
    train.train(other)
    train.train(
        train.resumed(train.TrainConfig(resume=str(tmp_path / "b"), steps=2), {"resume", "steps"})
    )
    a, b = ((runs.checkpoints(tmp_path / x)[-1] / "model.safetensors").read_bytes() for x in "ab")
    assert a == b and '"dtype":"F32"' in str(a[:4000])
    lines = [
        json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()
    ]
    assert lines[1]["logprob_gap_max"] < 1  # rounding in bf16, not another distribution


def test_more_updates_than_groups_are_refused():
    with pytest.raises(config.UserError, match="a step has 2 groups to divide"):
        train.TrainConfig(prompts_per_step=2, updates_per_step=3)


def test_groups_are_logged_as_often_as_asked_for(tmp_path, tiny_folder):
    """Step 1, every second step, and the last one, which is evaluated."""
    run_of(tmp_path / "run", tiny_folder, steps=5, eval_every=9, rollouts_every=2)
    lines = (tmp_path / "run" / "rollouts.jsonl").read_text().splitlines()
    assert sorted({json.loads(line)["step"] for line in lines}) == [1, 2, 4, 5]


GPU_TYPES = [
    ("auto", True, torch.bfloat16),
    ("auto", False, torch.float32),
    ("bf16", False, torch.bfloat16),
    ("bf16", True, torch.bfloat16),
    ("fp32", False, torch.float32),
]


@pytest.mark.parametrize(
    "name,multiplies,width,expected",
    [
        ("auto", True, 576, torch.bfloat16),
        ("auto", True, 128, torch.float32),
        ("auto", False, 576, torch.float32),
        ("bf16", False, 128, torch.bfloat16),
        ("fp32", True, 576, torch.float32),
    ],
)
def test_the_compute_type_on_a_cpu(monkeypatch, name, multiplies, width, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: multiplies)
    dtype, why = pick_dtype(name, torch.device("cpu"), width)
    assert dtype == expected and why
    with pytest.raises(config.UserError, match="--dtype fp8: choose auto, fp32, bf16"):
        train.TrainConfig(dtype="fp8")


@pytest.mark.parametrize("name,multiplies,expected", GPU_TYPES)
def test_the_compute_type_on_a_gpu(monkeypatch, name, multiplies, expected):
    """A T4 says that it supports bf16, which it emulates: only `including_emulation=False` tells."""
    asked = []

    def is_bf16_supported(including_emulation=True):
        asked.append(including_emulation)
        return multiplies or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    dtype, why = pick_dtype(name, torch.device("cuda"), 1536)
    assert dtype == expected and not any(asked)
    assert ("older than Ampere" in why) == (name != "fp32" and not multiplies)
    assert ("--dtype fp32 is faster" in why) == (name == "bf16" and not multiplies)


def test_a_gpu_before_ampere_has_no_kernel_for_packed_rows(monkeypatch):
    for capability, there in (((7, 5), False), ((8, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert has_packed_kernel(torch.device("cuda"), torch.bfloat16, 64) == there
        assert not has_packed_kernel(torch.device("cuda"), torch.float32, 64)


def test_a_run_on_a_gpu_before_ampere_is_planned_in_fp32_without_the_kernel(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(15e9), int(16e9)))
    device = torch.device("cuda")
    shape = SHAPES["qwen2.5-0.5b"]
    dtype, _ = pick_dtype("auto", device, shape.hidden_size)
    setting = train.TrainConfig(offload_optimizer=True, gradient_checkpointing=True)
    planned = plan_memory(setting, shape, 100, 1024, device, dtype)
    assert planned.width == 4 and not planned.kernel and planned.slots > 0
    assert "computed" in capsys.readouterr().out


def test_mps_is_refused_in_one_line():
    with pytest.raises(config.UserError, match="--device mps: .* use --device cpu"):
        pick_device("mps")


def test_the_learning_rate_warms_up_then_stays_or_falls_in_a_line():
    config = train.TrainConfig(steps=10, warmup=5, lr=1.0)
    rates = [train.learning_rate(config, step) for step in range(10)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, *[1.0] * 6])
    falling = dataclasses.replace(config, lr_schedule="linear")
    rates = [train.learning_rate(falling, step) for step in range(10)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2])
    assert train.learning_rate(dataclasses.replace(falling, warmup=0), 0) == 1.0
    assert (
        train.learning_rate(dataclasses.replace(falling, warmup=20), 9) == 0.5
    )  # all of it is warm-up


def test_the_learning_rate_falls_to_its_floor_in_a_line_or_in_a_cosine():
    """A quarter of the way down a line has lost 1/4, a cosine 15 %; half of the way both have lost half."""
    line = train.TrainConfig(steps=10, warmup=2, lr=2.0, lr_schedule="linear", lr_floor=0.1)
    rates = [train.learning_rate(line, step) for step in range(10)]
    assert rates[:3] == [1.0, 2.0, 2.0]  # the warm-up knows no floor
    assert rates[4] == pytest.approx(0.2 + 1.8 * 0.75) and rates[6] == pytest.approx(1.1)
    assert train.learning_rate(line, 10) == pytest.approx(0.2)
    cosine = dataclasses.replace(line, lr_schedule="cosine")
    rates = [train.learning_rate(cosine, step) for step in range(10)]
    assert rates[:3] == [1.0, 2.0, pytest.approx(2.0)]
    assert rates[4] == pytest.approx(0.2 + 1.8 * (1 + 0.5**0.5) / 2)
    assert rates[6] == pytest.approx(1.1)
    assert train.learning_rate(cosine, 10) == pytest.approx(0.2)
    to_nothing = dataclasses.replace(cosine, lr_floor=0.0)
    assert train.learning_rate(to_nothing, 10) == 0.0
    constant = dataclasses.replace(line, lr_schedule="constant")
    assert train.learning_rate(constant, 9) == 2.0
    with pytest.raises(config.UserError, match="--lr-floor must be below 1"):
        train.TrainConfig(lr_floor=1.0)


def test_without_a_floor_a_line_falls_bit_for_bit_as_it_always_did():
    falling = train.TrainConfig(steps=97, warmup=2, lr=4e-5, lr_schedule="linear")
    for step in range(2, 97):
        assert train.learning_rate(falling, step) == 4e-5 * (97 - step) / 95


@pytest.mark.parametrize("states", ["fp32", "bf16"])
def test_the_betas_reach_adamw_and_are_its_usual_ones_by_default(tmp_path, tiny_folder, states):
    def betas(**more):
        run = train.open_run(
            train.TrainConfig(
                model=tiny_folder,
                out=str(tmp_path / str(len(more))),
                steps=1,
                prompts_per_step=1,
                group_size=2,
                max_new_tokens=4,
                eval_problems=1,
                optimizer_states=states,
                device="cpu",
                **more,
            )
        )
        run.lock.release()
        if states == "bf16":
            return run.optimizer.adam.betas
        return run.optimizer.adam.param_groups[0]["betas"]

    assert betas() == (0.9, 0.95)
    assert betas(beta1=0.8, beta2=0.999) == (0.8, 0.999)
    for flag in ("beta1", "beta2"):
        with pytest.raises(config.UserError, match=f"--{flag} must be below 1"):
            train.TrainConfig(**{flag: 1.0})
