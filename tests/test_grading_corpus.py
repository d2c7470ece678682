"""The grader against the corpus of grading_cases.py, which was written without sight of it, and others.

Its last test prints one table: for each corpus what is right, falsely accepted and falsely refused, and the slowest case.
Labelled files that only lie beside the project take part where they are, in the folder ONEZERO_DATA.
"""

import gzip
import json
import signal
import time

import pytest
from conftest import DATA_FOLDER
from grading_cases import DIFFERENT, EQUAL, HOSTILE, TOLERANCE, distinct_pairs
from grading_forms import FORMS, ONE_WAY_FORMS
from grading_kinds import KINDS, ONE_WAY_KINDS
from grading_sample import SAMPLE

from grader import grade_answer, lexer, parser

DATA = DATA_FOLDER
ONE_WAY = {
    "boxed",
    "think and answer tags",
    "sentences",
    "hedges",
    "choices",
    "words",
}  # a gold is not written like these
VALUES = [topic for topic in EQUAL if topic not in ONE_WAY]
BOTH_WAYS = {**KINDS, **FORMS}
ALL_KINDS = {**BOTH_WAYS, **ONE_WAY_KINDS, **ONE_WAY_FORMS}


def grade(*case):
    """The grade, or the error in words, so that one crash does not hide the other cases."""
    try:
        return grade_answer(*case)
    except Exception as error:
        return f"raised {error!r:.100}"


def wrong(cases, expected):
    """A line for each (prediction, gold[, tolerance]) whose grade is not the expected one."""
    grades = [(case, grade(*case)) for case in cases]
    return [
        f"{case[0][:160]!r} against {case[1][:80]!r}{f' within {case[2]}' if case[2:] else ''}: {got}"
        for case, got in grades
        if got is not expected
    ]


def nothing(failures):
    assert not failures, f"{len(failures)} graded wrongly:\n  " + "\n  ".join(failures)


def swapped(pairs):
    return [(gold, prediction) for prediction, gold in pairs]


@pytest.mark.parametrize("topic", EQUAL)
def test_equal_answers_are_right(topic):
    nothing(wrong(EQUAL[topic], True))


@pytest.mark.parametrize("topic", [topic for topic in VALUES if topic != "bases"])
def test_equal_answers_are_right_the_other_way_round(topic):
    # 40_9 for a gold of 40 is another number
    nothing(wrong(swapped(EQUAL[topic]), True))


@pytest.mark.parametrize("topic", DIFFERENT)
def test_near_misses_are_wrong(topic):
    nothing(wrong(DIFFERENT[topic], False))


@pytest.mark.parametrize("topic", [topic for topic in DIFFERENT if topic not in ONE_WAY])
def test_near_misses_are_wrong_the_other_way_round(topic):
    # 58,500 for a gold of two numbers is how a list looks without spaces
    nothing(wrong([pair for pair in swapped(DIFFERENT[topic]) if pair[0] != "58,500"], False))


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_kind_that_was_mended(kind):
    same, different = ALL_KINDS[kind]
    assert len(same) >= 4 and len(different) >= 4
    nothing(wrong(same, True) + wrong(different, False))
    if kind in BOTH_WAYS:
        nothing(wrong(swapped(same), True) + wrong(swapped(different), False))


def in_responses(pairs):
    """The pairs with each prediction in a whole response of two kinds in turn; not those with `$` or `\\(` of their own."""
    forms = (
        r"So the answer is $\boxed{{{}}}$.",
        r"<think>Is it \boxed{{1234321}}?</think> <answer>{}</answer>",
    )
    plain = [(p, g) for p, g in pairs if not any(mark in p for mark in ("$", r"\(", r"\["))]
    return [(forms[i % 2].format(p), g) for i, (p, g) in enumerate(plain)]


@pytest.mark.parametrize("topic", VALUES)
def test_equal_answers_are_right_in_a_whole_response(topic):
    nothing(wrong(in_responses(EQUAL[topic]), True))


@pytest.mark.parametrize("topic", [topic for topic in DIFFERENT if topic not in ONE_WAY])
def test_near_misses_are_wrong_in_a_whole_response(topic):
    nothing(wrong(in_responses(DIFFERENT[topic]), False))


