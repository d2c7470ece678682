"""What a response does on its way to the answer: behaviours counted by rule, and where the first right answer stands.

    reflection    the 15 keywords of the Dr. GRPO paper (arXiv 2503.20783); its second test, a language model, is left out
    verification, backtracking, subgoals, backward
                  the four of Cognitive Behaviors (2503.01307), which has a language model count them
    switches      thoughts that leave the one before for another idea (2501.18585)
    first_right   the end of the first right answer, for outcome efficiency (2412.21187)

A rule sees wording, not thought: what is done without being said is not counted, and what is said without being done
is. So the counts compare models and steps of training; they are no census of reasoning. The rules know English prose
and the shorthand of the embedded base, which writes its verdict behind a result ("4+16=20 no") and then tries again.

Every pattern is bounded and every scan goes once over the text, so the cost is linear in its length.
"""
import re

import grader
import reward
from tasks import Problem

KEYWORDS = ("recheck", "rethink", "reassess", "reevaluate", "re-evaluate", "reevaluation", "re-examine", "reexamine",
            "reconsider", "reanalyze", "double-check", "check again", "think again", "verify again", "go over the steps")
MOST_CANDIDATES = 50  # different answers that are graded in one response, from its start
LONGEST = 100  # characters of a stated answer, in a box or out of one

WE = r"\b(?:let me|let's|let us|(?:i|we)(?:'ll| should| need to| must| have to| can| could| will)?)"
VERDICT = r"(?:=[0-9]{1,3}|says (?:true|false))"  # what the embedded base judges: a result, or a person's statement
NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"

# Alternatives of one behaviour; each match is one occurrence. `\W{0,4}` lets bullets and bold marks stand in front.
RULES = {
    "reflection": KEYWORDS,  # anywhere, inside words too, as the paper's own count has it: "rechecking" is "recheck"
    "verification": (
        rf"{WE} (?:just |now |quickly |also )?(?:re-?|double[- ])?(?:check|verify|confirm)\b",
        # a thing is checked; without one, "check" may be a bank's and "verified" somebody else's
        r"\bcheck(?:ing)? (?:that|if|whether|this|it|our|my|the (?:answer|result|solution|calculation|work))\b",
        r"\b(?:to verify|verifying|verification)\b",
        # the answer goes back into the question; into another equation it goes on with the solution
        r"\b(?:plug|substitut)(?:e|ging|ing)? [^.\n]{0,40}\bback (?:in|into|to) (?:the )?"
        r"(?:original|given|question|problem)\b",
        # a result held against what was wanted
        rf"= ?{NUMBER}(?:,| \(|,? which is| is) ?(?:too|wrong|not (?:[0-9$]|the target|equal|right|correct|enough|what))",
        rf"{VERDICT} (?:yes|no)(?=\s|<|$)"),
    "backtracking": (
        rf"{WE} (?:go back|start over|start again|back-?track|try again|undo)\b",  # said of oneself, not of a traveller
        r"\bback-?tracking\b", r"\bdead end\b",
        r"\b(?:this|that|it) (?:does not|doesn't|did not|didn't|won't|will not|cannot|can't) (?:seem to )?(?:work|help)\b",
        r"\bwait\b[^.\n]{0,40}\b(?:wrong|mistake|error|incorrect|not (?:right|correct)|isn't (?:right|correct))\b",
        r"\bi (?:have )?made (?:a|an) (?:\w{1,15} )?(?:mistake|error)\b",
        rf"{VERDICT} no\s+(?=[a-z0-9])"),  # after the verdict comes another try, not the end of the thinking
    "subgoals": (
        r"^\W{0,4}step [0-9]{1,2}\b",
        # an announced piece of work: "then" alone orders events of the question as often as work on it
        r"\b(?:first|next|then|now),? (?:(?:we|i)(?:'ll| will| need to| have to| must| should| can)?|let's|let us|let me) "
        r"(?:find|compute|calculate|determine|solve|show|prove|express|simplify|work out)\b",
        r"\b(?:the|our|my) (?:first|next|second|last|final) (?:step|goal|subgoal|task) is to\b",
        r"\bbreak(?:ing)? (?:it|this|that|the (?:problem|question|task))(?: down| up)? (?:in|into)\b"),
    "backward": (
        r"\bwork(?:ing)? backwards?\b",
        r"\bstart(?:ing)? (?:from|with|at) the (?:target|goal|answer|end|desired|conclusion)\b",
        # from what is wanted to what it takes
        rf"\bto (?:get|reach|make|obtain) (?:the target|\$?{NUMBER}\$?)[^.\n]{{0,30}}\b(?:i|we)(?:'d| would)? need\b",
        r"\bit (?:suffices|is enough|is sufficient) to (?:show|prove|find)\b"),
    "switches": (
        # only where a sentence or line begins; "But wait, " and the like may come first
        r"(?:\n|[.!?:] )\W{0,4}(?:(?:but|wait|hmm|so|or|okay|well|maybe|perhaps),? ){0,2}(?:alternatively\b|another "
        r"(?:approach|way|method|idea|option|possibility)\b|(?:let me|let's|i could|i should|we could|we should) "
        r"(?:try|consider)\b|instead, )",),
}
PATTERNS = {name: re.compile("|".join(rules), re.IGNORECASE | re.MULTILINE) for name, rules in RULES.items()}

