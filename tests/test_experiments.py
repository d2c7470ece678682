"""The laboratory: its statistics, its exact tables, its faults; every experiment at a small size; the committed results."""
import importlib
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import grpo
import model as lm
import optim
import reward
import runs
import tasks
import update
from config import Refusal
from experiments import __main__ as program
from experiments import lab

ROOT = Path(__file__).parent.parent
HAVE = [name for name in lab.NAMES if (ROOT / "experiments" / f"{name}.py").is_file()]


# ---------------------------------------------------------------- what seeds say

def test_an_interval_is_students():
    middle, low, high = lab.interval([1.0, 2.0, 3.0])
    assert middle == 2.0 and high - 2 == pytest.approx(4.30 / math.sqrt(3)) and 2 - low == pytest.approx(high - 2)
    assert lab.interval([5.0])[1:] == (-math.inf, math.inf)  # one seed says nothing


def test_predictions_have_three_answers():
    high, low, wide = [4.0, 4.1, 3.9], [0.1, 0.0, -0.1], [0.0, 9.0, 1.0]
    assert lab.above(high, 3) is True and lab.above(low, 3) is False and lab.above(wide, 3) is None
    assert lab.below(high, 3) is False and lab.below(low, 3) is True and lab.below(wide, 3) is None
    assert lab.within(low, 1) is True and lab.within(high, 1) is False and lab.within([-v for v in high], 1) is False
    assert lab.within(wide, 1) is None and lab.above([9.0], 3) is None
    assert lab.above([None, 4.0], 3) is lab.below([4.0, None], 3) is lab.within([None], 3) is None
    for answers, said in (([True, True], "holds"), ([True, None], "undecided"), ([True, None, False], "does not hold")):
        assert lab.verdict([("", answer) for answer in answers]) == said


def test_a_curve_leaves_out_steps_without_a_value():
    lines = [{"step": 0, "a": 9.0}, {"step": 1, "a": 1.0}, {"step": 2, "a": None}, {"step": 3, "a": 3.0}]
    assert lab.curve(lines, "a") == [1.0, None, 3.0] and lab.late(lab.curve(lines, "a")) == 2.0
    assert lab.late([1.0, 2.0, 3.0, None], 2) == 2.5


def test_seeds_are_a_list_or_a_range():
    assert program.seeds_of("100-104") == [100, 101, 102, 103, 104] and program.seeds_of("3,1") == [3, 1]
    for text in ("", "a", "4-2", "1,1", "1-2-3", "-1", "1,", "0-1000", "0-9999999999999"):
        with pytest.raises(Refusal):
            program.seeds_of(text)
    with pytest.raises(Refusal, match="choose length_bias"):
        program.LabConfig(names=("lenght_bias",))


# ---------------------------------------------------------------- exact tables

def test_the_expected_drift_of_a_geometric_policy():
    from experiments.length_bias import expected_drift
    # More stopping is a shorter response: A < 0 lengthens under 1/|o|, and nothing does under a constant.
    for length, drift in ((2, 0.193), (4, 0.212), (8, 0.172), (20, 0.108)):
        assert expected_drift(length, 1.0, constant=False) == pytest.approx(drift, abs=5e-4)
        assert expected_drift(length, -1.0, constant=False) == pytest.approx(-drift, abs=5e-4)
        assert abs(expected_drift(length, 1.0, constant=True)) < 1e-9
        assert expected_drift(length, 1.0, constant=True, stop_counts=False) == pytest.approx((1 - length) / length ** 2)


def test_the_factor_of_the_standard_deviation():
    from experiments.difficulty_bias import exact
    for p, factor in ((0.01, 2.79), (0.05, 2.64), (0.1, 2.49), (0.25, 2.17), (0.5, 1.98)):
        assert exact(p) == pytest.approx(factor, abs=5e-3) == exact(1 - p)


# ---------------------------------------------------------------- the faults are faults, and only for a while

def test_a_fault_lasts_as_long_as_its_run():
    from experiments import bugs

    def places():
        return (grpo.token_weights, lm.response_logprobs, runs.Run.sampling, grpo.policy_loss, optim.MasterAdamW.step,
                update.micro_batches)
    before = places()
    for arm in bugs.ARMS:
        with bugs.fault(arm):
            changed = sum(a is not b for a, b in zip(places(), before))
            assert changed == (0 if arm.startswith("no fault") else 2 if arm == "local normaliser" else 1), arm
    assert before == places()


