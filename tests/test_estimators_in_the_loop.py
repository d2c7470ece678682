"""What docs/estimators.md says of the loop: entropy bonus, dynamic sampling, long responses, resuming."""

import json
import weakref
from dataclasses import asdict

import pytest
import torch
from conftest import make_tiny
from test_must_hold import ADVANTAGE, close, on_policy, random_rollouts, step_gradient
from torch.utils._python_dispatch import TorchDispatchMode

import estimators
import grpo
import model as lm
import reward
import sample
import tasks
import train
from config import parse
from evaluation import tokens
from storage import runs

SMALL = dict(
    steps=1,
    prompts_per_step=4,
    group_size=2,
    max_new_tokens=12,
    eval_problems=1,
    eval_every=10,
    device="cpu",
    dtype="fp32",
    reward="parity",
)


@pytest.fixture(autouse=True)
def parity(monkeypatch):
    """A reward that is equal in about half of the groups of two."""

    def rule(right, parsed, reading):
        return -float(len(reading.thinking) % 2), 0.0

    monkeypatch.setitem(reward.REWARDS, "parity", rule)
    monkeypatch.setitem(reward.REWARDS, "equal", lambda right, parsed, reading: (0.0, 0.0))


def run_of(folder, model, **more):
    train.train(train.TrainConfig(**{**SMALL, "out": str(folder), "model": model, **more}))
    lines = (folder / runs.METRICS).read_text().splitlines()
    return [json.loads(line) for line in lines]


def weights_of(folder) -> bytes:
    return (runs.checkpoints(folder)[-1] / "model.safetensors").read_bytes()


# ---------------------------------------------------------------- entropy


@pytest.mark.parametrize("way", ["plain", "chunks", "shared"])
@pytest.mark.parametrize("weight_of_logprobs", [0.0, 1.0])
def test_the_entropys_gradient_is_autograds(tokenizer, monkeypatch, way, weight_of_logprobs):
    """Beside the log-probs' and alone, at a temperature, in one chunk and in several."""
    model = make_tiny(tokenizer)
    rollouts = random_rollouts(model)
    prompts = [rollout.prompt for rollout in rollouts]
    responses = [rollout.response for rollout in rollouts]
    generator = torch.Generator().manual_seed(1)
    longest = max(map(len, responses))
    weights = torch.randn(2, len(rollouts), longest, generator=generator)
    weights[0] *= weight_of_logprobs

    expected = 0.0
    for i, (prompt, response) in enumerate(zip(prompts, responses)):
        logits = model(torch.tensor([prompt + response[:-1]]))[0, len(prompt) - 1 :]
        logprobs = (logits / 0.7).log_softmax(1)
        for t, token in enumerate(response):
            entropy = -(logprobs[t].exp() * logprobs[t]).sum()
            expected = expected + weights[0, i, t] * logprobs[t, token] + weights[1, i, t] * entropy
    wanted = torch.autograd.grad(expected, list(model.parameters()))

    if way == "chunks":
        monkeypatch.setattr(lm, "LOGITS_BYTES", 4 * model.config.vocab_size * 5)
        monkeypatch.setattr(lm, "CACHED_BYTES", 4 * model.config.vocab_size * 2)
    if way == "shared":
        shared = lm.SharedPrompts(model, prompts, 10**6)
        logprobs, entropy = shared.response_logprobs(prompts, responses, 0.7)
    else:
        logprobs, entropy = lm.response_logprobs(model, prompts, responses, 0.7)
    total = (weights[1] * entropy).sum()
    if weight_of_logprobs:
        total = total + (weights[0] * logprobs).sum()
    total.backward()
    if way == "shared":
        shared.backward()
    close(total, expected, 1e-4)
    for parameter, gradient in zip(model.parameters(), wanted):
        close(parameter.grad, gradient, 1e-4)


