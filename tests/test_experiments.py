"""The laboratory: its statistics, its exact tables, its faults; every experiment at a small size;
the committed results."""

import importlib
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import eval
import grpo
import model as lm
import reward
import tasks
from config import UserError
from experiments import __main__ as program
from experiments import (
    bugs,
    catalogue,
    difficulty_bias,
    evidence,
    four_habits,
    lab,
    length_bias,
    results,
    test_time,
    training,
)

ROOT = Path(__file__).parent.parent


# ---------------------------------------------------------------- what seeds say


def test_an_interval_is_students():
    middle, low, high = evidence.interval([1.0, 2.0, 3.0])
    assert middle == 2.0
    assert high - 2 == pytest.approx(4.30 / math.sqrt(3))
    assert 2 - low == pytest.approx(high - 2)
    assert evidence.interval([5.0])[1:] == (-math.inf, math.inf)  # one seed says nothing


def test_predictions_have_three_answers():
    high = [4.0, 4.1, 3.9]
    low = [0.1, 0.0, -0.1]
    wide = [0.0, 9.0, 1.0]
    assert evidence.above(high, 3) is True
    assert evidence.above(low, 3) is False
    assert evidence.above(wide, 3) is None
    assert evidence.below(high, 3) is False
    assert evidence.below(low, 3) is True
    assert evidence.below(wide, 3) is None
    assert evidence.within(low, 1) is True
    assert evidence.within(high, 1) is False
    assert evidence.within([-value for value in high], 1) is False
    assert evidence.within(wide, 1) is None
    assert evidence.near(high, 4, 1) is True
    assert evidence.near(low, 4, 1) is False
    assert evidence.near([None, 4.0], 4, 1) is None
    assert evidence.above([9.0], 3) is None
    assert evidence.above([None, 4.0], 3) is None
    assert evidence.below([4.0, None], 3) is None
    assert evidence.within([None], 3) is None


def test_half_is_between_less_than_half_and_more():
    whole = [8.0, 8.2, 7.8]
    for part, less in (([1.0, 1.1, 0.9], True), ([7.0, 7.1, 6.9], False)):
        assert evidence.less_than_half(part, whole) is less
        assert evidence.more_than_half(part, whole) is not less
    assert evidence.less_than_half([0.0, 9.0, 1.0], whole) is None
    assert evidence.more_than_half([0.0, 9.0, 1.0], whole) is None


@pytest.mark.parametrize(
    "answers,said",
    [
        ([True, True], "holds"),
        ([True, None], "undecided"),
        ([True, None, False], "does not hold"),
    ],
)
def test_a_verdict_is_that_of_all_predictions(answers, said):
    assert evidence.verdict([("", answer) for answer in answers]) == said


def test_a_curve_leaves_out_steps_without_a_value():
    lines = [
        {"step": 0, "a": 9.0},
        {"step": 1, "a": 1.0},
        {"step": 2, "a": None},
        {"step": 3, "a": 3.0},
    ]
    values = training.curve(lines, "a")
    assert values == [1.0, None, 3.0]
    assert training.late(values) == 2.0
    assert training.late([1.0, 2.0, 3.0, None], 2) == 2.5


def test_seeds_are_a_list_or_a_range():
    assert program.parse_seeds("100-104") == [100, 101, 102, 103, 104]
    assert program.parse_seeds("3,1") == [3, 1]
    for text in ("", "a", "4-2", "1,1", "1-2-3", "-1", "1,", "0-1000", "0-9999999999999"):
        with pytest.raises(UserError):
            program.parse_seeds(text)
    with pytest.raises(UserError, match="choose length_bias"):
        program.LabConfig(names=("lenght_bias",))


# ---------------------------------------------------------------- exact tables


def test_the_expected_drift_of_a_geometric_policy():
    expected_drift = length_bias.expected_drift
    # More stopping is a shorter response: A < 0 lengthens under 1/|o|; a constant does nothing.
    for length, drift in ((2, 0.193), (4, 0.212), (8, 0.172), (20, 0.108)):
        assert expected_drift(length, 1.0, constant=False) == pytest.approx(drift, abs=5e-4)
        assert expected_drift(length, -1.0, constant=False) == pytest.approx(-drift, abs=5e-4)
        assert abs(expected_drift(length, 1.0, constant=True)) < 1e-9
        left_out = expected_drift(length, 1.0, constant=True, stop_counts=False)
        assert left_out == pytest.approx((1 - length) / length**2)


