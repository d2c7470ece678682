r"""What people write behind an answer, and in place of one.

A qualifier (`for all x`, `k \in \mathbb{Z}`, `\pmod 7`, `0 \le t \le 8`) is taken off the end of an
answer and kept beside it. Some answers are words by nature: no solution, the integers, odd n,
several choices.
"""

import re
from dataclasses import dataclass, field

from grader.lexer import TEXT, Unfit, clean

# ---------------------------------------------------------------- qualifiers

# A text without any of these has no qualifier.
MAY_QUALIFY = re.compile(
    r"forall|∀|mod|constant|integer|\\in\b|∈|[<>≤≥≠]|\\(?:[lg]eq?|[lg]t|neq?|[lg]eqslant)\b"
    r"|\b(?:for|where|with|when)\b"
)
LONGEST_QUALIFIED = 400  # characters
MOST_QUALIFIERS = 3  # of one answer
MOST_PLACES = 6  # at which one may begin
LEADS = "for|where|with|when"
QUANTIFIERS = "all|any|every|each|some|real|arbitrary|the|and|values of|an?(?= [a-z]{4})"
KINDS = {
    "integer": "Z",
    "integers": "Z",
    "positive integer": "N",
    "positive integers": "N",
    "nonnegative integer": "N",
    "nonnegative integers": "N",
    "natural": "N",
    "natural number": "N",
    "natural numbers": "N",
    "constant": "",
    "constants": "",
    "number": "",
    "numbers": "",
    "real number": "",
    "real numbers": "",
    "real": "",
    "reals": "",
    "real constant": "",
    "real constants": "",
}  # what a letter is said to be: Z and N make it whole, "" says nothing
SPOKEN = rf"(?:{LEADS}|{QUANTIFIERS}|{'|'.join(KINDS)}|is|are|mod|modulo|\b[A-Za-z]\b)"
SPOKEN_TEXT = re.compile(r"\\(?:" + TEXT + r") ?\{([ ,.]*(?:" + SPOKEN + r"[ ,.]*){1,9})\}")
# Where a qualifier may begin: a comma, a word, the last bracket
BEGINNING = re.compile(rf"[,;]|\b(?:{LEADS})\b|\\forall\b|\((?=[^()]*\) ?\Z)")
LEAD = re.compile(rf"(?:[,;(] ?|(?:{LEADS}|{QUANTIFIERS})\b ?|\\forall ?)+")
LETTER = r"[A-Za-z](?:_\{?\w\}?)?"
LETTERS = rf"{LETTER}(?: ?, ?{LETTER}){{0,3}}"
KIND = "|".join(sorted(KINDS, key=len, reverse=True))
BARE = re.compile(rf"(?P<letters>{LETTERS})")
SAID = re.compile(
    rf"(?P<letters>{LETTERS})(?: is| are)?(?: (?:{QUANTIFIERS}))* (?P<kind>{KIND})"
    rf"|(?P<kind_first>{KIND}) (?P<letters_last>{LETTERS})"
)
MEMBER = re.compile(
    rf"(?P<letters>{LETTERS}) ?\\in ?(?:\\(?:mathbb|mathbf|bf) ?)?\{{? ?(?P<set>[ZNRC]) ?\}}?"
    r" ?(?P<sign>[\^_] ?\{? ?(?:[+*]|> ?0|\\ge ?0) ?\}?)?"
)
FIRST_QUANTIFIER = re.compile(
    rf"\A(?:\\forall|for (?:all|any|every)(?: real)?) ?{LETTERS}"
    r"(?: ?\\in ?\\mathbb ?\{?R\}?)? ?[,:] ?(?=.)"
)
RELATION = re.compile(r"[^,;=]{1,60}(?:[<>]|\\[lg]e\b|\\ne\b)[^,;=]{1,80}")
MODULUS = re.compile(
    r" ?\(? ?\\?[pb]?mod(?:ulo)?(?![a-z]) ?\{? ?(?P<modulus>\w{1,12}|\([^()]{1,20}\)) ?\}? ?\)?\Z"
)
DEFINED = re.compile(r"\s*([A-Za-z]\w?)(?:\(([a-z])\))? ?(?:=|\\equiv)")
COUNTERS = "klmn"  # letters that may be whole without a word about it
LONE = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")


@dataclass
class Qualified:
    """An answer and what its qualifiers say."""

    text: str
    whole: dict[str, str] = field(default_factory=dict)  # letter: Z or N, the set it is from
    domains: list[str] = field(default_factory=list)  # relations that must hold
    modulus: str | None = None


def qualified(text: str) -> Qualified:
    """An answer taken apart: itself, and the qualifiers behind it."""
    if len(text) > LONGEST_QUALIFIED or not MAY_QUALIFY.search(text):
        return Qualified(text)
    try:
        spelled = clean(text, thousands=False)
    except Unfit:
        return Qualified(text)
    spelled = " ".join(SPOKEN_TEXT.sub(r" \1 ", spelled).split())
    found = Qualified(without_first_quantifier(spelled))
    taken = found.text != spelled
    for _ in range(MOST_QUALIFIERS):
        if not take_last_qualifier(found):
            break
        taken = True
    if not taken:
        return Qualified(text)
    return found


