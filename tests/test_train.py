"""Whole steps through the loop, on a tiny model."""
import dataclasses
import json
from pathlib import Path

import pytest
import torch

import config
import grpo
import runs
import tasks
import train

pytestmark = pytest.mark.usefixtures("varied_reward")
SMALL = dict(steps=1, prompts_per_step=4, group_size=4, max_new_tokens=12, eval_problems=8, reward="varied")


def run_of(folder, model, **more):
    train.train(train.TrainConfig(out=str(folder), model=model, **{**SMALL, **more}))
    lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return lines, [json.loads(line) for line in (Path(folder) / "rollouts.jsonl").read_text().splitlines()]


def test_all_losses_start_from_the_same_rollouts_and_differ_afterwards(tmp_path, tiny_folder):
    texts, weights = {}, {}
    for loss in grpo.LOSSES:
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
    assert lines[1]["clip_share"] > 0 and lines[1]["logprob_gap_max"] < 1e-4  # the gap is the first update's


def test_a_kl_term_needs_a_reference_and_starts_at_zero(tmp_path, tiny_folder):
    lines, _ = run_of(tmp_path / "run", tiny_folder, kl_coef=0.1, steps=2, lr=1e-2, warmup=0)
    assert abs(lines[1]["kl"]) < 1e-5 < lines[2]["kl"]


def test_the_update_raises_the_probability_of_what_was_better(tmp_path, tiny_folder):
    lines, _ = run_of(tmp_path / "run", tiny_folder, steps=40, lr=3e-3, group_size=16, eval_every=100)
    first, last = ([line["reward"] for line in part] for part in (lines[1:6], lines[-5:]))
    assert sum(last) / 5 > sum(first) / 5 + 0.1


def test_training_on_a_file_of_problems(tmp_path, tiny_folder):
    rows = [{"q": f"What is {i} + {i}?", "a": str(2 * i)} for i in range(60)]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines, groups = run_of(tmp_path / "run", tiny_folder, data=str(tmp_path / "p.jsonl"), question_field="q",
                           answer_field="a", eval_problems=0)
    assert groups[0]["question"].startswith("What is")


@pytest.mark.parametrize("recipe", sorted((Path(__file__).parent.parent / "recipes").glob("*.toml")), ids=lambda p: p.stem)
def test_every_recipe_starts(tmp_path, tiny_folder, recipe):
    settings = config.read_toml(str(recipe), train.TrainConfig)
    lines, _ = run_of(tmp_path / "run", tiny_folder, **{**settings, "steps": 1, "max_new_tokens": 12})
    assert lines[1]["step"] == 1


@pytest.mark.parametrize("template", [t for t in tasks.TEMPLATES if t != "chat"])
def test_every_template_trains(tmp_path, tiny_folder, template):
    lines, _ = run_of(tmp_path / "run", tiny_folder, template=template, prompts_per_step=2, group_size=2, eval_problems=1,
                      max_new_tokens=4)
    assert lines[1]["length"] <= 4


def test_bf16_compute_keeps_fp32_masters_through_a_checkpoint(tmp_path, tiny_folder, monkeypatch):
    """The GPU's path, on a CPU: bf16 copy, fp32 masters, saved in fp32, resumed bit for bit."""
    for module in (train, runs):
        monkeypatch.setattr(module, "pick_device", lambda name: (torch.device("cpu"), torch.bfloat16), raising=False)
    c = train.TrainConfig(out=str(tmp_path / "a"), model=tiny_folder, **{**SMALL, "steps": 2, "save_every": 1, "lr": 1e-4})
    train.train(c)
    other = dataclasses.replace(c, out=str(tmp_path / "b"), steps=1)
    train.train(other)
    train.train(runs.resumed(train.TrainConfig(resume=str(tmp_path / "b"), steps=2), {"resume", "steps"}))
    a, b = ((runs.checkpoints(tmp_path / x)[-1] / "model.safetensors").read_bytes() for x in "ab")
    assert a == b and '"dtype":"F32"' in str(a[:4000])
    lines = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert lines[1]["logprob_gap_max"] < 1  # rounding in bf16, not another distribution