def test_the_factor_of_the_standard_deviation():
    for p, factor in ((0.01, 2.79), (0.05, 2.64), (0.1, 2.49), (0.25, 2.17), (0.5, 1.98)):
        assert difficulty_bias.exact(p) == pytest.approx(factor, abs=5e-3)
        assert difficulty_bias.exact(1 - p) == pytest.approx(factor, abs=5e-3)


# ---------------------------------------------------------------- faults are faults, for a while


def patched_places():
    places = (
        length_bias.TOKEN_WEIGHTS,
        bugs.RESPONSE_LOGPROBS,
        bugs.RUN_SAMPLING,
        bugs.MICRO_BATCHES,
        bugs.POLICY_LOSS,
        bugs.OPTIMIZER_STEP,
    )
    return [getattr(*place) for place in places]


@pytest.mark.parametrize("arm", bugs.ARMS)
def test_a_fault_lasts_as_long_as_its_run(arm):
    expected = 1
    if arm.startswith("no fault"):
        expected = 0
    if arm == "local normaliser":
        expected = 2
    before = patched_places()
    with bugs.fault(arm):
        changed = sum(now is not then for now, then in zip(patched_places(), before))
        assert changed == expected
    assert before == patched_places()


def test_the_stop_token_is_what_the_fault_leaves_out():
    lengths = torch.tensor([3, 1])
    step = grpo.Denominators(2, 4, 8)
    whole = grpo.token_weights(lengths, 4, "constant", step)
    with bugs.fault("stop token left out"):
        left = grpo.token_weights(lengths, 4, "constant", step)
    assert (whole - left).nonzero().tolist() == [[0, 2], [1, 0]]


def right_answers(arm, tokenizer):
    """How many of 100 priming traces of an arm end in a right answer."""
    problems = {}
    for problem in tasks.make_problems("countdown", "train", f"four_habits {arm}", 300):
        problems[tasks.prompt(problem, "short", tokenizer)] = problem
    right = 0
    for prompt, response in four_habits.pairs(arm, 100, tokenizer):
        answer = response.partition("<answer>")[2].removesuffix("</answer>")
        right += tasks.check(answer, problems[prompt])[0]
    return right


def thoughts(arm, tokenizer):
    """What stands before </think> in 20 priming traces of an arm."""
    pairs = four_habits.pairs(arm, 20, tokenizer)
    return [response.partition("</think>")[0] for _, response in pairs]


def test_what_the_priming_traces_hold():
    tokenizer = lm.load("base")[1]
    assert right_answers("wrong", tokenizer) == 0
    assert right_answers("dots", tokenizer) == 100
    assert right_answers("empty", tokenizer) == 100
    assert 0 < right_answers("sub-goal", tokenizer) < right_answers("all", tokenizer) < 100
    assert all(thought.endswith(" yes") for thought in thoughts("wrong", tokenizer))
    assert not any("o" in thought for thought in thoughts("back-track", tokenizer))
    for thought in thoughts("verify", tokenizer):
        assert thought.count("yes") + thought.count("no") == 1
    assert all(set(thought) == {"."} for thought in thoughts("dots", tokenizer))
    assert set(thoughts("empty", tokenizer)) == {""}


def test_scrambled_traces_differ_in_their_verdicts_alone():
    honest = test_time.pairs(test_time.VERDICTS, 200, 300)
    scrambled = test_time.pairs(test_time.SCRAMBLED, 200, 300)
    verdict = test_time.VERDICT
    called = {"yes": [], "no": []}  # what stands behind the last try, by what is true of it
    for (prompt, response), (same_prompt, other) in zip(honest, scrambled):
        assert prompt == same_prompt
        assert verdict.sub("", response) == verdict.sub("", other)
        called[verdict.findall(response)[-1]].append(verdict.findall(other)[-1])
    assert "yes" not in [said for _, text in honest for said in verdict.findall(text)[:-1]]
    for said in called.values():
        assert 0.35 < said.count("yes") / len(said) < 0.65
        assert len(said) > 60