def without_first_quantifier(text: str) -> str:
    """The text without a `for all x` before it; over less than the real numbers it stays."""
    return FIRST_QUANTIFIER.sub("", text)


def take_last_qualifier(found: Qualified) -> bool:
    """Take one qualifier off the end of an answer and note what it says; False if there is none."""
    modulus = MODULUS.search(found.text)
    if modulus and modulus.start() and found.modulus is None:
        found.modulus = modulus["modulus"]
        found.text = found.text[: modulus.start()]
        return True
    places = list(BEGINNING.finditer(found.text))[-MOST_PLACES:]
    for place in reversed(places):
        main = found.text[: place.start()].rstrip(" ,;")
        if is_balanced(main) and note_qualifier(found, main, found.text[place.start() :]):
            found.text = main
            return True
    return False


def is_balanced(text: str) -> bool:
    """Whether a text is something, and has as many opening as closing brackets of each sort."""
    if text.count("{") != text.count("}") or text.count("\\begin") != text.count("\\end"):
        return False
    opening = text.count("(") + text.count("[")
    return bool(text) and opening == text.count(")") + text.count("]")


def note_qualifier(found: Qualified, main: str, tail: str) -> bool:
    """Note what a tail says of the letters in `main`; False if it is no qualifier."""
    lead = LEAD.match(tail)
    said = tail[lead.end() :].strip(" .")
    if tail.startswith("("):
        said = said.removesuffix(")").strip()
    member = MEMBER.fullmatch(said)
    if member:
        note_letters(found, member["letters"], set_of_letters(member))
        return True
    kind = SAID.fullmatch(said)
    if kind:
        letters = kind["letters"] or kind["letters_last"]
        note_letters(found, letters, KINDS[kind["kind"] or kind["kind_first"]])
        return True
    if BARE.fullmatch(said):  # for all x
        return bool(re.search("all|any|every|each|constant", lead[0]))
    if RELATION.fullmatch(said) and limits(main, said, lead[0]):
        found.domains.append(said)
        return True
    return False


def set_of_letters(member: re.Match) -> str:
    """Z or N where letters are whole, "" where they are real or complex."""
    if member["set"] == "Z" and member["sign"]:
        return "N"
    if member["set"] in "ZN":
        return member["set"]
    return ""


def note_letters(found: Qualified, letters: str, kind: str) -> None:
    """Note that letters are whole numbers."""
    if kind:
        for letter in re.split(" ?, ?", letters):
            found.whole[letter] = kind


def limits(main: str, relation: str, lead: str) -> bool:
    """Whether a relation behind an answer limits its letters, and is no answer beside it.

    In `x = 2, x > 5` and `x > 1, x < 3` it is one.
    """
    if re.search(r"[<>]|\\[lgn]e\b", main):
        return False
    about = set(LONE.findall(relation))
    defined = DEFINED.match(main)
    if defined:
        return defined[1] not in about
    if lead[0] in ",;" and "\\ne" not in relation:
        return False
    return bool(about & set(LONE.findall(main)))


def limits_only_argument(asked: Qualified) -> bool:
    """Whether the domains of C(t) = 80t + 50, 0 <= t <= 8 are about its t alone."""
    defined = DEFINED.match(asked.text)
    if defined is None or defined[2] is None:
        return False
    return all(LONE.findall(domain) == [defined[2]] for domain in asked.domains)


def with_letters_of(said: Qualified, asked: Qualified) -> Qualified:
    """What was said with the whole letters renamed to those of the gold: n\\pi to k\\pi."""
    mine = set(LONE.findall(said.text))
    theirs = set(LONE.findall(asked.text))
    if not said.whole and not asked.whole:
        return said
    old = [letter for letter in said.whole or COUNTERS if letter in mine - theirs]
    new = [letter for letter in asked.whole or COUNTERS if letter in theirs - mine]
    if len(old) != len(new):
        return said
    names = dict(zip(old, new))
    text = LONE.sub(lambda letter: names.get(letter[0], letter[0]), said.text)
    whole = {names.get(letter, letter): kind for letter, kind in said.whole.items()}
    return Qualified(text, whole, said.domains, said.modulus)


def same_sets(said: Qualified, asked: Qualified) -> bool:
    """Whether no letter is from one set here and from another one there."""
    return all(asked.whole.get(letter, kind) == kind for letter, kind in said.whole.items())


# ---------------------------------------------------------------- answers in words

