"""README and docs cannot lie: quoted lines stand in the code, examples run, tables are the code's."""

import re
import sys
import types
from pathlib import Path

import grading_cases
import pytest
import torch

import estimators
import model as lm
import reward
import sft
import tasks
from engine import memory
from speed import memory as tables
from speed import recipes as recipe_tables
from tasks import catalogue, traces

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = {path.name: path.read_text() for path in (ROOT / "docs").glob("*.md")}


def example(first_line: str) -> str:
    """The Python block of the README that starts with this line."""
    block = next(
        b for b in re.findall(r"```python\n(.*?)```", README, re.S) if b.startswith(first_line)
    )
    assert block.count("\n") < 15
    return block


def test_every_quoted_line_stands_in_its_file():
    quoted = re.findall(r"`([^`\n]{20,})`\s+\(([\w/]+\.py)\)", README)
    assert len(quoted) >= 10
    for line, file in quoted:
        assert line in (ROOT / file).read_text(), f"{file} has no line {line!r}"


def test_every_file_of_the_tree_is_listed_and_exists():
    listed = set(re.findall(r"^\| `([\w./]+?)/?` \|", README, re.M))
    assert {p.name for p in ROOT.glob("*.py")} <= listed
    assert all(
        (ROOT / name).exists() for name in listed if not name.startswith("--") and "." in name
    )


def test_the_own_task_example(monkeypatch):
    monkeypatch.setattr(catalogue, "GENERATORS", dict(catalogue.GENERATORS))
    exec(example("# tasks/catalogue.py"), catalogue.__dict__)
    problems = tasks.make_problems("sorting:3", "train", 0, 20)
    assert (
        reward.score(
            "dr_grpo", f"x</think> <answer>{problems[0].answer}</answer>", problems[0]
        ).total
        == 1
    )
    del catalogue.sorting


def test_the_own_reward_example(monkeypatch):
    monkeypatch.setattr(reward, "REWARDS", dict(reward.REWARDS))
    exec(example("# reward.py"), reward.__dict__)
    problem = tasks.make_problems("countdown", "train", 0, 1)[0]
    short, long = (
        reward.score(
            "brief", "x" * n + f"</think> <answer>{problem.answer}</answer>", problem
        ).total
        for n in (10, 400)
    )
    assert 1 > short > long > 0.5
    del reward.brief


def test_the_own_loss_example(monkeypatch):
    below, inside = example("# grpo.py").split("# grpo.py, in token_weights\n")
    source, anchor = (ROOT / "grpo.py").read_text(), '    assert normaliser == "sequence_sum"'
    source = source.replace("NORMALISERS = (", below.split("\n", 1)[1] + "NORMALISERS = (").replace(
        anchor, inside + anchor
    )
    module = types.ModuleType("own_loss")
    monkeypatch.setitem(sys.modules, "own_loss", module)  # dataclasses look their module up
    exec(source, module.__dict__)
    step = module.Denominators(rows=2, tokens=10, max_new_tokens=16)
    weights = module.token_weights(torch.tensor([4, 9]), 9, module.LOSSES["root"].normaliser, step)
    assert weights[0, 0] == pytest.approx(1 / 8 / 2) and weights[1, 8] == pytest.approx(1 / 12 / 2)


def test_the_mixture_table_is_the_code():
    for name, habit in traces.MIXTURE.items():
        row = next(line for line in PAGES["base.md"].splitlines() if line.startswith(f"| {name} |"))
        assert f"| {habit.share:.0%}".replace("%", " %") in row
    assert abs(sum(sft.TASK_SHARE.values()) - 1) < 1e-9
    for share in sft.TASK_SHARE.values():
        assert f"{share * 100:.0f} %" in PAGES["base.md"]


def test_the_memory_tables_are_the_command():
    settings = tables.MemoryConfig()
    assert tables.model_table(settings) in PAGES["memory.md"]
    assert tables.target_table() in PAGES["memory.md"]
    assert tables.recipe_table(settings) in PAGES["real-models.md"]


def test_the_tables_of_published_settings_are_the_command():
    assert recipe_tables.tables() in PAGES["recipes.md"]


def test_the_count_of_grading_cases():
    tables = (grading_cases.EQUAL, grading_cases.DIFFERENT)
    cases = sum(len(rows) for table in tables for rows in table.values()) + len(
        grading_cases.HOSTILE + grading_cases.TOLERANCE
    )
    assert f"runs {cases:,} cases" in PAGES["grader.md"]