@pytest.mark.parametrize("method", test_time.METHODS)
def test_a_method_is_one_of_the_evaluation(method):
    flags = test_time.METHODS[method]
    given = set(flags)
    if "force_wait" in flags:
        given.add("wait_text")
    if "think_cap" in flags:
        given.add("answer_tokens")
    chosen = {**test_time.COMMON, **flags, "max_new_tokens": test_time.LONGEST}
    settings = eval.EvalConfig(**chosen)
    assert eval.settled(settings, given) == settings


def test_a_verdict_counts_where_the_thinking_ends():
    texts = ["1+2=3 yes</think> <answer>1+2</answer>"] * 3  # two of them are right
    texts += ["1+1=2 yes\n1+2=3 no</think> <answer>1+2</answer>", "1+2=3", "</think> yes"]
    group = SimpleNamespace(
        responses=[SimpleNamespace(text=text) for text in texts],
        right=[True, True, False, True, False, False],
    )
    assert test_time.told([group]) == {"right if yes": 2 / 3, "right if not": 1 / 3}
    nothing = SimpleNamespace(responses=[], right=[])
    assert test_time.told([nothing]) == {"right if yes": None, "right if not": None}


# ---------------------------------------------------------------- from start to end; what is there

WITHOUT_RL = ("test_time",)
SMALL = {
    "difficulty_bias": {"GROUPS": 8},
    "length_growth": {"STEPS": 6},
    "aha": {"STEPS": 6},
    "four_habits": {"STEPS": 6},
    "test_time": {"PROBLEMS": 2, "LONGEST": 90},
}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Two steps of training, three of pre-training."""
    real_run = training.run_rl
    real_base = training.make_base
    real_evaluate = training.evaluate_held_out
    little = dict(prompts_per_step=2, group_size=2, eval_problems=2, max_new_tokens=40)

    def run_rl(folder, model, steps, **settings):
        few = steps if steps < 9 else 2
        return real_run(folder, model, few, **{**settings, **little})

    def make_base(folder, pairs, shape=None, **settings):
        return real_base(folder, pairs[:200], shape, **{**settings, "steps": 3, "rows": 8})

    def evaluate_held_out(model, task, n, *more):
        return real_evaluate(model, task, 8, *more)

    monkeypatch.setattr(training, "run_rl", run_rl)
    monkeypatch.setattr(training, "make_base", make_base)
    monkeypatch.setattr(training, "evaluate_held_out", evaluate_held_out)
    dice = itertools.count()  # such a base is never right: every third response is called so

    def score(name, response, problem, finished=True, style="auto"):
        right = float(next(dice) % 3 == 0)
        return reward.Reward(right, right, 0.0, "")

    monkeypatch.setattr(reward, "score", score)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_an_experiment_runs_at_a_small_size(small, monkeypatch, name, capsys):
    pytest.importorskip("matplotlib")
    module = importlib.import_module(f"experiments.{name}")
    for setting, value in SMALL.get(name, {}).items():
        monkeypatch.setattr(module, setting, value)
    honest = grpo.policy_loss
    losses = []

    def counted(*given):
        losses.append(1)
        return honest(*given)

    monkeypatch.setattr(grpo, "policy_loss", counted)
    out = small / "results"
    result = lab.conduct(name, [200], 1, small / "scratch", out)
    assert results.read(name, out)["name"] == name
    assert (out / f"{name}.png").stat().st_size > 10_000
    assert set(result["arms"]) == set(module.ARMS)
    assert all(len(found) == 1 for found in result["arms"].values())
    assert result["verdict"] in ("holds", "does not hold", "undecided")
    assert result["verdict"] in results.report(result)
    # What is trained with is the project's own loss: a change of grpo.py changes every experiment
    # that has RL.
    assert bool(losses) is (name not in WITHOUT_RL)


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_the_committed_result_is_what_its_rule_says(name):
    path = ROOT / "results" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"results/{name}.json is not there yet: python -m experiments {name}")
    result = json.loads(path.read_text())
    module = importlib.import_module(f"experiments.{name}")
    predictions = [list(prediction) for prediction in module.judge(result["arms"])]
    assert predictions == result["predictions"]
    assert module.table(result["arms"]) == result["table"]
    assert evidence.verdict(result["predictions"]) == result["verdict"]
    assert result["seeds"] == list(module.SEEDS)
    assert result["versions"]["git_commit"]
    assert path.with_suffix(".png").is_file()
    assert result["seconds"] < 20 * 60


def test_half_a_run_is_no_result(monkeypatch, tmp_path):
    monkeypatch.setattr(training, "train", lambda c: {})  # what it returns after Ctrl-C
    with pytest.raises(KeyboardInterrupt):
        training.run_rl(tmp_path / "run", "base", steps=2, device="cpu")


def hear_ctrl_c() -> None:
    """A suite that was started in the background ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_stops_what_runs_and_what_waits(tmp_path):
    pytest.importorskip("matplotlib")
    command = [sys.executable, "-m", "experiments", "difficulty_bias"]
    command += ["--scratch", str(tmp_path), "--results", str(tmp_path)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,
    ) as child:
        # A safety net that no busy machine needs: should one of them hang, all are ended.
        net = threading.Timer(600, os.killpg, (child.pid, signal.SIGKILL))
        net.start()
        try:
            assert child.stderr.readline() == "difficulty_bias: making its bases\n"
            os.killpg(child.pid, signal.SIGINT)  # a terminal sends it to all of them
            # The pipe ends when the last process that holds it has ended: none of them is left.
            said = child.stderr.read()
            assert said == "difficulty_bias: interrupted, no result is written\n"
            assert child.wait() == 130
        finally:
            net.cancel()
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
    assert not list(tmp_path.glob("*.json"))


