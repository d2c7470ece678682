"""A teacher on the policy's own responses: the formula on a policy that can be listed, and the loop."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import make_tiny
from safetensors.torch import load_file
from test_must_hold import close
from test_resume import assert_same_run

import config
import estimators
import grpo
import model as lm
import train
from engine import memory
from storage import runs

# ---------------------------------------------------------------- the formula
#
# A policy of three ids, at most two of them: the first is drawn by `first`, the second by the row of
# `second` that belongs to the first. Id 2 ends a response. Seven responses, all listed.

RESPONSES = [[2], [0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


def policy(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the first id [3] and of the second [2, 3]."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(3, generator=generator, dtype=torch.float64)
    second = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    return first.requires_grad_(), second.requires_grad_()


def logprobs_of(logits: tuple, longest: int) -> torch.Tensor:
    """Log-probs of all responses [7, T], cut after `longest` ids; 0 beyond a response."""
    first, second = logits
    rows = []
    for response in RESPONSES:
        row = [first.log_softmax(0)[response[0]]]
        if len(response) == 2:
            row.append(second[response[0]].log_softmax(0)[response[1]])
        row += [first.new_zeros(())] * (2 - len(row))
        rows.append(torch.stack(row[:longest]))
    return torch.stack(rows)


def expected_gradient(logits: tuple, teacher: tuple, longest: int, coef: float = 1.0) -> list:
    """The gradient of the policy loss in expectation over all responses, by `with_teacher`."""
    logprobs = logprobs_of(logits, longest)
    theirs = logprobs_of(teacher, longest).detach()
    A = estimators.with_teacher(torch.zeros(7), logprobs, theirs, coef)
    lengths = torch.tensor([min(len(response), longest) for response in RESPONSES])
    chance = logprobs_of(logits, 2).detach().sum(1).exp()
    close(chance.sum(), 1.0, 1e-12)
    choice = estimators.Estimator(normaliser="sequence_sum")
    step = grpo.Denominators(1, 1, longest)
    total = 0.0
    for i in range(7):
        row = slice(i, i + 1)
        old = logprobs[row].detach()
        loss, _ = estimators.policy_loss(logprobs[row], old, A[row], lengths[row], choice, step)
        total = total + chance[i] * loss
    return torch.autograd.grad(total, logits, allow_unused=True)


def kl(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """KL of the distributions of two rows of logits."""
    return (ours.softmax(0) * (ours.log_softmax(0) - theirs.log_softmax(0))).sum()


def test_of_one_token_it_is_the_gradient_of_the_exact_reverse_kl():
    logits = policy(0)
    teacher = policy(1)
    found = expected_gradient(logits, teacher, longest=1)[0]
    (exact,) = torch.autograd.grad(kl(logits[0], teacher[0]), logits[:1])
    close(found, exact, 1e-12)
    assert exact.abs().max() > 0.01
    for wrong in (-1.0, 0.0, 0.5, 2.0):  # the comparison fails on another sign or size
        other = expected_gradient(logits, teacher, longest=1, coef=wrong)[0]
        close(other, wrong * exact, 1e-12)
        assert (other - exact).abs().max() > 0.005
    (forward,) = torch.autograd.grad(kl(teacher[0], logits[0]), logits[:1])
    assert (found - forward).abs().max() > 0.005  # and on the forward KL


def test_of_two_tokens_what_the_first_does_to_the_second_is_dropped():
    logits = policy(0)
    teacher = policy(1)
    first, second = logits
    found = expected_gradient(logits, teacher, longest=2)

    # What is kept: the KL of each place, the chance to come there being given.
    there = first.softmax(0)[:2]
    later = torch.stack([kl(second[i], teacher[1][i]) for i in range(2)])
    places = kl(first, teacher[0]) + (there.detach() * later).sum()
    for ours, exact in zip(found, torch.autograd.grad(places, logits, retain_graph=True)):
        close(ours, exact, 1e-12)

    # What is dropped: that another first id leads to where they are further apart, or nearer.
    whole = kl(first, teacher[0]) + (there * later).sum()
    full = torch.autograd.grad(whole, logits, retain_graph=True)
    (dropped,) = torch.autograd.grad((there * later.detach()).sum(), [first])
    close(full[0] - found[0], dropped, 1e-12)
    close(full[1], found[1], 1e-12)
    assert dropped.abs().max() > 0.01


def test_what_a_response_earned_is_added_and_nothing_goes_back_through_it():
    logprobs = torch.tensor([[-1.0, -2.0], [-0.5, 0.0]], requires_grad=True)
    theirs = torch.tensor([[-0.5, -3.0], [-0.5, 0.0]])
    A = estimators.with_teacher(torch.tensor([1.0, -1.0]), logprobs, theirs, 0.1)
    close(A, torch.tensor([[1.05, 0.9], [-1.0, -1.0]]), 1e-6)
    assert not A.requires_grad


# ---------------------------------------------------------------- the loop

SMALL = dict(
    algorithm="distill",
    prompts_per_step=4,
    group_size=1,
    max_new_tokens=12,
    eval_every=10,
    eval_problems=2,
    save_every=1,
    lr=1e-3,
    device="cpu",
)


def settings(folder, model, **more):
    return train.TrainConfig(out=str(folder), model=model, **{**SMALL, **more})


def go_on(folder, **more):
    given = train.TrainConfig(resume=str(folder), **more)
    train.train(train.resumed(given, {"resume", *more}))


def lines_of(folder) -> list[dict]:
    return runs.read_lines(Path(folder) / runs.METRICS)


def weights_of(folder) -> dict:
    return load_file(Path(folder) / "model.safetensors")


def moved(run, start) -> bool:
    """Whether the last checkpoint of a run has other weights than a model."""
    now = weights_of(runs.checkpoints(Path(run))[-1])
    before = weights_of(start)
    return any(not torch.equal(now[name], before[name]) for name in before)


@pytest.fixture
def other(tmp_path, tokenizer):
    """A teacher of another shape, larger than the policy."""
    shape = dict(hidden_size=48, num_hidden_layers=3)
    lm.save(tmp_path / "other", make_tiny(tokenizer, seed=1, **shape), tokenizer)
    return str(tmp_path / "other")


@pytest.fixture
def untimed(monkeypatch):
    """`assert_same_run` passes over a step's seconds; those of the teacher are not in its list."""
    real = train.Timer.stop
    names = {"teacher": "reward"}
    monkeypatch.setattr(train.Timer, "stop", lambda self, part: real(self, names.get(part, part)))