def test_the_stop_token_is_what_the_fault_leaves_out():
    from experiments import bugs
    lengths, step = torch.tensor([3, 1]), grpo.Denominators(2, 4, 8)
    whole = grpo.token_weights(lengths, 4, "constant", step)
    with bugs.fault("stop token left out"):
        left = grpo.token_weights(lengths, 4, "constant", step)
    assert (whole - left).nonzero().tolist() == [[0, 2], [1, 0]]


def test_what_the_priming_traces_hold():
    from experiments import four_habits
    tokenizer = lm.load("base")[1]

    def right(arm):
        problems = {tasks.prompt(p, "short", tokenizer): p
                    for p in tasks.draw("countdown", "train", f"four_habits {arm}", 300)}
        return sum(reward.check(response.partition("<answer>")[2].removesuffix("</answer>"), problems[prompt])[0]
                   for prompt, response in four_habits.pairs(arm, 100, tokenizer))
    assert right("wrong") == 0 and right("dots") == right("empty") == 100 and 0 < right("sub-goal") < right("all") < 100
    thoughts = {arm: [r.partition("</think>")[0] for _, r in four_habits.pairs(arm, 20, tokenizer)]
                for arm in ("wrong", "back-track", "verify", "dots", "empty")}
    assert all(t.endswith(" yes") for t in thoughts["wrong"]) and not any("o" in t for t in thoughts["back-track"])
    assert all(t.count("yes") + t.count("no") == 1 for t in thoughts["verify"])
    assert all(set(t) == {"."} for t in thoughts["dots"]) and set(thoughts["empty"]) == {""}


# ---------------------------------------------------------------- each experiment from start to end, and what is committed