def what_is_read_and_paid(response: str, style: str) -> str:
    """A cell of the table of answer styles: what is read, and what `dr_grpo` pays where 12 is right."""
    problem = tasks.Problem("math", "", "12", "")
    answer = reward.extract_answer(response, style)
    paid = reward.score("dr_grpo", response, problem, style=style).total
    read = "none" if answer is None else f"`{answer}`"
    return f"{read}, {paid:g}"


def test_the_table_of_answer_styles_is_the_code():
    _, _, table = PAGES["grader.md"].partition("| response |")
    head, _, *rows = table.partition("\n\n")[0].splitlines()
    styles = re.findall(r"`([\w-]+)`", head)
    assert styles == list(reward.STYLES) and len(rows) >= 10
    for row in rows:
        response, *cells = row.strip("| ").split(" | ")
        expected = [what_is_read_and_paid(response.strip("`"), style) for style in styles]
        assert cells == expected, row


# The tables of docs/rewards.md: our reward, the style in which it reads, and the problem.
REWARD_TABLES = {
    "tinyzero": (
        "tinyzero",
        "auto",
        tasks.Problem("countdown", "", "", "", {"numbers": (2, 3, 4), "target": 24}),
    ),
    "logic_rl": (
        "logic_rl",
        "auto",
        tasks.Problem("kk", "", "", "", {"names": ("Ava", "Ben"), "knights": (True, False)}),
    ),
    "dr_grpo, tags": ("dr_grpo", "answer-tag", tasks.Problem("math", "", "12", "")),
    "dr_grpo, boxes": ("dr_grpo", "boxed", tasks.Problem("math", "", "12", "")),
    "simplerl": ("simplerl", "boxed", tasks.Problem("math", "", "12", "")),
    "dr_grpo, last number": ("dr_grpo", "last-number", tasks.Problem("math", "", "12", "")),
}


def scored_responses(section: str):
    """(response, finished, theirs, ours, why they differ) of a table in docs/rewards.md."""
    for row in section.splitlines():
        if row.startswith("| `"):
            shown, theirs, ours, why = row[2:-1].split(" | ")
            response = shown.removesuffix(", cut off").strip("`").replace("\\n", "\n")
            yield response, not shown.endswith(", cut off"), float(theirs), float(ours), why


def test_the_tables_of_rewards_are_the_code():
    """Ours as it is now, theirs by the reward that pays as published, and each difference told."""
    _, *sections = PAGES["rewards.md"].split("\n## ")
    assert [section.partition("\n")[0] for section in sections] == list(REWARD_TABLES)
    count = 0
    for section, (name, style, problem) in zip(sections, REWARD_TABLES.values(), strict=True):
        rows = list(scored_responses(section))
        same = sum(theirs == ours for _, _, theirs, ours, _ in rows)
        assert f"The same in {same} of {len(rows)}." in section
        count += len(rows)
        for response, finished, theirs, ours, why in rows:
            assert reward.score(name, response, problem, finished, style).total == ours, response
            assert bool(why.strip()) == (theirs != ours), response
            if f"{name}-original" in reward.ORIGINALS:
                original = reward.score(f"{name}-original", response, problem, finished)
                assert original.total == theirs, response
    assert f"{count} responses" in PAGES["rewards.md"]


def test_the_size_of_the_base_is_computed_and_named():
    model = lm.load("base")[0]
    assert memory.parameters(model.config) == sum(p.numel() for p in model.parameters())
    assert f"{sum(p.numel() for p in model.parameters()):,}" in PAGES["base.md"]


def test_the_losses_of_the_readme_exist():
    for name in ("dapo", "gspo", "cispo", "rloo", "reinforce++", "rft", "maxrl", "r1"):
        assert f"`{name}`" in README and name in estimators.PRESETS


def test_the_readme_is_short_and_its_links_lead_somewhere():
    assert len(README.encode()) <= 12 * 1024
    pages = {"README.md": README, **{f"docs/{name}": text for name, text in PAGES.items()}}
    for page, text in pages.items():
        for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
            if not link.startswith("http"):
                assert ((ROOT / page).parent / link).exists(), f"{page} links to {link}"


def test_every_program_that_a_page_calls_exists():
    for text in (README, *PAGES.values()):
        for program in re.findall(r"^python (\w+\.py)", text, re.M):
            assert (ROOT / program).is_file(), program