def test_a_base_is_made_anew_if_what_it_comes_from_changes(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(training.sft, "train", lambda c: made.append(c.model))
    start = tmp_path / "start"
    shutil.copytree("base", start)

    def make(response):
        training.make_base(tmp_path / "x", [("p", response)], model=str(start), steps=1)
        return len(made)

    for weights, expected in ((b"a", 1), (b"a", 1), (b"b", 2)):
        (start / "model.safetensors").write_bytes(weights)
        assert make("r") == expected
    assert make("s") == 3
    for file in training.CODE_FILES:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    monkeypatch.chdir(tmp_path)  # the same code elsewhere changes nothing, another sft.py does
    for more, expected in (("", 3), ("# changed", 4)):
        (tmp_path / "sft.py").write_text((ROOT / "sft.py").read_text() + more)
        assert make("s") == expected


@pytest.mark.parametrize(
    "more,place",
    [
        ([], "results"),
        (["--seeds", "100-104"], "runs/lab/results/100-104"),
        (["--device", "auto"], "runs/lab/results/auto"),
        (["--device", "auto", "--seeds", "7"], "runs/lab/results/auto-7"),
        (["--seeds", "1", "--results", "x"], "x"),
    ],
)
def test_other_seeds_leave_the_committed_results_alone(monkeypatch, capsys, more, place):
    pytest.importorskip("matplotlib")
    places = []

    def conduct(name, seeds, jobs, scratch, out, device):
        places.append(out)
        return {}

    monkeypatch.setattr(lab, "conduct", conduct)
    monkeypatch.setattr(results, "report", lambda result: "")
    monkeypatch.setattr(sys, "argv", ["experiments", "aha", *more])
    program.main()
    assert places == [Path(place)]


def test_what_never_ran_cannot_be_shown(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(sys, "argv", ["experiments", "aha", "--show", "--results", str(tmp_path)])
    with pytest.raises(UserError, match="run it first"):
        program.main()


def test_the_list_names_every_experiment(tmp_path):
    lines = results.listing(tmp_path).splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(catalogue.NAMES)
    assert all("not run yet" in line for line in lines)


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_the_readme_tells_the_committed_verdict(name):
    path = ROOT / "results" / f"{name}.json"
    page = (ROOT / "docs/laboratory.md").read_text().splitlines()
    link = f"[`{name}`](../experiments/{name}.py)"
    row = next(line for line in page if link in line)
    if path.is_file():
        result = json.loads(path.read_text())
        claim = catalogue.claim(name)
        readme = (ROOT / "README.md").read_text()
        assert f"- `{name}`: " in readme  # in fewer words
        assert result["verdict"] == "holds" or "All seven hold" not in readme
        assert f"| {claim} | **{result['verdict']}** | {len(result['seeds'])} | " in row
    else:
        assert "| not run yet |" in row