SMALL = {"difficulty_bias": {"GROUPS": 8}, "length_growth": {"STEPS": 6}, "aha": {"STEPS": 6},
         "four_habits": {"STEPS": 6}}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Two steps of training, three of pre-training."""
    real_run, real_base, real_sampled = lab.run, lab.make_base, lab.sampled
    monkeypatch.setattr(lab, "run", lambda folder, model, **settings: real_run(folder, model, **{
        **settings, "steps": settings["steps"] if settings["steps"] < 9 else 2, "prompts_per_step": 2, "group_size": 2,
        "eval_problems": 2, "max_new_tokens": 40}))
    monkeypatch.setattr(lab, "make_base", lambda folder, pairs, shape=None, **settings: real_base(
        folder, pairs[:200], shape, **{**settings, "steps": 3, "rows": 8}))
    monkeypatch.setattr(lab, "sampled", lambda model, task, n, *more: real_sampled(model, task, 8, *more))
    dice = itertools.count()  # such a base is never right: every third response is called so

    def score(name, response, problem, finished=True, style="auto"):
        right = float(next(dice) % 3 == 0)
        return reward.Reward(right, right, 0.0, "")
    monkeypatch.setattr(reward, "score", score)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", HAVE)
def test_an_experiment_runs_at_a_small_size(small, monkeypatch, name, capsys):
    pytest.importorskip("matplotlib")
    module = importlib.import_module(f"experiments.{name}")
    for setting, value in SMALL.get(name, {}).items():
        monkeypatch.setattr(module, setting, value)
    honest, losses = grpo.policy_loss, []
    monkeypatch.setattr(grpo, "policy_loss", lambda *given: losses.append(1) or honest(*given))
    result = lab.conduct(name, [200], 1, small / "scratch", small / "results")
    assert json.loads((small / "results" / f"{name}.json").read_text())["name"] == name
    assert (small / "results" / f"{name}.png").stat().st_size > 10_000
    assert set(result["arms"]) == set(module.ARMS) and all(len(found) == 1 for found in result["arms"].values())
    assert result["verdict"] in ("holds", "does not hold", "undecided") and result["verdict"] in lab.report(result)
    assert losses  # what is trained with is the project's own loss: a change of grpo.py changes every experiment


@pytest.mark.parametrize("name", HAVE)
def test_the_committed_result_is_what_its_rule_says(name):
    path = ROOT / "results" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"results/{name}.json is not there yet: python -m experiments {name}")
    result, module = json.loads(path.read_text()), importlib.import_module(f"experiments.{name}")
    assert [list(p) for p in module.judge(result["arms"])] == result["predictions"]
    assert lab.verdict(result["predictions"]) == result["verdict"] and result["seeds"] == list(module.SEEDS)
    assert result["versions"]["git_commit"] and (path.with_suffix(".png")).is_file() and result["seconds"] < 20 * 60
    assert len((ROOT / "experiments" / f"{name}.py").read_text().splitlines()) < 150


def test_half_a_run_is_no_result(monkeypatch, tmp_path):
    monkeypatch.setattr(lab, "train", lambda c: {})  # what it returns after Ctrl-C
    with pytest.raises(KeyboardInterrupt):
        lab.run(tmp_path / "run", "base", steps=2)


def test_ctrl_c_stops_what_runs_and_what_waits(tmp_path):
    pytest.importorskip("matplotlib")
    command = f"{sys.executable} -m experiments difficulty_bias --scratch {tmp_path} --results {tmp_path}".split()
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as program:
        assert program.stderr.readline() == "difficulty_bias: making its bases\n"
        os.killpg(program.pid, signal.SIGINT)  # a terminal sends it to all of them
        assert program.wait(60) == 130
        assert program.stderr.read() == "difficulty_bias: interrupted, no result is written\n"
    assert not list(tmp_path.glob("*.json"))
    with pytest.raises(ProcessLookupError):  # none of them is left
        for _ in range(100):
            os.killpg(program.pid, 0)
            time.sleep(0.1)


def test_a_base_is_made_anew_if_what_it_comes_from_changes(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(lab.sft, "train", lambda c: made.append(c.model))
    start = tmp_path / "start"
    shutil.copytree("base", start)
    for weights, expected in ((b"a", 1), (b"a", 1), (b"b", 2)):
        (start / "model.safetensors").write_bytes(weights)
        lab.make_base(tmp_path / "x", [("p", "r")], model=str(start), steps=1)
        assert len(made) == expected
    lab.make_base(tmp_path / "x", [("p", "s")], model=str(start), steps=1)
    assert len(made) == 3
    for room in ROOT.glob("*.py"):
        shutil.copy(room, tmp_path)
    monkeypatch.chdir(tmp_path)  # the same code elsewhere changes nothing, another sft.py does
    for more, expected in (("", 3), ("# changed", 4)):
        (tmp_path / "sft.py").write_text((ROOT / "sft.py").read_text() + more)
        lab.make_base(tmp_path / "x", [("p", "s")], model=str(start), steps=1)
        assert len(made) == expected


def test_other_seeds_leave_the_committed_results_alone(monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    places = []
    monkeypatch.setattr(lab, "conduct", lambda name, seeds, jobs, scratch, results, where: places.append(results) or {})
    monkeypatch.setattr(lab, "report", lambda result: "")
    elsewhere = "runs/lab/results"
    for more, place in (([], "results"), (["--seeds", "100-104"], f"{elsewhere}/100-104"),
                        (["--device", "auto"], f"{elsewhere}/auto"),
                        (["--device", "auto", "--seeds", "7"], f"{elsewhere}/auto-7"),
                        (["--seeds", "1", "--results", "x"], "x")):
        monkeypatch.setattr(sys, "argv", ["experiments", "aha", *more])
        program.main()
        assert places[-1] == Path(place)
    monkeypatch.setattr(sys, "argv", ["experiments", "aha", "--show", "--results", str(tmp_path)])
    with pytest.raises(Refusal, match="run it first"):
        program.main()


def test_the_list_names_every_experiment(tmp_path):
    lines = program.listing(tmp_path).splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(lab.NAMES) and all("not run yet" in line for line in lines[1:])


@pytest.mark.parametrize("name", lab.NAMES)
def test_the_readme_tells_the_committed_verdict(name):
    path, readme = ROOT / "results" / f"{name}.json", (ROOT / "README.md").read_text().splitlines()
    row = next(line for line in readme if f"[`{name}`](experiments/{name}.py)" in line)
    if path.is_file():
        result = json.loads(path.read_text())
        assert f"| {lab.claim(name)} | **{result['verdict']}** | {len(result['seeds'])} | " in row
    else:
        assert "| not run yet |" in row