@pytest.mark.parametrize(
    "more",
    [
        dict(),
        dict(temperature=0.7, group_size=2, updates_per_step=2, gradient_checkpointing=True),
        dict(token_budget=40, dtype="bf16"),
    ],
)
def test_from_itself_nothing_is_learned_and_from_another_something(
    tmp_path, tiny_folder, other, more
):
    c = settings(tmp_path / "itself", tiny_folder, steps=1, teacher=tiny_folder, **more)
    train.train(c)
    line = lines_of(c.out)[1]
    assert line["teacher_kl"] == 0.0 and line["grad_norm"] == 0.0
    assert not moved(c.out, tiny_folder)
    groups = runs.read_lines(Path(c.out) / runs.ROLLOUTS)
    assert {response["advantage"] for group in groups for response in group["responses"]} == {0.0}

    c = settings(tmp_path / "another", tiny_folder, steps=1, teacher=other, **more)
    train.train(c)
    line = lines_of(c.out)[1]
    assert abs(line["teacher_kl"]) > 0.1 and line["grad_norm"] > 0
    assert moved(c.out, tiny_folder)


def test_the_advantage_of_a_token_is_what_the_teacher_says_less_what_the_policy_says(
    tmp_path, tiny_folder, other
):
    more = dict(teacher=other, teacher_coef=0.5, temperature=0.7, group_size=2)
    run = train.open_run(settings(tmp_path / "run", tiny_folder, steps=1, **more))
    run.lock.release()
    prompts = [[5, 6, 7], [8], [9, 10]]
    rollouts = train.sample.generate(run.model, run.tokenizer, prompts, run.sampling(), n=2, seed=1)
    earned = torch.arange(6.0)
    found, log = train.teacher_advantages(run, rollouts, earned)
    total = 0.0
    for i, rollout in enumerate(rollouts):
        said = []
        for model in (run.model, run.teacher):
            logits = model(torch.tensor([rollout.prompt + rollout.response[:-1]]))[0]
            logits = logits[len(rollout.prompt) - 1 :].detach()
            logprobs = (logits / 0.7).log_softmax(1)
            said.append(logprobs.gather(1, torch.tensor(rollout.response)[:, None])[:, 0])
        close(found[i, : len(rollout.response)], earned[i] + 0.5 * (said[1] - said[0]), 1e-4)
        total += (said[0] - said[1]).sum().item()
    close(log["teacher_kl"], total / sum(len(rollout.response) for rollout in rollouts), 1e-4)
    assert log["equal_groups"] is None