@pytest.mark.parametrize("topic", EQUAL)
def test_an_answer_that_only_the_thinking_holds_earns_nothing(topic):
    nothing(
        wrong([(f"<think>{p}</think>", g) for p, g in EQUAL[topic] if "</think>" not in p], False)
    )


@pytest.mark.parametrize("right", [True, False])
def test_a_stated_error_is_an_absolute_one(right):
    nothing(wrong([case[:3] for case in TOLERANCE if case[3] is right], right))


class Hangs(BaseException):
    """Not an Exception, so that no handler of the grader takes it for one of its own."""


def stop(*_):
    raise Hangs


def timed(prediction, gold):
    """(prediction, gold, grade, seconds), in this process's own seconds: a busy machine does not count."""
    start = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, 3.0)  # six times what a case may take
    try:
        return prediction, gold, grade(prediction, gold), time.process_time() - start
    except Hangs:
        return prediction, gold, "stopped after 3 s", 3.0
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)


@pytest.fixture(scope="module")
def hostile():
    """Each hostile case, graded once: a second time might come from a cache."""
    before = signal.signal(signal.SIGPROF, stop)
    yield [timed(*case) for case in HOSTILE]
    signal.signal(signal.SIGPROF, before)


def test_hostile_answers_earn_nothing(hostile):
    nothing(
        [
            f"{p[:80]!r} ({len(p)} characters) against {g!r}: {got}"
            for p, g, got, _ in hostile
            if got is not False
        ]
    )


def test_no_hostile_answer_takes_half_a_second(hostile):
    nothing(
        [
            f"{p[:80]!r} ({len(p)} characters) against {g!r}: {s:.2f} s"
            for p, g, _, s in hostile
            if s > 0.5
        ]
    )


def test_every_gold_of_the_corpus_is_its_own_answer():
    golds = {gold for side in (EQUAL, DIFFERENT) for pairs in side.values() for _, gold in pairs}
    nothing(wrong([(gold, gold) for gold in sorted(golds)], True))


# ---------------------------------------------------------------- real golds and real solutions