NO_SOLUTION = re.compile(
    r"no(?: (?:real|integer|such))? (?:solution|root|value|number|integer)s?(?: exists?)?"
    r"|none|(?:the )?(?:empty|null) set"
)
NO_ELEMENTS = (r"\emptyset", r"\varnothing", r"\{\}", "{}")
SETS = {
    "integer": "Z",
    "whole number": "N",
    "natural number": "N",
    "natural": "N",
    "rational": "Q",
    "rational number": "Q",
    "real": "R",
    "real number": "R",
    "complex number": "C",
}
SIGNS = {
    "+": ">0",
    ">0": ">0",
    r"\ge0": r"\ge0",
    "-": "<0",
    "<0": "<0",
    r"\le0": r"\le0",
    "positive": ">0",
    "negative": "<0",
    "nonnegative": r"\ge0",
    "non negative": r"\ge0",
}
SET_SYMBOL = re.compile(
    r"(?:[a-z]\\in)?\\(?:mathbb|mathbf|bf)\{?([ZNQRC])\}?(?:[\^_]\{?([-+]|[<>]0|\\[lg]e 0)\}?)?"
)
SET_IN_WORDS = re.compile(
    r"(?:set of )?(?:all )?(?:(positive|negative|non ?negative) )?("
    + "|".join(SETS)
    + ")s?(?: [a-z])?"
)
NUMBERS_IN_WORDS = set("odd even prime composite positive negative".split())
PARITY_FILLERS = set(
    """
    must be all any every for is are an a the integer integers number numbers if when where
    """.split()
)
LIST_OF_CHOICES = re.compile(r"\(?[A-H]\)?(?:,? ?(?:and|&)? ?\(?[A-H]\)?){1,7}")
CIRCLED = re.compile(r"(?:,|and)*((?:\\textcircled\{\d+\}(?:,|and)*){1,9})")


def same_phrase(said: str, asked: str) -> bool:
    """Whether two texts in words are one, or say the same."""
    return said == asked or same_saying(said, asked)


def same_saying(said: str, asked: str) -> bool:
    """Whether two answers in words, as `literal` spells them, say the same."""
    for reading in (named_set, circled_numbers):
        meaning = reading(said)
        if meaning and meaning == reading(asked):
            return True
    return says_nothing_solves(said, asked) or same_kind_of_numbers(said, asked)


def says_nothing_solves(said: str, asked: str) -> bool:
    """Whether both say that there is no solution, one of them by a sign for the empty set."""
    if said in NO_ELEMENTS:
        return asked in NO_ELEMENTS or bool(NO_SOLUTION.fullmatch(asked))
    return asked in NO_ELEMENTS and bool(NO_SOLUTION.fullmatch(said))


def named_set(text: str) -> str:
    """A set of numbers under one name, as Z or Z>0; "" of any other text."""
    symbol = SET_SYMBOL.fullmatch(text)
    if symbol:
        return symbol[1] + SIGNS.get((symbol[2] or "").replace(" ", ""), "")
    words = SET_IN_WORDS.fullmatch(text)
    if words:
        return SETS[words[2]] + SIGNS.get(words[1], "")
    return ""


def same_kind_of_numbers(said: str, asked: str) -> bool:
    """Whether two texts say one thing of n, as `n is odd` and `odd n`; a gold may leave n out."""
    letters, kinds = kind_of_numbers(said)
    letters_asked, kinds_asked = kind_of_numbers(asked)
    if not kinds or kinds != kinds_asked:
        return False
    return letters == letters_asked or not letters_asked


def kind_of_numbers(text: str) -> tuple[list, list]:
    """([n], [odd]) of `n is odd`, `odd n`, `all odd integers n`; empty lists of any other text."""
    words = text.lower().split()
    letters = [word for word in words if len(word) == 1 and word != "a"]
    kinds = [word for word in words if word in NUMBERS_IN_WORDS]
    rest = set(words) - set(letters) - set(kinds) - PARITY_FILLERS
    if len(letters) > 1 or rest:
        return [], []
    return letters, sorted(kinds)


def circled_numbers(text: str) -> frozenset:
    """The numbers of circled choices; none of any other text."""
    if not CIRCLED.fullmatch(text.replace(" ", "")):
        return frozenset()
    return frozenset(re.findall(r"\d+", text))


def same_choices(said: str, asked: str) -> bool:
    """Whether several choices are the same, apart or in one word: `A, C, D` is `ACD`.

    In one word the letters go up, else it is a product or a name.
    """
    chosen = choices_of(said)
    return len(chosen) > 1 and chosen == choices_of(asked)


def choices_of(text: str) -> set[str]:
    """The letters of several choices; none of any other text, nor of letters that are no list."""
    text = re.sub(r"\b(?:options?|choices?|answers?) ", "", text, flags=re.I)
    letters = re.findall("[A-H]", text)
    if not LIST_OF_CHOICES.fullmatch(text) or len(set(letters)) < len(letters):
        return set()
    if text == "".join(letters) != "".join(sorted(letters)):
        return set()
    return set(letters)