def test_a_small_step_makes_likelier_what_the_teacher_finds_likelier(tmp_path, tiny_folder, other):
    """Of the very responses that were drawn."""
    more = dict(teacher=other, prompts_per_step=16)
    run = train.open_run(settings(tmp_path / "run", tiny_folder, steps=1, **more))
    run.lock.release()
    prompts = [[5, 6, 7], [8], [9, 10], [11, 12]]
    rollouts = train.sample.generate(run.model, run.tokenizer, prompts, run.sampling(), 2, seed=1)
    before, theirs = train.read_by_teacher(run, rollouts)
    advantage, _ = train.teacher_advantages(run, rollouts, torch.zeros(len(rollouts)))
    train.update(run.model, run.optimizer, rollouts, advantage, 1e-5, run.config, on_policy=True)
    after, _ = train.read_by_teacher(run, rollouts)
    gained = ((after - before) * (theirs - before)).sum()
    assert gained > 0.01 * (after - before).norm() * (theirs - before).norm() > 0


def test_beside_rewards_a_teacher_adds_to_the_groups_advantages(
    tmp_path, tiny_folder, other, varied_reward
):
    more = dict(algorithm="grpo", group_size=3, reward="varied", steps=1)
    for name, of_teacher in (("alone", {}), ("itself", tiny_folder), ("both", other)):
        given = dict(teacher=of_teacher) if of_teacher else {}
        train.train(settings(tmp_path / name, tiny_folder, **more, **given))
    alone, itself, both = [lines_of(tmp_path / name)[1] for name in ("alone", "itself", "both")]
    assert "teacher_kl" not in alone and itself["teacher_kl"] == 0.0 != both["teacher_kl"]
    # Rewards are as they were: the same draws.
    assert alone["reward"] == both["reward"] and alone["equal_groups"] == both["equal_groups"]
    a, b, c = [
        weights_of(runs.checkpoints(tmp_path / name)[-1]) for name in ("alone", "itself", "both")
    ]
    for name in a:
        close(a[name], b[name], 1e-5)
    assert any((a[name] - c[name]).abs().max() > 1e-4 for name in a)


def test_rewards_are_scored_and_logged_and_the_page_draws_the_distance(
    tmp_path, tiny_folder, other, varied_reward
):
    c = settings(tmp_path / "run", tiny_folder, steps=2, teacher=other, reward="varied")
    train.train(c)
    line = lines_of(c.out)[1]
    assert line["reward"] < 0 and line["accuracy"] == 0 and line["length"] > 0
    assert line["equal_groups"] is None and line["seconds_teacher"] > 0
    assert '"teacher_kl"' in (Path(c.out) / "report.html").read_text()
    stored = json.loads((Path(c.out) / "config.json").read_text())
    assert stored["importance"] == "token" and stored["normaliser"] == "constant"
    assert stored["baseline"] == "auto"


def test_a_new_run_is_named_for_it():
    c = train.TrainConfig(algorithm="distill", teacher="base")
    assert runs.new_run_folder(c).name.startswith("countdown-distill-seed0")


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize("more", [dict(), dict(group_size=2, updates_per_step=2, kl_coef=0.1)])
def test_a_resumed_run_is_an_undisturbed_one_bit_for_bit(
    tmp_path, tiny_folder, other, untimed, more
):
    whole = tmp_path / "whole"
    part = tmp_path / "part"
    more = dict(teacher=other, eval_every=1, **more)
    train.train(settings(whole, tiny_folder, steps=3, **more))
    train.train(settings(part, tiny_folder, steps=1, **more))
    go_on(part, steps=3)
    assert_same_run(whole, part)
    train.train(settings(tmp_path / "off", tiny_folder, steps=1, algorithm="grpo", group_size=2))
    kept = [runs.checkpoints(tmp_path / name)[-1] for name in ("part", "off")]
    names = [sorted(path.name for path in place.iterdir()) for place in kept]
    assert names[0] == names[1]  # no teacher is in a checkpoint


def test_another_teacher_is_refused_and_one_that_has_moved_is_asked_for(
    tmp_path, tiny_folder, other, tokenizer
):
    run = tmp_path / "run"
    train.train(settings(run, tiny_folder, steps=1, teacher=other))
    assert set(json.loads((run / "config.json").read_text())["sha256"]) == {"model", "teacher"}
    Path(other).rename(tmp_path / "moved")
    with pytest.raises(config.UserError, match="there is no .*other here.*--teacher PLACE"):
        go_on(run, steps=2)
    with pytest.raises(config.UserError, match="--teacher .*tiny is not what this run .*--teacher"):
        go_on(run, steps=2, teacher=tiny_folder)
    go_on(run, steps=2, teacher=str(tmp_path / "moved"))
    go_on(run, steps=3)
    shutil.rmtree(tmp_path / "moved")
    lm.save(tmp_path / "moved", make_tiny(tokenizer, seed=2), tokenizer)
    with pytest.raises(config.UserError, match="is not what this run is trained on"):
        go_on(run, steps=4)
    train.train(settings(tmp_path / "plain", tiny_folder, steps=1, algorithm="grpo", group_size=2))
    with pytest.raises(config.UserError, match="this run has no --teacher"):
        go_on(tmp_path / "plain", steps=2, teacher=other)


