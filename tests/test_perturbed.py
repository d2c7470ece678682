"""Perturbed puzzles: one word and the solution are others; pairs as files; what was learned by heart."""

import itertools
import json
import random
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_errors import refused
from test_tasks import is_true

import eval as program
import tasks
import train
from config import UserError
from evaluation import memorised, problems, responses
from evaluation.responses import Graded, Response
from tasks import knights
from tasks.problem import SPLITS


def solutions_told(question: str) -> list[tuple[bool, ...]]:
    """The assignments that fit a puzzle as its question tells it."""
    said = dict(re.findall(r"(\w+) says: ([^.]+)\.", question))
    found = []
    for roles in itertools.product((True, False), repeat=len(said)):
        world = dict(zip(said, roles))
        if all(is_true(text, world) == world[name] for name, text in said.items()):
            found.append(roles)
    return found


def faults(original: tasks.Problem, changed: tasks.Problem) -> list[str]:
    """What is wrong with a puzzle as the perturbed one of another, read from the questions alone."""
    found = []
    before = re.findall(r"\w+|[^\w ]", original.question)
    after = re.findall(r"\w+|[^\w ]", changed.question)
    different = [pair for pair in zip(before, after) if pair[0] != pair[1]]
    if len(before) != len(after) or len(different) != 1 or set(*different) != {"knight", "knave"}:
        found.append("not one word")
    solutions = solutions_told(changed.question)
    if len(solutions) != 1:
        found.append("not one solution")
    elif solutions == solutions_told(original.question):
        found.append("the same solution")
    right, _, _ = tasks.check(changed.answer, changed)
    if not right or changed.facts["knights"] not in solutions:
        found.append("a wrong answer")
    if changed.key == original.key or changed.facts["original"] != original.key:
        found.append("a wrong key")
    return found


def puzzles(size: int, n: int, seed: int = 0) -> list[tasks.Problem]:
    return tasks.make_problems(f"kk:{size}", "train", seed, n)


@settings(max_examples=80, deadline=None)
@given(size=st.integers(2, 6), seed=st.integers(0, 10_000))
def test_a_perturbed_puzzle_differs_in_one_word_and_has_one_solution_and_another_one(size, seed):
    original = knights.make_kk(random.Random(seed), size)
    changed = tasks.perturbed(original, random.Random(seed))
    if changed is not None:
        assert faults(original, changed) == []


def test_wrong_perturbed_puzzles_are_seen():
    original = next(p for p in puzzles(3, 100) if tasks.perturbed(p, random.Random(0)))
    names = original.facts["names"]
    same = replace(original, facts={**original.facts, "original": original.key})
    assert faults(original, same) == ["not one word", "the same solution", "a wrong key"]
    seen = set()
    for once in knights.flipped_puzzles(original.facts["statements"]):
        for statements in (once, *knights.flipped_puzzles(once)):
            for solution in (original.facts["knights"], (True, True, True)):
                made = knights.puzzle(names, statements, solution)
                facts = {**made.facts, "original": original.key}
                seen.update(faults(original, replace(made, facts=facts)))
    assert seen >= {"not one word", "not one solution", "the same solution", "a wrong answer"}


def test_none_where_no_flip_does_and_only_there():
    for size in (2, 3):
        found = 0
        for original in puzzles(size, 60):
            statements = original.facts["statements"]
            possible = set()
            for candidate in knights.flipped_puzzles(statements):
                solutions = knights.solutions_of(candidate)
                if len(solutions) == 1 and solutions[0] != original.facts["knights"]:
                    possible.add(f"kk {candidate}")
            drawn = [tasks.perturbed(original, random.Random(seed)) for seed in range(20)]
            keys = {changed.key for changed in drawn if changed is not None}
            assert keys <= possible
            assert drawn.count(None) == (0 if possible else 20)  # every flip is tried
            found += bool(possible)
        assert 0 < found < 60


def test_every_flip_is_tried_and_none_that_the_generator_could_not_draw():
    said = ("and", ("is", 0, True), ("is", 1, False))
    assert knights.flips(said) == [
        ("and", ("is", 0, False), ("is", 1, False)),
        ("and", ("is", 0, True), ("is", 1, True)),
    ]
    assert knights.flips(("not", ("is", 2, False))) == [("not", ("is", 2, True))]
    # Nobody says "I am a knave", not within a statement either.
    assert knights.flipped_puzzles((said, ("is", 0, True))) == [
        (("and", ("is", 0, True), ("is", 1, True)), ("is", 0, True)),
        (said, ("is", 0, False)),
    ]
    # No "Ben is a knave or Ben is a knave".
    assert not knights.can_be_said(("or", ("is", 1, False), ("is", 1, False)), 0)