RUN = re.compile(r"[-0-9+*/() ×÷−]+")  # what a Countdown expression is made of
STATED = re.compile(rf"\banswer(?:\*\*)?(?: is|:| =)[:*\s]{{0,4}}([^\n]{{1,{LONGEST}}}?)(?=\.\s|</|\.?$)|"
                    rf"<answer>([^<]{{1,{LONGEST}}})</answer>", re.IGNORECASE | re.MULTILINE)
LAST = re.compile(r"= ?([^=\n]{1,100}?)(?: (?:yes|no))?(?=</think>|$)", re.MULTILINE)  # what a line comes to


def count(text: str, problem: Problem | None = None) -> dict[str, int]:
    """How often each behaviour occurs; a Countdown problem's target, written out as an expression, chains backward."""
    text = text.strip().removeprefix("<think>").strip()  # a first thought switches from nothing
    found = {name: sum(1 for _ in pattern.finditer(text)) for name, pattern in PATTERNS.items()}
    if problem is not None and problem.task == "countdown":
        found["backward"] += len(re.findall(rf"^\W{{0,4}}{problem.facts['target']} ?= ?[(0-9]", text, re.MULTILINE))
    return found


def candidates(text: str, problem: Problem) -> list[tuple[int, str]]:
    """(end, answer) of what stands in `text` as an answer, in order: at most MOST_CANDIDATES different ones.

    Countdown: whole expressions over the given numbers. Else boxes, "answer is X", the answer block, and what a line
    comes to ("= X"), which may be an intermediate value that happens to be right.
    """
    found = []
    if problem.task == "countdown":
        given = sorted(problem.facts["numbers"])
        for run in RUN.finditer(text):
            expression = run[0].strip(" +*/−-")
            if len(expression) <= LONGEST and sorted(map(int, re.findall(r"[0-9]+", expression))) == given:
                found.append((run.end(), expression))
    else:
        starts = [box.start() for box in re.finditer(r"\\(?:boxed|fbox) ?\{", text)] + [len(text)]
        for start, after in zip(starts, starts[1:]):
            if answer := grader.last_boxed(text[start:min(after, start + 3 * LONGEST)]):
                found.append((text.index(answer, start) + len(answer) + 1, answer))
        for pattern in (STATED, LAST):
            found += [(match.end(match.lastindex), match[match.lastindex]) for match in pattern.finditer(text)]
    different = {}
    for end, answer in sorted(found):
        answer = answer.strip(" $*.,").removesuffix("\\)").removesuffix("\\]").removeprefix("\\(").removeprefix("\\[")
        different.setdefault(answer.strip(), end)
    return [(end, answer) for answer, end in different.items()][:MOST_CANDIDATES]


def first_right(text: str, problem: Problem) -> int:
    """Characters up to the end of the first right answer of a right response; all of them where no rule finds one."""
    return next((end for end, answer in candidates(text, problem) if reward.check(answer, problem)[0]), len(text))
