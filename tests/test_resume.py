"""Killed at any moment and resumed, a run gives the weights of one that was never disturbed."""

import json
import multiprocessing
import os
import random
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import varied
from safetensors.torch import load_file

import config
import reward
import train
from engine import optimizer as optim
from storage import runs

KILLS = int(os.environ.get("KILLS", 3))
SMALL = dict(
    prompts_per_step=4,
    group_size=4,
    max_new_tokens=12,
    eval_every=10,
    eval_problems=8,
    save_every=1,
    lr=1e-3,
    reward="varied",
    updates_per_step=2,
)


pytestmark = pytest.mark.usefixtures("varied_reward")


def settings(folder, model, **more):
    return train.TrainConfig(out=str(folder), model=model, **{**SMALL, **more})


def resume(folder):
    train.train(train.resumed(train.TrainConfig(resume=str(folder)), {"resume"}))


def hold_saves(steps, wanted, held):
    """A save that is asked to waits half-way, and so does the last one: only a kill ends the run."""
    real = torch.save

    def save(state, path):
        if wanted.is_set() or f"step-{steps}." in str(path):
            held.set()
            threading.Event().wait()
        real(state, path)

    torch.save = save


def in_child(folder, model, steps, *events):
    torch.set_num_threads(1)
    if events:
        hold_saves(steps, *events)
    reward.REWARDS["varied"] = varied
    c = settings(folder, model, steps=steps)
    if (Path(folder) / "config.json").exists():
        resume(folder)
    else:
        train.train(c)


def final(folder):
    """Weights and optimizer state of the last checkpoint."""
    place = runs.checkpoints(Path(folder))[-1]
    return (
        place.name,
        load_file(place / "model.safetensors"),
        torch.load(place / "trainer.pt", weights_only=True),
    )


def assert_same_run(a, b):
    (name_a, weights_a, state_a), (name_b, weights_b, state_b) = final(a), final(b)
    assert name_a == name_b and weights_a.keys() == weights_b.keys()
    assert all(torch.equal(weights_a[k], weights_b[k]) for k in weights_a)
    for i, moments in state_a["adam"]["state"].items():
        assert all(
            torch.equal(value, state_b["adam"]["state"][i][name]) for name, value in moments.items()
        )
    timing = (
        "seconds",
        "seconds_sample",
        "seconds_reward",
        "seconds_update",
        "grading_share",
        "tokens_per_second",
    )
    lines_a, lines_b = (
        [
            {k: v for k, v in json.loads(line).items() if k not in timing}
            for line in (Path(f) / "metrics.jsonl").read_text().splitlines()
        ]
        for f in (a, b)
    )
    assert lines_a == lines_b
    assert (Path(a) / "rollouts.jsonl").read_text() == (Path(b) / "rollouts.jsonl").read_text()


def test_12_same_seed_same_run_and_killed_is_undisturbed(tmp_path, tiny_folder):
    """SIGKILL at random moments of a 30-step run, one of them in the middle of a save (KILLS=10 for the full number)."""
    context, steps = multiprocessing.get_context("forkserver"), 30
    context.set_forkserver_preload(["train"])
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"

    def start(folder, *events):
        child = context.Process(
            target=in_child, args=(str(folder), tiny_folder, steps, *events), daemon=True
        )
        child.start()
        return child

    child = start(undisturbed)
    child.join()
    assert child.exitcode == 0
    step_time = json.loads((undisturbed / "summary.json").read_text())["seconds"] / steps
    rng, log, in_save = random.Random(0), killed / "metrics.jsonl", False

    def logged():
        return log.read_text().count("\n") if log.exists() else 0

    for i in range(KILLS):
        wanted, held = context.Event(), context.Event()
        child, target = start(killed, wanted, held), min(logged() + rng.randrange(-1, 3), steps - 1)
        while (
            child.is_alive() and logged() < target
        ):  # some steps on (or none: the kill comes while it is starting) ...
            time.sleep(step_time / 20)
        time.sleep(rng.random() * 2 * step_time)  # ... and then at any moment of a step
        if i and not in_save:  # in the middle of a save
            wanted.set()
            assert held.wait(600)
        assert child.is_alive(), "the run was over before it could be killed"
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        in_save = in_save or bool(list((killed / "checkpoints").glob(".step-*.new")))
    assert in_save and not (killed / "summary.json").exists()
    child = start(killed)
    child.join()
    assert child.exitcode == 0
    assert_same_run(undisturbed, killed)
    assert (
        json.loads((undisturbed / "metrics.jsonl").read_text().splitlines()[1])["grad_norm"] > 0
    )  # it did train
    other = tmp_path / "other"
    train.train(settings(other, tiny_folder, steps=2, seed=1))
    with pytest.raises(AssertionError):  # the comparison notices another seed
        assert_same_run(undisturbed, other)