def test_the_same_seed_gives_the_same_puzzle_and_another_one_others():
    drawn = {}
    for original in puzzles(6, 10):
        for seed in range(10):
            changed = tasks.perturbed(original, random.Random(seed))
            assert changed == tasks.perturbed(original, random.Random(seed))
            drawn.setdefault(original.key, set()).add(changed and changed.key)
    assert max(map(len, drawn.values())) > 1


# ---------------------------------------------------------------- the fence


@pytest.mark.parametrize("split", SPLITS)
def test_the_task_draws_puzzles_a_word_away_from_training_ones_each_on_its_own_side(split):
    found = tasks.make_problems("kk-perturbed:4", split, 0, 30)
    for problem in found:
        assert problem.task == "kk" and tasks.split_of(problem.key) == split
        assert tasks.split_of(problem.facts["original"]) == "train"
    assert {len(p.facts["names"]) for p in found} == {4}
    assert found == tasks.make_problems("kk-perturbed:4", split, 0, 30)


def test_pairs_are_training_puzzles_and_held_out_ones():
    originals, changed = problems.puzzles_and_perturbed("kk:3-4", 40, 1)
    assert len({p.key for p in originals}) == len({p.key for p in changed}) == 40
    for first, second in zip(originals, changed):
        assert faults(first, second) == []
        assert tasks.split_of(first.key) == "train" and tasks.split_of(second.key) == "held-out"
    assert problems.puzzles_and_perturbed("kk:3-4", 40, 1) == (originals, changed)
    with pytest.raises(UserError, match="only about"):
        problems.puzzles_and_perturbed("kk:2", 300, 1)


# ---------------------------------------------------------------- files


def write_pairs(folder, monkeypatch, n=30) -> tuple[str, str]:
    files = str(folder / "originals.jsonl"), str(folder / "perturbed.jsonl")
    argv = ["problems", "--task", "kk:3", "--n", str(n), "--out", files[0], "--perturbed", files[1]]
    monkeypatch.setattr("sys.argv", argv)
    problems.main()
    return files


def test_pairs_go_through_files_as_they_are(tmp_path, monkeypatch, capsys):
    files = write_pairs(tmp_path, monkeypatch)
    made = problems.puzzles_and_perturbed("kk:3", 30, 0)
    for path, wanted in zip(files, made):
        read = tasks.read_rows(path)
        assert read == wanted  # facts are not compared
        for problem, other in zip(read, wanted):
            assert problem.facts == json.loads(json.dumps(other.facts))
            assert tasks.check(other.answer, problem)[0]
            assert tasks.check(other.answer.replace("\n", ", "), problem)[0]  # as kk, not as text
    with pytest.raises(UserError, match="--eval-data"):
        tasks.read_jsonl(files[0])  # one side alone
    both = tmp_path / "both.jsonl"
    both.write_text("".join(open(path).read() for path in files))
    sides = tasks.read_jsonl(str(both))
    assert (sides["train"], sides["held-out"]) == made


def test_they_train_and_are_evaluated(tmp_path, tiny_folder, monkeypatch, capsys):
    originals, changed = write_pairs(tmp_path, monkeypatch)
    config = train.TrainConfig(
        model=tiny_folder, data=originals, eval_data=changed, eval_problems=0, device="cpu"
    )
    training, held_out, _ = train.find_problems(config)
    assert (training, held_out) == problems.puzzles_and_perturbed("kk:3", 30, 0)
    found = program.held_out("kk", 0, originals, split="all")
    assert found == training


@pytest.mark.parametrize("task", ["countdown:3", "kk:4", "arithmetic", "sums", "words"])
def test_a_file_of_any_task_keeps_its_problems(tmp_path, task, monkeypatch, capsys):
    file = tmp_path / "problems.jsonl"
    argv = ["problems", "--task", task, "--n", "20", "--split", "held-out", "--out", str(file)]
    monkeypatch.setattr("sys.argv", argv)
    problems.main()
    wanted = tasks.make_problems(task, "held-out", 0, 20)
    assert tasks.read_rows(str(file)) == wanted
    again = tmp_path / "again.jsonl"
    problems.write(str(again), tasks.read_rows(str(file)))
    assert again.read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    "field, value, says",
    [
        ("facts", {}, "without names"),
        ("facts", {"names": ["Ava"], "knights": [1]}, "who is a knight"),
        ("facts", [], "facts is [], not dict"),
        ("task", "chess", "no checker for task 'chess'"),
        ("key", 3, "key is 3, not str"),
    ],
)
def test_a_damaged_row_is_named(tmp_path, field, value, says):
    row = tasks.row_of(puzzles(3, 1)[0])
    row[field] = value
    file = tmp_path / "problems.jsonl"
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=re.escape(says)) as refusal:
        tasks.read_rows(str(file))
    assert "line 1" in str(refusal.value)