def rows(name):
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is missing: the real golds are not tested")
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def last_box(text):
    """The content of the last box with matched braces, or None."""
    start, depth = text.rfind(r"\boxed{") + len(r"\boxed{"), 1
    for end in range(start, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if depth == 0 and start >= len(r"\boxed{"):
            return text[start:end]
    return None


@pytest.mark.parametrize(
    "name", ["math500.jsonl", "math_train.jsonl", "gsm8k_test.jsonl", "aime24.jsonl", "amc23.jsonl"]
)
def test_every_real_gold_is_its_own_answer(name):
    golds = sorted({str(row["answer"]).split("#### ")[-1].strip() for row in rows(name)} - {""})
    nothing(wrong([(gold, gold) for gold in golds], True))
    nothing(wrong([(rf"\boxed{{{gold}}}", gold) for gold in golds], True))


def test_every_gold_of_olympiadbench_is_its_own_answer_with_and_without_dollars():
    golds = sorted({row["final_answer"][0] for row in rows("olympiadbench.jsonl")})
    nothing(wrong([(gold, gold) for gold in golds], True))
    nothing(
        wrong(
            [(rf"\boxed{{{gold.strip('$')}}}", gold) for gold in golds if "$" not in gold[1:-1]],
            True,
        )
    )


@pytest.mark.parametrize(
    "name", ["math500.jsonl", "minerva_math.jsonl", "aime24.jsonl", "gsm8k_test.jsonl"]
)
def test_every_reference_solution_is_a_right_response(name):
    pairs = []
    for row in rows(name):
        solution = row.get("solution", row.get("answer"))
        gold = (
            solution.split("#### ")[-1]
            if name.startswith("gsm8k")
            else row.get("answer", last_box(solution))
        )
        if (
            name.startswith("gsm8k") or last_box(solution) is not None
        ):  # one solution of AIME has no box
            pairs.append((solution, gold))
    nothing(wrong(pairs, True))


def test_the_corpus_is_large_and_says_each_thing_once():
    pairs = [[pair for topic in side.values() for pair in topic] for side in (EQUAL, DIFFERENT)] + [
        HOSTILE
    ]
    equal, different, hostile = map(len, pairs)
    assert (
        equal + different >= 900
        and 0.8 < equal / different < 1.25
        and hostile >= 120
        and len(TOLERANCE) >= 40
    )
    assert all(len(set(side)) == len(side) for side in pairs)
    assert not set(pairs[0]) & (set(pairs[1]) | set(swapped(pairs[1])) | set(HOSTILE))


def test_the_pairs_for_timing_are_distinct_and_graded_as_marked():
    pairs = distinct_pairs()
    assert len(pairs) == len({pair[:2] for pair in pairs}) == 4000
    for right in (True, False):
        nothing(
            wrong([pair[:2] for pair in pairs[::21] if pair[2] is right], right)
        )  # 21: every kind comes up


# ---------------------------------------------------------------- one table of every corpus


# File: the most false acceptances, the most false refusals, the least share that is right.
GOALS = {
    "grading-1-dev.jsonl": (0.001, 0.04, 0.985),
    "grading-2-dev.jsonl": (0.01, 0.1, 0.95),
    "hostile-dev.jsonl.gz": (0.0, 0.0, 1.0),
}


def own_corpora():
    """Name to (prediction, gold, error, right) of the project's own corpora."""
    kinds = []
    for same, different in ALL_KINDS.values():
        kinds += [(*pair, 0.0, True) for pair in same]
        kinds += [(*pair, 0.0, False) for pair in different]
    cases = [(*pair, 0.0, True) for topic in EQUAL.values() for pair in topic]
    cases += [(*pair, 0.0, False) for topic in DIFFERENT.values() for pair in topic]
    return {
        "cases": cases,
        "second sample": [(said, gold, 0.0, right) for said, gold, right, _ in SAMPLE],
        "stated errors": TOLERANCE,
        "kinds": kinds,
        "hostile": [(*pair, 0.0, False) for pair in HOSTILE],
    }


def labelled_file(name):
    """The (prediction, gold, error, right) of a labelled file; rows whose label is a matter of policy are left out."""
    opened = gzip.open if name.endswith(".gz") else open
    with opened(DATA / name, "rt", encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    counted = [row for row in found if not row.get("policy")]
    return [
        (row["prediction"], row["gold"], 0.0, row.get("equal", row.get("expected")))
        for row in counted
    ]


def measured(cases):
    """(cases, false acceptances, false refusals, wrong pairs, equal pairs, seconds of the slowest)."""
    accepted, refused, slowest = 0, 0, 0.0
    for said, gold, error, right in cases:
        parser.parse_names.cache_clear()
        lexer.clean.cache_clear()
        start = time.process_time()
        got = grade(said, gold, error)
        slowest = max(slowest, time.process_time() - start)
        accepted += got is True and not right
        refused += got is not True and right
    equal = sum(right for *_, right in cases)
    return len(cases), accepted, refused, len(cases) - equal, equal, slowest


@pytest.fixture(scope="module")
def table():
    """Name to what `measured` says of every corpus that is there."""
    corpora = own_corpora()
    for name in GOALS:
        if (DATA / name).exists():
            corpora[name] = labelled_file(name)
    return {name: measured(cases) for name, cases in corpora.items()}


@pytest.mark.parametrize("name", GOALS)
def test_the_labelled_files_are_graded_as_well_as_was_aimed_at(name, table):
    if name not in table:
        pytest.skip(f"{DATA / name} is missing: this labelled set is not graded")
    count, accepted, refused, different, equal, _ = table[name]
    most_accepted, most_refused, least_right = GOALS[name]
    assert accepted <= most_accepted * different
    assert refused <= most_refused * equal
    assert count - accepted - refused >= least_right * count


def test_one_table_of_every_corpus(table, capsys):
    with capsys.disabled():
        print(f"\n{'corpus':22}{'cases':>7}{'right':>10}{'FP':>10}{'FN':>10}{'slowest us':>12}")
        for name, (count, accepted, refused, different, equal, slowest) in table.items():
            right = f"{100 * (count - accepted - refused) / count:.2f} %"
            columns = (
                f"{count:>7}{right:>10}{f'{accepted}/{different}':>10}{f'{refused}/{equal}':>10}"
            )
            print(f"{name:22}{columns}{1e6 * slowest:>12.0f}")
        for name in set(GOALS) - set(table):
            print(f"{name:22} is not in {DATA}")
    for name in own_corpora():
        assert table[name][1] == 0, name