class Alive(TorchDispatchMode):
    """Counts the fp32 tensors of a shape that are there at one time."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.made = []
        self.most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype == torch.float32:
            self.made.append(weakref.ref(result))
        places = set()
        for reference in self.made:
            tensor = reference()
            if tensor is not None and tensor.shape == self.shape:
                places.add(tensor.data_ptr())
        self.most = max(self.most, len(places))
        return result


def test_the_entropys_gradient_makes_no_more_tensors_than_the_memory_plan_counts():
    """Two in fp32 beside logits and their gradient, as without it: engine/memory.py, `in_head`."""
    logits = torch.randn(8, 1000).bfloat16()
    targets = torch.arange(8)
    _, entropy = lm.picked_logprobs(logits, targets, 1.0)
    ones = torch.ones(8)
    with Alive(logits.shape) as alive:
        lm.logits_gradient(logits, targets, 1.0, ones, entropy, ones)
    assert alive.most == 2


def test_an_entropy_bonus_acts_on_rows_without_an_advantage(tiny):
    rollouts = on_policy(tiny, random_rollouts(tiny))
    nothing = torch.zeros(6)
    assert step_gradient(tiny, rollouts, nothing) is None
    bonus = step_gradient(tiny, rollouts, nothing, entropy_coef=0.01)
    both = step_gradient(tiny, rollouts, ADVANTAGE, entropy_coef=0.01)
    close(both, step_gradient(tiny, rollouts, ADVANTAGE) + bonus, 1e-4)
    close(bonus * 2, step_gradient(tiny, rollouts, nothing, entropy_coef=0.02))


def test_an_entropy_bonus_raises_the_entropy(tmp_path, tiny_folder):
    settings = dict(steps=3, lr=1e-2, warmup=0, reward="equal")
    lines = run_of(tmp_path / "run", tiny_folder, entropy_coef=1.0, **settings)
    entropies = [line["entropy"] for line in lines[1:]]
    assert entropies[0] < entropies[1] < entropies[2]


# ---------------------------------------------------------------- responses that are too long


def test_overlong_filtering_leaves_rows_without_weight(tiny):
    rollouts = on_policy(tiny, random_rollouts(tiny))
    for rollout in rollouts:
        rollout.finished = True
    for i in (1, 4):
        rollouts[i].finished = False
    zeroed = ADVANTAGE.clone()
    zeroed[[1, 4]] = 0
    filtered = step_gradient(tiny, rollouts, ADVANTAGE, overlong_filtering=True)
    close(filtered, step_gradient(tiny, rollouts, zeroed))
    # They are rows of the mean over responses, and no tokens of the mean over tokens.
    tokens = [len(rollout.response) for rollout in rollouts]
    left = sum(tokens) - tokens[1] - tokens[4]
    filtered = step_gradient(tiny, rollouts, ADVANTAGE, loss="dapo", overlong_filtering=True)
    close(filtered, step_gradient(tiny, rollouts, zeroed, loss="dapo") * (sum(tokens) / left))
    # Nor do the terms that act on all rows act on them.
    settings = dict(entropy_coef=0.1, loss="dr_grpo")
    bonus = step_gradient(tiny, rollouts, zeroed * 0, overlong_filtering=True, **settings)
    finished = [rollout for rollout in rollouts if rollout.finished]
    close(bonus * 6, step_gradient(tiny, finished, torch.zeros(4), **settings) * 4)


def test_overlong_shaping_takes_from_the_rewards(tmp_path, tiny_folder):
    """Of rewards that are all equal, so that length alone makes the advantages."""
    # A random model hardly ever stops by itself.
    settings = dict(reward="equal", group_size=4, lr=0.0, stop=("a", "e", "t"))
    run_of(tmp_path / "shaped", tiny_folder, overlong_buffer=12, **settings)
    seen = 0
    for line in (tmp_path / "shaped" / runs.ROLLOUTS).read_text().splitlines():
        responses = json.loads(line)["responses"]
        lengths = [response["tokens"] for response in responses]
        for response in responses:
            assert response["total"] == 0  # what the rule pays
            # An even line over the whole response: each token costs a twelfth.
            expected = (sum(lengths) / 4 - response["tokens"]) / 12
            assert response["advantage"] == pytest.approx(expected, abs=1e-6)
            seen += response["advantage"] != 0
    assert seen


# ---------------------------------------------------------------- dynamic sampling


def test_groups_of_equal_rewards_are_drawn_anew(tmp_path, tiny_folder):
    plain = run_of(tmp_path / "plain", tiny_folder, lr=0.0)
    lines = run_of(tmp_path / "run", tiny_folder, lr=0.0, dynamic_sampling=20)
    assert 0 < plain[1]["equal_groups"] < 1 and "redrawn_groups" not in plain[1]
    assert lines[1]["equal_groups"] == 0
    assert lines[1]["redrawn_groups"] >= plain[1]["equal_groups"] * 4
    assert lines[1]["redrawn_tokens"] >= lines[1]["redrawn_groups"] * 2
    assert lines[1]["accuracy_drawn"] == 0
    # What is in its place belongs together: problem, responses and what they earned.
    before, after = (
        [json.loads(line) for line in (tmp_path / name / runs.ROLLOUTS).read_text().splitlines()]
        for name in ("plain", "run")
    )
    for old, new in zip(before, after):
        totals = [response["total"] for response in old["responses"]]
        if totals[0] != totals[1]:
            assert old == new  # a group that teaches something stays
        else:
            assert old["question"] != new["question"]
        for response in new["responses"]:
            thinking = reward.read_response(response["text"]).thinking
            assert response["total"] == -float(len(thinking) % 2)


def test_dynamic_sampling_ends_after_so_many_times(tmp_path, tiny_folder):
    lines = run_of(tmp_path / "run", tiny_folder, reward="equal", dynamic_sampling=2)
    assert lines[1]["redrawn_groups"] == 4 * 2 and lines[1]["equal_groups"] == 1


def test_dynamic_sampling_resumes_bit_for_bit(tmp_path, tiny_folder):
    settings = dict(dynamic_sampling=3, lr=1e-2, warmup=0, save_every=1, entropy_coef=0.01)
    whole = run_of(tmp_path / "whole", tiny_folder, steps=2, **settings)
    run_of(tmp_path / "parts", tiny_folder, steps=1, **settings)
    given = train.TrainConfig(resume=str(tmp_path / "parts"), steps=2)
    train.train(train.resumed(given, {"resume", "steps"}))
    assert weights_of(tmp_path / "whole") == weights_of(tmp_path / "parts")
    last = json.loads((tmp_path / "parts" / runs.METRICS).read_text().splitlines()[-1])
    for name in ("redrawn_groups", "redrawn_tokens", "accuracy_drawn", "reward", "loss", "entropy"):
        assert last[name] == whole[-1][name]


def test_other_problems_are_others_and_a_function_of_their_arguments():
    known = tasks.batch("countdown", 0, 3, 8)
    found = tasks.other_problems("countdown", 0, 3, 1, 5, known)
    assert found == tasks.other_problems("countdown", 0, 3, 1, 5, known) and len(found) == 5
    keys = {problem.key for problem in found}
    assert len(keys) == 5 and not keys & {problem.key for problem in known}
    for other in ((1, 3, 1), (0, 4, 1), (0, 3, 2)):
        assert tasks.other_problems("countdown", *other, 5, known) != found
    rows = tasks.make_problems("countdown", "train", 0, 10)
    left = tasks.other_problems(rows, 0, 3, 1, 5, rows[:7])
    assert sorted(problem.key for problem in left) == sorted(problem.key for problem in rows[7:])
    assert tasks.other_problems(rows, 0, 3, 1, 2, rows[:7]) == left[:2]
    assert tasks.other_problems(rows, 0, 3, 1, 5, rows) == []


def test_a_list_without_other_problems_leaves_its_groups(tmp_path, tiny_folder):
    problems = tmp_path / "problems.jsonl"
    rows = [json.dumps({"question": f"What is {n}?", "answer": str(n)}) for n in range(20)]
    problems.write_text("\n".join(rows) + "\n")
    lines = run_of(
        tmp_path / "run",
        tiny_folder,
        data=str(problems),
        prompts_per_step=20,
        reward="equal",
        dynamic_sampling=2,
    )
    assert lines[1]["redrawn_groups"] == 0 and lines[1]["equal_groups"] == 1


def test_a_small_task_without_enough_other_problems_gives_what_it_has(monkeypatch):
    monkeypatch.setattr(tasks.catalogue, "PATIENCE", 3000)
    known = tasks.make_problems("sums:10", "train", 0, 400)  # of about 475
    found = tasks.other_problems("sums:10", 0, 3, 1, 200, known)
    assert 0 < len(found) < 200
    assert not {problem.key for problem in found} & {problem.key for problem in known}


def test_a_problem_that_was_given_up_does_not_come_back_in_its_step(tmp_path, tiny_folder):
    problems = tmp_path / "problems.jsonl"
    rows = [json.dumps({"question": f"What is {n}?", "answer": str(n)}) for n in range(30)]
    problems.write_text("\n".join(rows) + "\n")
    more = dict(data=str(problems), prompts_per_step=10, reward="equal", dynamic_sampling=6)
    lines = run_of(tmp_path / "run", tiny_folder, **more)
    training, _, _ = train.find_problems(train.TrainConfig(**{**SMALL, **more}))
    assert lines[1]["redrawn_groups"] == len(training) - 10


# ---------------------------------------------------------------- truncated importance sampling


@pytest.mark.parametrize("trainers", [None, [-1.5, -2.0]])
def test_the_token_log_of_tis_has_the_ratios_of_the_loss(trainers):
    rollout = sample.Rollout([1], [2, 3], [-1.0, -2.0], trainers=trainers)
    look = lm.Look(torch.tensor([-1.25, -2.0]), *[torch.zeros(2)] * 3)
    for importance, expected in (("token", [-0.25, 0]), ("tis", [0.25 if trainers else 0, 0])):
        records = [{"total": 1.0}]
        settings = train.TrainConfig(importance=importance)
        tokens.add_update(records, [rollout], [look], torch.tensor([1.0]), settings)
        assert records[0]["log_ratio"] == expected


@pytest.mark.parametrize("updates", [1, 2])
def test_tis_corrects_from_the_sampler_to_the_trainer_before_the_step(
    tmp_path, tiny_folder, monkeypatch, updates
):
    seen = []
    honest = estimators.policy_loss

    def watched(logprobs, old_logprobs, *more):
        seen.append((logprobs.detach(), old_logprobs, more[-1]))
        return honest(logprobs, old_logprobs, *more)

    monkeypatch.setattr(estimators, "policy_loss", watched)
    run_of(
        tmp_path / "run",
        tiny_folder,
        importance="tis",
        updates_per_step=updates,
        lr=1e-2,
        warmup=0,
        entropy_coef=0.01,  # every row is in an update
        token_budget=10**6,
    )
    assert len(seen) == updates
    for _, old, sampler in seen:
        close(old, sampler, 1e-4)  # in fp32 both compute the same
        assert not torch.equal(old, sampler)  # but for rounding
    close(seen[0][0], seen[0][1], 1e-5)
    if updates == 2:
        assert (seen[1][0] - seen[1][1]).abs().max() > 1e-2


# ---------------------------------------------------------------- the run's folder, and --help


def test_the_folder_keeps_what_a_preset_brings_and_resumes_with_it(tmp_path, tiny_folder):
    run_of(tmp_path / "run", tiny_folder, loss="gspo", clip_high=0.1)
    stored = json.loads((tmp_path / "run" / runs.CONFIG).read_text())
    assert (stored["loss"], stored["clip_low"], stored["clip_high"]) == ("gspo", 3e-4, 0.1)
    assert (stored["importance"], stored["normaliser"]) == ("sequence-mean", "sequence_mean")
    assert (stored["baseline"], stored["advantage_normaliser"]) == ("mean", "std")
    assert (stored["positives_only"], stored["kl_level"]) == ("off", "token")
    asked = train.TrainConfig(resume=str(tmp_path / "run"))
    config = train.resumed(asked, {"resume"})
    assert config.estimator == estimators.choose("gspo", clip_high=0.1)


@pytest.mark.parametrize("loss", ["grpo", "gspo", "sequence_ratio", "token_mean"])
def test_the_folder_of_an_earlier_version_goes_on_as_it_was(tmp_path, loss):
    """It has one clip of 0.2 for every loss, and does not know the later settings."""
    stored = asdict(train.TrainConfig(loss=loss))
    for name in ("baseline", "advantage_normaliser", "importance", "positives_only", "kl_level"):
        del stored[name]
    for name in ("entropy_coef", "dynamic_sampling", "overlong_buffer", "overlong_filtering"):
        del stored[name]
    stored |= {"std": "auto", "normaliser": "auto", "clip_low": 0.2, "clip_high": 0.2}
    (tmp_path / runs.CONFIG).write_text(json.dumps(stored))
    config = train.resumed(train.TrainConfig(resume=str(tmp_path)), {"resume"})
    assert config.estimator == estimators.choose(loss, clip_low=0.2, clip_high=0.2)


def test_help_names_losses_normalisers_and_tasks(capsys):
    with pytest.raises(SystemExit):
        parse(train.TrainConfig, "a program", ["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "{" + ",".join(estimators.PRESETS) + "}" in shown
    assert "{auto," + ",".join(grpo.NORMALISERS) + "}" in shown
    assert ", ".join(tasks.GENERATORS) + ", with a size" in shown