@pytest.mark.parametrize(
    "argv, says",
    [
        (["--task", "sums", "--perturbed", "p.jsonl"], "--task kk"),
        (["--task", "kk:3", "--perturbed", "p.jsonl", "--split", "held-out"], "--split"),
        (["--task", "kk:3", "--perturbed", "problems.jsonl"], "same file"),
        (["--task", "kk:2", "--perturbed", "p.jsonl", "--n", "300"], "lower --n"),
        (["--task", "kk:9"], "2 to 8"),
        (["--out", "nowhere/problems.jsonl"], "--out"),
        (["--n", "0"], "--n"),
    ],
)
def test_settings_that_cannot_be_are_refused(monkeypatch, capsys, tmp_path, argv, says):
    monkeypatch.chdir(tmp_path)
    assert says in refused(monkeypatch, capsys, problems, *argv)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- what was learned by heart


def answered(problem: tasks.Problem, answers: list[str]) -> Graded:
    """A problem with a response for each answer."""
    drawn = [Response(f"so </think> <answer>{answer}</answer>", 9, True) for answer in answers]
    return responses.grade(problem, drawn, "dr_grpo")


def test_the_score_is_accuracy_times_what_is_lost(tmp_path, monkeypatch, capsys):
    originals, changed = problems.puzzles_and_perturbed("kk:3", 10, 0)
    # 8 of 10 solved; of these 2 when perturbed, and one beside them.
    first = [answered(p, [p.answer if i < 8 else "?"]) for i, p in enumerate(originals)]
    second = [answered(p, [p.answer if i in (0, 3, 9) else "?"]) for i, p in enumerate(changed)]
    found = memorised.figures(first, list(reversed(second)))  # found by key, not by place
    assert found["pairs"] == 10
    assert found["accuracy"][0] == pytest.approx(0.8)
    assert found["accuracy_perturbed"][0] == pytest.approx(0.3)
    assert found["still_solved"] == pytest.approx(2 / 8)
    assert found["memorised"][0] == pytest.approx(0.8 * (1 - 2 / 8))
    # Through files and the command line.
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for file, groups in zip(files, (first, second)):
        responses.save(file, {"reward": "dr_grpo"}, {"kk": groups})
    out = tmp_path / "figures.json"
    monkeypatch.setattr("sys.argv", ["memorised", *map(str, files), "--json", str(out)])
    memorised.main()
    assert "memorisation score  0.600" in capsys.readouterr().out
    assert json.loads(out.read_text())["still_solved"] == pytest.approx(0.25)


def test_who_learned_by_heart_scores_high_and_who_reasons_scores_0():
    originals, changed = problems.puzzles_and_perturbed("kk:4", 12, 0)
    solved = [answered(p, [p.answer]) for p in originals]
    by_heart = [answered(p, [q.answer]) for p, q in zip(changed, originals)]
    reasoned = [answered(p, [p.answer]) for p in changed]
    assert memorised.figures(solved, by_heart)["memorised"][0] == 1.0
    assert memorised.figures(solved, by_heart)["old_answer"][0] == 1.0
    assert memorised.figures(solved, reasoned)["memorised"][0] == 0.0
    assert memorised.figures(solved, reasoned)["old_answer"][0] == 0.0
    nothing = [answered(p, ["?"]) for p in originals]
    assert memorised.figures(nothing, by_heart)["still_solved"] is None
    # Half of two responses: solved a half, still solved a half of that.
    half = [answered(p, [p.answer, "?"]) for p in originals]
    half_changed = [answered(p, [p.answer, "?"]) for p in changed]
    assert memorised.figures(half, half_changed)["memorised"][0] == pytest.approx(0.25)


def test_files_that_do_not_belong_together_are_refused(tmp_path, monkeypatch, capsys):
    file = tmp_path / "a.jsonl"
    groups = [answered(p, [p.answer]) for p in puzzles(3, 3)]
    responses.save(file, {"reward": "dr_grpo"}, {"kk": groups})
    assert "--perturbed" in refused(monkeypatch, capsys, memorised, file, file)
    assert "two files" in refused(monkeypatch, capsys, memorised, file)
    groups[0].problem.facts["original"] = ["no", "key"]
    responses.save(file, {"reward": "dr_grpo"}, {"kk": groups})
    assert "--perturbed" in refused(monkeypatch, capsys, memorised, file, file)
    responses.save(file, {"reward": "gold"}, {"kk": groups})
    assert "no reward 'gold'" in refused(monkeypatch, capsys, memorised, file, file)


def test_figures_do_not_take_the_place_of_responses(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    puzzle = puzzles(3, 1)[0]
    for name in ("a.jsonl", "b.jsonl"):
        responses.save(tmp_path / name, {}, {"a": [answered(puzzle, [puzzle.answer])]})
    kept = (tmp_path / "a.jsonl").read_bytes()
    for place, says in (("a.jsonl", "is read"), ("./b.jsonl", "is read"), ("no/x", "no such")):
        argv = ("a.jsonl", "b.jsonl", "--json", place)
        assert says in refused(monkeypatch, capsys, memorised, *argv)
    assert (tmp_path / "a.jsonl").read_bytes() == kept