@pytest.mark.parametrize(
    "more",
    [
        dict(optimizer_states="bf16"),
        dict(offload_optimizer=True),
        dict(optimizer_states="bf16", offload_optimizer=True, gradient_checkpointing=True),
    ],
)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_every_variant_of_the_optimizer_resumes_bit_for_bit(
    tmp_path, tiny_folder, monkeypatch, more, dtype
):
    more = dict(eval_every=1, dtype=dtype, **more)
    train.train(settings(tmp_path / "whole", tiny_folder, steps=3, **more))
    train.train(settings(tmp_path / "part", tiny_folder, steps=1, **more))
    train.train(
        train.resumed(
            train.TrainConfig(resume=str(tmp_path / "part"), steps=3), {"resume", "steps"}
        )
    )
    assert_same_run(tmp_path / "whole", tmp_path / "part")
    states = {
        t.dtype
        for s in final(tmp_path / "part")[2]["adam"]["state"].values()
        for n, t in s.items()
        if n != "step"
    }
    assert states == {
        torch.bfloat16 if "optimizer_states" in more else torch.float32
    }  # saved in their own type
    train.train(settings(tmp_path / "forgetful", tiny_folder, steps=1, **more))
    for kind in (optim.RoundedAdamW, torch.optim.AdamW):
        monkeypatch.setattr(kind, "load_state_dict", lambda self, found: None)
    train.train(
        train.resumed(
            train.TrainConfig(resume=str(tmp_path / "forgetful"), steps=3), {"resume", "steps"}
        )
    )
    with pytest.raises(AssertionError):  # the fault shows
        assert_same_run(tmp_path / "whole", tmp_path / "forgetful")


def test_what_belongs_to_the_machine_may_change_at_a_resume(tmp_path, tiny_folder):
    train.train(settings(tmp_path / "run", tiny_folder, steps=1))
    more = dict(slots=5, token_budget=60, gradient_checkpointing=True, offload_optimizer=True)
    train.train(
        train.resumed(
            train.TrainConfig(resume=str(tmp_path / "run"), steps=2, **more),
            {"resume", "steps", *more},
        )
    )
    assert json.loads((tmp_path / "run" / "config.json").read_text())["slots"] == 5
    with pytest.raises(
        config.UserError, match="leave out --optimizer-states"
    ):  # other states than those that are saved
        train.resumed(
            train.TrainConfig(resume=str(tmp_path / "run")), {"resume", "optimizer_states"}
        )


def test_a_kill_before_the_first_checkpoint_starts_over(tmp_path, tiny_folder):
    c = settings(tmp_path / "run", tiny_folder, steps=2)
    train.train(c)
    for checkpoint in runs.checkpoints(tmp_path / "run"):
        checkpoint.rename(tmp_path / checkpoint.name)
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write('{"step": 3, "half')
    resume(tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2]


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_or_sigterm_finishes_the_step_saves_and_says_how_to_go_on(
    tmp_path, tiny_folder, monkeypatch, capsys, asked
):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    real = train.train_step

    def interrupted_step(this):
        if this.step == 1:
            os.kill(os.getpid(), asked)
        return real(this)

    monkeypatch.setattr(train, "train_step", interrupted_step)
    folder = tmp_path / "run"
    assert train.train(settings(folder, tiny_folder, steps=5, save_every=100)) == {}
    assert f"--resume {folder}" in capsys.readouterr().out
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert [p.name for p in runs.checkpoints(folder)] == ["step-2"]
    monkeypatch.setattr(train, "train_step", real)
    resume(folder)
    whole = tmp_path / "whole"
    train.train(settings(whole, tiny_folder, steps=5, save_every=100))
    assert_same_run(folder, whole)


