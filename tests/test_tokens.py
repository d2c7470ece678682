"""What a run keeps of single tokens: the numbers are those of the tensors, by grpo.py itself."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import grpo
import model as lm
import reward
import train
from evaluation import logs, tokens
from storage import runs

SMALL = dict(
    steps=2,
    eval_every=2,
    prompts_per_step=4,
    group_size=4,
    max_new_tokens=12,
    eval_problems=10,
    reward="varied",
)


def run_of(folder, model, **more) -> list[dict]:
    """Train; the lines of tokens.jsonl."""
    train.train(train.TrainConfig(**{**SMALL, "out": str(folder), "model": model, **more}))
    return read(folder)


def read(folder) -> list[dict]:
    return [json.loads(line) for line in (Path(folder) / runs.TOKENS).read_text().splitlines()]


def of_kind(lines: list[dict], kind: str) -> list[dict]:
    return [line for line in lines if line["kind"] == kind]


def without_costs(folder) -> list[bytes]:
    """The lines of tokens.jsonl as they are written, but for the seconds that they took."""
    lines = (folder / runs.TOKENS).read_bytes().splitlines()
    return [line for line in lines if b'"kind":"cost"' not in line]


@pytest.fixture
def losses(monkeypatch):
    """What each call of grpo.policy_loss was given, and the gradient of its loss by log-probs."""
    seen = []
    real = grpo.policy_loss

    def watched(logprobs, old_logprobs, advantage, lengths, *more, **named):
        loss, log = real(logprobs, old_logprobs, advantage, lengths, *more, **named)
        (gradient,) = torch.autograd.grad(loss, logprobs, retain_graph=True)
        for i, length in enumerate(lengths.tolist()):
            row = (old_logprobs[i, :length], logprobs.detach()[i, :length], gradient[i, :length])
            seen.append(tuple(values.tolist() for values in row))
        return loss, log

    monkeypatch.setattr(grpo, "policy_loss", watched)
    return seen


@pytest.mark.usefixtures("varied_reward")
def test_which_groups_and_problems_are_kept(tmp_path, tiny_folder):
    lines = run_of(tmp_path / "run", tiny_folder, steps=5)
    kept = {kind: [] for kind in ("train", "held-out", "evaluation", "cost")}
    for line in lines:
        kept[line["kind"]].append((line["step"], line["place"]))
    # Of the first step and of each evaluated one the groups of rollouts.jsonl; of each evaluation
    # the first problems.
    assert kept["train"] == [(step, g) for step in (1, 2, 4, 5) for g in range(tokens.GROUPS)]
    evaluated = (0, 2, 4, 5)
    assert kept["held-out"] == [(step, i) for step in evaluated for i in range(tokens.HELD_OUT)]
    assert kept["evaluation"] == [(step, 0) for step in evaluated]
    costs = [line["seconds"] for line in of_kind(lines, "cost")]
    assert 0 < sum(costs) < logs.read_object(tmp_path / "run" / runs.SUMMARY)["seconds"]
    rollouts = (tmp_path / "run" / runs.ROLLOUTS).read_text().splitlines()
    for line, ours in zip(of_kind(lines, "train"), map(json.loads, rollouts)):
        assert line["question"] == ours["question"] and line["step"] == ours["step"]
        texts = [response["text"] for response in line["responses"]]
        assert texts == [response["text"] for response in ours["responses"]]


@pytest.mark.usefixtures("varied_reward")
def test_logprobs_entropy_and_the_likeliest_are_the_models(tmp_path, tiny_folder, tokenizer):
    lines = run_of(tmp_path / "run", tiny_folder, steps=1, temperature=0.8)
    model, _ = lm.load(tiny_folder)
    shown = of_kind(lines, "train") + of_kind(lines[: tokens.HELD_OUT + 1], "held-out")
    assert len(shown) == tokens.GROUPS + tokens.HELD_OUT
    for line in shown:
        prompt = tokenizer(f"{line['question']}\n<think>")["input_ids"]
        for response in line["responses"]:
            ids = response["ids"]
            with torch.no_grad():
                logits = model(torch.tensor([prompt + ids[:-1]]))[0, len(prompt) - 1 :]
            expected = (logits / 0.8).log_softmax(1)
            picked = expected.gather(1, torch.tensor(ids)[:, None])[:, 0]
            torch.testing.assert_close(
                torch.tensor(response["logprobs"]), picked, rtol=1e-3, atol=1e-4
            )
            entropy = -(expected.exp() * expected).sum(1)
            torch.testing.assert_close(
                torch.tensor(response["entropy"]), entropy, rtol=1e-3, atol=1e-4
            )
            best, likeliest = expected.topk(5)
            torch.testing.assert_close(
                torch.tensor(response["their_logprobs"]), best, rtol=1e-2, atol=1e-3
            )
            assert response["likeliest"] == likeliest.tolist()
            assert all(str(i) in line["pieces"] for i in [*ids, *likeliest.flatten().tolist()])


@pytest.mark.usefixtures("varied_reward")
@pytest.mark.parametrize("loss", ["grpo", "dr_grpo", "sequence_ratio"])
def test_ratios_and_clips_are_those_of_the_loss(tmp_path, tiny_folder, losses, loss):
    """Of several updates in a step, so that the weights have moved when the later ones come."""
    lines = run_of(
        tmp_path / "run",
        tiny_folder,
        steps=1,
        loss=loss,
        updates_per_step=4,
        lr=0.03,
        warmup=0,
        max_logprob_gap=0,
    )
    by_drawn = {tuple(tokens.short(x) for x in drawn): rest for drawn, *rest in losses}
    found = 0
    clipped = 0
    for line in of_kind(lines, "train"):
        for response in line["responses"]:
            drawn = tuple(response["logprobs"])
            if response["advantage"] == 0:
                assert response["clipped"] == []
                continue
            now, gradient = by_drawn[drawn]
            found += 1
            flat = [t for t, slope in enumerate(gradient) if slope == 0]
            assert response["clipped"] == flat
            clipped += len(flat)
            difference = torch.tensor(now) - torch.tensor(drawn)
            if loss == "sequence_ratio":
                difference = difference.sum().clamp(-20, 20).expand(len(drawn))
            torch.testing.assert_close(
                torch.tensor(response["log_ratio"]), difference, rtol=1e-3, atol=5e-3
            )
    assert found > 2 and clipped > 0


@pytest.mark.usefixtures("varied_reward")
def test_advantage_times_weight_is_the_gradient_of_each_method(tmp_path, tiny_folder):
    lines = run_of(tmp_path / "run", tiny_folder, steps=1)
    for line in of_kind(lines, "train"):
        responses = line["responses"]
        lengths = torch.tensor([len(response["ids"]) for response in responses])
        totals = torch.tensor([[response["total"] for response in responses]])
        step = grpo.Denominators(len(responses), int(lengths.sum()), SMALL["max_new_tokens"])
        for name in tokens.SIDES:
            loss = grpo.LOSSES[name]
            advantage = grpo.advantages(totals, loss.divide_by_std)[0]
            logprobs = torch.zeros(len(responses), int(lengths.max()), requires_grad=True)
            total, _ = grpo.policy_loss(
                logprobs, torch.zeros_like(logprobs), advantage, lengths, loss, step
            )
            total.backward()
            for i, response in enumerate(responses):
                side = response["sides"][name]
                # The page leaves out the division by the number of responses.
                expected = -logprobs.grad[i, 0].item() * len(responses)
                assert side["advantage"] * side["weight"] == pytest.approx(expected, rel=2e-3)
        assert any(response["sides"]["grpo"]["advantage"] for response in responses)


def test_a_group_of_equal_rewards_is_kept_too(tmp_path, tiny_folder):
    lines = run_of(tmp_path / "run", tiny_folder, steps=1, reward="dr_grpo")
    assert len(of_kind(lines, "train")) == tokens.GROUPS
    for line in of_kind(lines, "train"):
        for response in line["responses"]:
            assert response["advantage"] == 0 and response["clipped"] == []
            assert max(map(abs, response["log_ratio"])) < 1e-4
            assert len(response["entropy"]) == len(response["ids"])


@pytest.mark.usefixtures("varied_reward")
def test_recording_changes_no_weight(tmp_path, tiny_folder, monkeypatch):
    run_of(tmp_path / "with", tiny_folder)
    monkeypatch.setattr(tokens, "GROUPS", 1)
    monkeypatch.setattr(tokens, "HELD_OUT", 0)
    run_of(tmp_path / "less", tiny_folder)
    weights = [
        (tmp_path / name / "checkpoints" / "step-2" / "model.safetensors").read_bytes()
        for name in ("with", "less")
    ]
    assert weights[0] == weights[1]


@pytest.mark.usefixtures("varied_reward")
def test_a_resumed_run_has_the_same_tokens(tmp_path, tiny_folder):
    folder = tmp_path / "run"
    run_of(folder, tiny_folder, steps=4, save_every=2)
    whole = without_costs(folder)
    shutil.rmtree(folder / "checkpoints" / "step-4")
    with open(folder / runs.TOKENS, "ab") as file:
        file.write(b'{"step":5,"kind":"tra')  # a kill came here
    config = train.resumed(train.TrainConfig(resume=str(folder)), {"resume"})
    train.train(config)
    assert without_costs(folder) == whole


def test_a_token_of_half_a_character_has_a_spelling(tokenizer):
    ids = tokenizer("é ☃")["input_ids"]
    stop = tokenizer.eos_token_id
    found = tokens.pieces_of(tokenizer, {stop}, sorted({*ids, stop}))
    assert found["special"] == [stop]
    assert all("\ufffd" not in text for text in found["pieces"].values())
    assert set(found["parts"]) <= set(ids) and len(found["parts"]) >= 2


def test_an_evaluation_says_which_problems_were_right(tmp_path, tiny_folder, monkeypatch):
    real = reward.score

    def by_question(name, text, problem, finished=True, style="auto"):
        answer = problem.answer if len(problem.question) % 2 else "0"
        return real(name, f"x</think> <answer>{answer}</answer>", problem, True, style)

    monkeypatch.setattr(reward, "score", by_question)
    run_of(tmp_path / "run", tiny_folder, steps=1, reward="dr_grpo")
    metrics = logs.read_metrics(tmp_path / "run")
    found = logs.evaluations(tmp_path / "run")
    assert sorted(found) == [0, 1] and 0 < sum(found[1]) < SMALL["eval_problems"]
    assert sum(found[1]) / SMALL["eval_problems"] == metrics[-1]["eval_accuracy"]