# ---------------------------------------------------------------- what is refused


def test_a_teacher_that_cannot_read_the_ids_is_refused_in_a_line(tmp_path, tiny_folder, tokenizer):
    model = make_tiny(tokenizer)

    def refused(said, **more):
        with pytest.raises(config.UserError, match=said) as error:
            train.train(settings(tmp_path / "run", tiny_folder, steps=1, **more))
        assert "\n" not in str(error.value) and not (tmp_path / "run").exists()

    lm.save(tmp_path / "words", model, tokenizer)
    file = tmp_path / "words" / "tokenizer.json"
    written = json.loads(file.read_text())
    vocabulary = written["model"]["vocab"]
    one, two = [word for word in vocabulary if len(word) == 1][:2]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    file.write_text(json.dumps(written))
    refused(r"another vocabulary .*\(4 tokens or ids", teacher=str(tmp_path / "words"))

    small = make_tiny(tokenizer, max_position_embeddings=32)
    lm.save(tmp_path / "short", small, tokenizer)
    refused("has a context of 32 tokens", teacher=str(tmp_path / "short"))
    refused("not a model folder", teacher=str(tmp_path / "none"))


def test_a_teacher_with_fewer_ids_is_refused(tmp_path, tiny_folder, tokenizer):
    run = settings(tmp_path / "run", tiny_folder, steps=1, teacher=tiny_folder)
    model, _ = lm.load(tiny_folder)
    model.config = replace(model.config, vocab_size=model.config.vocab_size + 8)
    with pytest.raises(config.UserError, match="take another teacher"):
        train.shape_of_teacher(run, model, tokenizer, longest=10)


@pytest.mark.parametrize(
    "given, said",
    [
        (dict(teacher=None), "--algorithm distill needs .* name a --teacher"),
        (dict(algorithm="grpo", teacher=None, teacher_coef=0.5), "--teacher-coef weighs"),
        (dict(algorithm="ppo"), "--teacher stands beside --algorithm distill or grpo"),
        (dict(teacher_coef=0.0), "--teacher-coef must be above 0"),
        (dict(teacher_coef=float("inf")), "--teacher-coef must be below inf"),
        (dict(loss="rloo"), "--loss shapes advantages of rewards"),
        (dict(baseline="loo"), "--baseline shapes"),
        (dict(std="on"), "--std shapes"),
        (dict(dynamic_sampling=2), "--dynamic-sampling shapes"),
        (dict(overlong_buffer=2), "--overlong-buffer shapes"),
        (dict(critic_lr=1.0), "--critic-lr belongs to --algorithm ppo"),
        (dict(algorithm="grpo", group_size=1), "--group-size must be at least 2"),
        (dict(group_size=0), "--group-size must be at least 1"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_a_line(given, said):
    with pytest.raises(config.UserError, match=said) as refused:
        train.TrainConfig(**{"algorithm": "distill", "teacher": "base", **given})
    assert "\n" not in str(refused.value)


# ---------------------------------------------------------------- memory


def test_a_teacher_counts_and_may_be_larger_than_the_policy(tiny, tokenizer):
    large = make_tiny(tokenizer, hidden_size=64, num_hidden_layers=8).config
    without = memory.Setup(4, 100, 256, width=4, prompts=100)
    for shape in (tiny.config, large):
        setup = replace(without, teacher=shape)
        n = memory.parameters(shape)
        assert memory.parts(tiny.config, setup)["teacher"] == 4 * n / 1e9
        for more, less in zip(
            memory.phases(tiny.config, setup), memory.phases(tiny.config, without)
        ):
            assert more >= less + 4 * n / 1e9 * 0.999
    assert memory.parts(tiny.config, without)["teacher"] == 0
    # One that is far larger takes most while it reads.
    huge = replace(large, intermediate_size=10**6)
    with_huge = memory.phases(tiny.config, replace(without, teacher=huge))
    assert with_huge[1] - 4 * memory.parameters(huge) / 1e9 > memory.phases(tiny.config, without)[1]
    c = train.TrainConfig(algorithm="distill", teacher="base")
    assert memory.setup_of(c, 10, 64, teacher=large).teacher == large