def test_two_processes_cannot_work_on_one_run(tmp_path, tiny_folder):
    folder = tmp_path / "run"
    train.train(settings(folder, tiny_folder, steps=1))
    before = (folder / "metrics.jsonl").read_bytes()
    held = runs.claim(folder)
    with pytest.raises(config.UserError, match="another process"):
        train.train(
            train.resumed(train.TrainConfig(resume=str(folder), steps=2), {"resume", "steps"})
        )
    assert (folder / "metrics.jsonl").read_bytes() == before
    held.release()
    train.train(train.resumed(train.TrainConfig(resume=str(folder), steps=2), {"resume", "steps"}))


def test_resume_takes_more_steps_but_no_other_setting(tmp_path, tiny_folder):
    folder = tmp_path / "run"
    train.train(settings(folder, tiny_folder, steps=1))
    c = train.resumed(train.TrainConfig(resume=str(folder), steps=2), {"resume", "steps"})
    assert c.steps == 2 and c.group_size == 4
    train.train(c)
    assert runs.checkpoints(folder)[-1].name == "step-2"
    with pytest.raises(config.UserError, match="leave out --warmup"):
        train.resumed(train.TrainConfig(resume=str(folder), warmup=1), {"resume", "warmup"})
    with pytest.raises(config.UserError, match="no run there"):
        train.resumed(train.TrainConfig(resume=str(tmp_path / "none")), {"resume"})


def test_a_full_disk_during_a_save_is_one_line_and_loses_nothing(
    tmp_path, tiny_folder, monkeypatch, capsys
):
    import safetensors.torch

    folder = tmp_path / "run"
    train.train(settings(folder, tiny_folder, steps=1))
    before = {
        p: p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name not in ("metrics.jsonl", "config.json")
    }
    real = safetensors.torch.save_file

    def full(tensors, path, **more):
        real(tensors, path, **more)
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    monkeypatch.setattr("sys.argv", ["train.py", "--resume", str(folder), "--steps", "3"])
    with pytest.raises(SystemExit) as stop:
        config.run_program(train.main)
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "No space left" in said
    assert all(p.read_bytes() == content for p, content in before.items())
    assert not list(folder.rglob(".*.new"))
    monkeypatch.setattr(safetensors.torch, "save_file", real)
    resume(folder)
    assert runs.checkpoints(folder)[-1].name == "step-3"


def test_a_run_folder_holds_what_the_readme_says(tmp_path, tiny_folder):
    folder = tmp_path / "run"
    result = train.train(settings(folder, tiny_folder, steps=2, eval_every=1))
    assert result == json.loads((folder / "summary.json").read_text())
    assert {
        "accuracy_before",
        "accuracy_after",
        "accuracy_before_ci",
        "accuracy_after_ci",
        "steps",
        "seconds",
        "device",
        "seed",
    } <= result.keys()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert {
        "step",
        "reward",
        "accuracy",
        "length",
        "length_right",
        "length_wrong",
        "truncated",
        "grad_norm",
        "entropy",
        "logprob_gap_mean",
        "logprob_gap_max",
        "equal_groups",
        "clip_share",
        "seconds_sample",
        "seconds_reward",
        "seconds_update",
        "tokens_per_second",
    } <= lines[1].keys()
    stored = json.loads((folder / "config.json").read_text())
    assert stored["group_size"] == 4 and {"torch", "git_commit"} <= stored["versions"].keys()
    group = json.loads((folder / "rollouts.jsonl").read_text().splitlines()[0])
    assert (
        len(group["responses"]) == 4
        and {"text", "total", "advantage", "why"} <= group["responses"][0].keys()
    )
    assert (folder / "checkpoints" / "step-2" / "model.safetensors").is_file()
    with pytest.raises(config.UserError, match="holds a run already"):
        train.train(replace(settings(folder, tiny_folder, steps=2)))
