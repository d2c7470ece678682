r"""Mathematical text to tokens: styling goes, each symbol gets one spelling, then tokens are cut.

LaTeX and plain typing may mix (`\sqrt{2}`, `sqrt(2)`, `√2`). Runs of letters become words, units or
single variables. The names of units stand here too: one name for each spelling, and which words
behind a number are no unit at all.
"""

import functools
import re
import unicodedata

MOST_CHARACTERS = 4000  # of a text once its symbols are spelled out


class Unfit(ValueError):
    """The text is no answer that this grammar knows."""


# ---------------------------------------------------------------- numbers in words

CARDINAL_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()
CARDINALS = {word: str(n) for n, word in enumerate(CARDINAL_WORDS)}
NUMBER_WORDS = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}


# ---------------------------------------------------------------- one spelling for each symbol

# LaTeX: the characters that mean it. A plain $ only says "mathematics", so it is a space.
SIGNS = {
    "*": "∗",
    "/": "÷∕⁄",
    "-": "−–—‐‑",
    "'": "′’",
    "''": "″",
    "|": "∣",
    " ": "\u00a0\u2009\u202f`$~",
    "": "\u200b\ufeff",
    ",": "，",
    "(": "（",
    ")": "）",
    ":": "：",
    ";": "；",
    ".": "。",
    "%": "％",
    r"\sqrt ": "√",
    r"\sqrt[3]": "∛",
    r"\pi ": "π",
    r"\infty ": "∞",
    r"\times ": "×",
    r"\cdot ": "·⋅∙",
    r"\pm ": "±",
    r"\mp ": "∓",
    r"\le ": "≤⩽",
    r"\ge ": "≥⩾",
    r"\ne ": "≠",
    r"\approx ": "≈",
    r"\cup ": "∪",
    r"\cap ": "∩",
    r"\in ": "∈",
    r"\emptyset ": "∅",
    r"\degree ": "°º",
    r"\lfloor ": "⌊",
    r"\rfloor ": "⌋",
    r"\lceil ": "⌈",
    r"\rceil ": "⌉",
    r"\langle ": "⟨",
    r"\rangle ": "⟩",
    r"\mathbb{R}": "ℝ",
    r"\mathbb{Z}": "ℤ",
    r"\mathbb{N}": "ℕ",
    r"\mathbb{Q}": "ℚ",
    r"\forall ": "∀",
    r"\equiv ": "≡",
    r"\ell ": "ℓ",
    r"\setminus ": "∖",
    r"\implies ": "⇒",
    r"\text{ cents}": "¢",
    r"\pounds ": "£",
    r"\euro ": "€",
    r"\yen ": "¥",
    r"\text{ or }": "或",
    r"\text{ and }": "和与及且",
    ", ": "、",
}
# Words in Chinese that are units or connectives, longer ones first
CHINESE = {
    "或者": "或",
    "以及": "和",
    "平方厘米": r"\text{ cm}^2",
    "平方米": r"\text{ m}^2",
    "厘米": r"\text{ cm}",
    "千米": r"\text{ km}",
    "千克": r"\text{ kg}",
    "小时": r"\text{ h}",
    "分钟": r"\text{ min}",
    "度": r"\degree ",
    "米": r"\text{ m}",
    "元": r"\text{ yuan}",
    "岁": r"\text{ years}",
    "天": r"\text{ days}",
    "人": r"\text{ people}",
    "个": r"\text{ units}",
}


def latex_by_character() -> dict[str, str]:
    """SIGNS the other way round: what stands for each character."""
    found = {}
    for latex, characters in SIGNS.items():
        for character in characters:
            found[character] = latex
    return found


UNICODE = str.maketrans(latex_by_character())
SMALL_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ₀₁₂₃₄₅₆₇₈₉", "0123456789+-n0123456789")
GREEK = """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho
    sigma tau upsilon phi chi psi omega""".split()
TEXT = (
    r"text|textbf|textit|textrm|textnormal|textsf|texttt|mathrm|mathsf|mathit|mbox|hbox|rm"
    r"|operatorname\*?|emph"
)
TEXT_ALONE = r"\{\s*\\(?:" + TEXT + r")\{([^{}]*)\}\s*\}"  # a group that holds nothing but words
END = r"(?![A-Za-z])"  # of a command's name
# (pattern, what takes its place), applied in this order
REPLACEMENTS = [
    (r"\\\$", r"\\dollar "),
    # a thousands separator, written as one
    (r",\s*\\!\s*(?=\d{3}(?!\d))|\{,\}\s*(?:\\!)?\s*(?=\d{3}(?!\d))", ""),
    (r"\{,\}", "."),
    (r"\\!", ""),
    (r"\\[,;: ]", " "),
    # what only concerns looks
    (r"\\(?:left|right|middle|[bB]igg?[lrm]?)" + END + r"\s*\.?", ""),
    (r"\\(?:hspace|vspace|phantom|hphantom|label|(?:text)?color)\*?\{[^{}]*\}", " "),
    (r"\\(begin|end)\{(?:aligned|align|equation|gather|gathered|split)\*?\}", " "),
    (
        r"\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|quad|qquad|thinspace|enspace"
        r"|hfill|break|bf|it|rm|boldmath|noindent|nonumber|phantom"
        r"|tiny|small|large|Large|LARGE|huge|Huge)" + END,
        " ",
    ),
    # one name for each thing
    (r"\{\s*(\\(?:cdot|times))\s*\}|(?<![A-Za-z])\{\s*([-=+,])\s*\}", r"\1\2 "),
    (r"\\ell" + END, "l "),
    (r"\.\s*(?=\\end)", " "),
    (r"\\Bbb" + END, r"\\mathbb"),
    (r"\\(?:[dtc]frac|nicefrac|sfrac)" + END, r"\\frac"),
    (r"(?<![\\A-Za-z])[dt]?frac(?=\s*\{)", r"\\frac"),
    (r"\\[dt]binom" + END, r"\\binom"),
    (r"\\(?:geq(?:slant)?|ge)" + END + "|>=", r"\\ge "),
    (r"\\gt" + END, ">"),
    (r"\\(?:leq(?:slant)?|le)" + END + "|<=", r"\\le "),
    (r"\\lt" + END, "<"),
    (r"\\(?:neq|not\s*=)|!=", r"\\ne "),
    (r"\\frac\s*" + TEXT_ALONE + r"\s*" + TEXT_ALONE, r"\\text{ \1/\2}"),
    (r"\^\s*(?:\{\s*(?:\\circ|\\degree|o)\s*\}|(?:\\circ|\\degree)" + END + ")", r"\\degree "),
    (r"(?<=\d)\s*\^\s*\{\s*((?:\\prime\s*){1,2})\}", lambda found: "'" * found[1].count("p")),
    (
        r"\\degree\s*(?:\\(?:text|mathrm)\s*\{\s*([CF])\s*\}|([CF])(?![A-Za-z_^(]))",
        r"\\text{ °\1\2}",
    ),
    (r"\A\s*<([^<>=]*,[^<>=]*)>\s*\Z", r"\\langle \1\\rangle "),
    # the index before the power, a minus before a minus as a plus
    (r"([A-Za-z])\s*\^\s*(\d|\{\d{1,4}\})\s*_\s*(\w|\{\w{1,9}\})", r"\1_\3^\2"),
    (r"-\s+-\s*(?=[\d({\\A-Za-z])", "+ "),
    (r"(?<=,)\s*\.\.\.\s*(?=,|\\\}|\}|$)", r"\\ldots "),
    # a brace before an array makes its rows cases
    (
        r"\\\{\s*\\begin\s*\{array\}\s*(?:\{[lcr| ]*\})?((?:[^\\]|\\(?!end|\})){0,800}\\end)"
        r"\s*\{array\}(?!\s*\\\})",
        r"\\begin{cases}\1{cases}",
    ),
    # words in brackets behind a number
    (r"(?<=\d) ?\(((?:[a-z]{4,}|[cmk]m|kg)(?: [a-z]+){0,4})\) ?\Z", r"\\text{ \1}"),
    (r"\{\s*(\\overline\{\d+\})\s*\}", r"\1"),
    (r"(?<![A-Za-z\\{])([A-F][0-9A-F]*\d[0-9A-F]*)_\{?(1[1-6])\}?", r"\\text{\1}_{\2}"),
    (r"\\%", "%"),
    (r"\\([()\[\]])", " "),
    (r"\\_", "_"),
    (r"\\&", "&"),
    (r"\\#", " "),
    # as people type
    (r"(?:\\mathrm\{C\}|(?<![A-Za-z\\])C)\s*_\{?(\d+)\}?\s*\^\{?(\d+)\}?", r"\\binom{\1}{\2}"),
    (r"(?<=\d) +(?:in )?base +(\d+)", r"_{\1}"),
    (r"(?<=\d)\s+to\s+(?=\d)", ":"),
    (r"(?<=[)\]}])\s*U\s*(?=[(\[{\\])", r"\\cup "),
    (r"\*\*", "^"),
    (r"(?<=\d)\s*[xX]\s*(?=10\s*\^)", r"\\times "),
    (r"\b(?:np|math|numpy|sympy)\.", ""),
]
HAN = re.compile("[一-鿿]")
# [3] as in a root, or an interval; ]a,b[ is (a,b): an end whose bracket is turned away is open
IN_BRACKETS = re.compile(
    r"\[[^\[\],;]*\]|([\[\]])( ?[^\[\](),; ][^\[\](),;]{0,80}[,;][^\[\](),;]{1,80})([\[\]])"
)
STYLING = [(re.compile(pattern), new) for pattern, new in REPLACEMENTS]
THOUSANDS = re.compile(
    r"(?<![\d,.])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])"
    r"|(?<![\d.,/^] )(?<![\d.,/^])[1-9]\d{0,2}(?: \d{3})+(?! ?[\d/,^]| ?\\frac)"
)


@functools.lru_cache(maxsize=1024)  # one answer is cleaned for several readings
def clean(text: str, thousands: bool = True) -> str:
    """Take styling away and spell each symbol in one way; Unfit beyond MOST_CHARACTERS.

    thousands: whether separators of thousands outside brackets are dropped, 1,234 read as 1234.
    """
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", superscript, text)
    text = re.sub("[₀-₉]+", subscript, text)
    text = re.sub("[！-～]", half_width, text)
    text = re.sub("[¼½¾⅐-⅞]", written_out_fraction, text)
    text = re.sub("[①-⑳]", circled, text)
    if HAN.search(text):
        for word, latex in CHINESE.items():
            text = text.replace(word, latex)
    text = text.replace(r"\$", r"\dollar ").translate(UNICODE)
    if len(text) > MOST_CHARACTERS:
        raise Unfit("too long")
    text = re.sub("[Α-Ωα-ωϕϵ]", greek, text)
    text = re.sub(r"\\\\\s*\[-?[0-9.]+\s*[a-z]{2}\]", r"\\\\", text)  # the height of a matrix row
    if "\\begin" in text:
        text = text.replace("\\\\", "\\newrow ")
    else:
        text = text.replace("\\\\", "\\")  # outside matrices somebody escaped twice
    if thousands:
        text = re.sub(r"(?<=\d),\s*\\[,;: ]\s*(?=\d{3}(?!\d))", "", text)
    for pattern, new in STYLING:
        text = pattern.sub(new, text)
    text = IN_BRACKETS.sub(interval_in_round_brackets, text)
    text = unpunctuated(text)
    if "..." in text:
        raise Unfit("an ellipsis")
    if thousands:
        return joined_thousands(text)
    return text


def interval_in_round_brackets(found: re.Match) -> str:
    """An interval like ]1, 2[ with round brackets for those that are turned away."""
    if found[1] is None:
        return found[0]
    opening = found[1].replace("]", "(")
    return opening + found[2] + found[3].replace("[", ")")


def superscript(found: re.Match) -> str:
    """Raised digits as a power: one digit as ^2, several as ^{12}."""
    digits = found[0].translate(SMALL_DIGITS)
    if len(digits) == 1:
        return "^" + digits
    return "^{" + digits + "}"


def subscript(found: re.Match) -> str:
    """Lowered digits as an index _{12}."""
    return "_{" + found[0].translate(SMALL_DIGITS) + "}"


def circled(found: re.Match) -> str:
    """The one character ② as \\textcircled{2}."""
    return rf"\textcircled{{{int(unicodedata.numeric(found[0]))}}}"


def half_width(found: re.Match) -> str:
    """The ordinary form of a full-width character."""
    return chr(ord(found[0]) - 0xFEE0)


def written_out_fraction(found: re.Match) -> str:
    """The one character ½ as \\frac{1}{2}."""
    top, bottom = unicodedata.normalize("NFKC", found[0]).split("⁄")
    return rf"\frac{{{top}}}{{{bottom}}}"


def greek(found: re.Match) -> str:
    """A Greek letter as its command."""
    # The names are "greek small letter pi" and "greek phi symbol".
    *_, before, last = unicodedata.name(found[0]).lower().split()
    if last == "symbol":
        return f"\\{before} "
    return f"\\{last} "


def joined_thousands(text: str) -> str:
    """The text with 1,234 as 1234; in brackets a comma always separates."""
    for found in reversed(list(THOUSANDS.finditer(text))):
        before = text[: found.start()]
        if "," in found[0] and opens_a_bracket(before):
            continue
        text = before + re.sub("[, ]", "", found[0]) + text[found.end() :]
    return text


def opens_a_bracket(text: str) -> bool:
    """Whether a bracket is open at the end of a text, or a set \\{ began in it."""
    if text.count("(") > text.count(")") or text.count("[") > text.count("]"):
        return True
    return "\\{" in text


def unpunctuated(text: str) -> str:
    """The text without the full stop or comma at its end.

    An ellipsis says that more follows, and stays.
    """
    text = text.strip()
    if text.endswith(".."):
        return text
    return text.rstrip(".,;:").strip()


# ---------------------------------------------------------------- names of units

# One name: its spellings. Plurals in -s and -es are found by themselves.
SPELLINGS = {
    "mm": "millimeter millimetre",
    "cm": "centimeter centimetre",
    "m": "meter metre",
    "km": "kilometer kilometre",
    "nm": "nanometer nanometre",
    "in": "inch inches",
    "ft": "foot feet",
    "yd": "yard",
    "mi": "mile",
    "mg": "milligram",
    "g": "gram gramme gm",
    "kg": "kilogram kilo",
    "lb": "pound lbs",
    "oz": "ounce",
    "s": "second sec",
    "ms": "millisecond",
    "min": "minute",
    "h": "hour hr",
    "day": "",
    "week": "",
    "month": "",
    "year": "yr",
    "ml": "milliliter millilitre",
    "l": "liter litre",
    "gal": "gallon",
    "cent": "¢",
    "$": "dollar usd buck",
    "€": "euro",
    "£": "",
    "mph": "mi/h",
    "km/h": "kph kmph kmh",
    "hz": "hertz",
    "khz": "kilohertz",
    "n": "newton",
    "j": "joule",
    "kj": "kilojoule",
    "w": "watt",
    "kw": "kilowatt",
    "k": "kelvin",
    "pa": "pascal",
    "v": "volt",
    "mol": "mole",
    "ev": "electronvolt",
    "rad": "radian",
    "°c": "celsius",
    "°f": "fahrenheit",
    "person": "people",
}


def unit_by_spelling() -> dict[str, str]:
    """SPELLINGS the other way round: the one name of each spelling, of the name itself too."""
    found = {}
    for name, spellings in SPELLINGS.items():
        found[name] = name
        for spelling in spellings.split():
            found[spelling] = name
    return found


UNIT_NAMES = unit_by_spelling()
# Abbreviations that are units also outside \text{}; single letters and cd, pm, am, ... are more
# often products there.
PLAIN_UNITS = set(
    """
    mm cm km ft yd mi mg kg gm lb lbs oz sec min hr hrs mL ml mph kph Hz kHz usd USD sq eV kW kJ
    mol rad
    """.split()
)
# Words that change what the number before them says, or that hedge: behind them nothing counts as
# a unit.
NO_UNIT = set(
    """
    is are was were be not no nor or and to than then maybe perhaps possibly probably likely
    about approximately around nearly roughly almost wrong incorrect false true correct plus
    minus times more less fewer if either neither between from through until half halves third
    thirds quarter quarters fourth fourths fifth fifths sixth sixths seventh eighth eighths
    ninth tenth tenths hundredth hundredths answer because since where when unless except but
    however instead could might may can cannot should would otherwise alternatively any all
    every some none both factorial squared cubed mod modulo base power root over by divided
    multiplied equals equal greater smaller point lakh crore mil bn tens score gross thousandths
    twelfths sqrt inverse pairs pair fails rejected doesn't don't isn't anything least most
    never unlike unequal wait extraneous invalid impossible guess guessed approx estimate estimated
    assumed unsure uncertain
    """.split()
)
# Words that make another number of the one before them: these are no units either, but may stand in
# a name, as in `the negative root`.
CHANGES = set(
    """
    negative reciprocal opposite complement conjugate below under above beyond double doubled twice
    triple tripled thrice quadrupled halved cube repeating recurring repeated remainder out short
    lakhs crores thousandth millionth hundreds mille couple
    """.split()
) | set(CARDINALS)
THOUSANDS_AS_LETTERS = ("k", "B")  # 5 k, 5 B: in small letters k is no kelvin
DROPPED = {
    "unit",
    "units",
    "square unit",
    "square units",
    "sq units",
    "cubic units",
    "unit^2",
    "units^2",
    "unit^3",
    "units^3",
}
LONGEST_UNIT = 60  # characters
MOST_UNIT_PARTS = 7  # words and the signs between them


def unit_name(words: str) -> tuple[int, str | None]:
    """The (factor, name of the unit) of the words behind a value.

    The name is "" where the words say nothing, None where they are no unit.
    `million cubic meters` is (10**6, "m^3"); `km per hour` is (1, "km/h").
    """
    words = re.sub(r"\A\s*\(([^()]*)\)\s*\Z", r"\1", words.replace("~", " "))
    factor, words = number_word_factor(" ".join(words.split()))
    if len(words) > LONGEST_UNIT:
        return factor, None
    if words.lower() in DROPPED or not words:
        return factor, ""
    words = with_signs(words)
    if words.lower() in DROPPED:
        return factor, ""
    parts = re.split(r"([/ ])", words)
    if len(parts) > MOST_UNIT_PARTS or any(map(is_no_unit, parts)):
        return factor, None
    name = "".join(one_unit_name(part) for part in parts)
    if not re.fullmatch(r"°?[^\W_][\w^$€£°¢./ '-]*|[$€£°¢]", name):
        return factor, None
    return factor, UNIT_NAMES.get(name, name)


def is_no_unit(word: str) -> bool:
    """Whether a word behind a number changes what it says, or hedges."""
    low = word.lower()
    if low in NO_UNIT or low in CHANGES or word in THOUSANDS_AS_LETTERS:
        return True
    return low.removesuffix("s") in NUMBER_WORDS


def number_word_factor(words: str) -> tuple[int, str]:
    """The product of the number words that a text begins with, and the text behind them."""
    factor = 1
    while True:
        first, _, rest = words.partition(" ")
        singular = first.lower().rstrip("s")
        if singular not in NUMBER_WORDS:
            return factor, words
        factor *= NUMBER_WORDS[singular]
        words = rest


def with_signs(words: str) -> str:
    """Words between units as signs: per as /, square and cubic as powers."""
    words = re.sub(r"\s*(?:/|\bper\b)\s*", "/", words)
    words = re.sub(r"\bdegrees?\s+(?=celsius|fahrenheit)", "", words, flags=re.I)
    words = re.sub(r"(?<=[A-Za-z])\s*(?:[-·*]|\bcdot\b)\s*(?=[A-Za-z])", " ", words)  # N-m
    words = re.sub(r"\bNm\b", "N m", words)
    words = re.sub(r"\b(?:square|sq\.?)\s+(\S+)", r"\1^2", words, flags=re.I)
    words = re.sub(r"\bcubic\s+(\S+)", r"\1^3", words, flags=re.I)
    words = re.sub(r"(\S+)\s+cubed\b", r"\1^3", words, flags=re.I)
    words = re.sub(r"(\S+)\s+squared\b", r"\1^2", words, flags=re.I)
    return re.sub(r"\s*\^\s*(?:\{\s*)?([-0-9]+)(?:\s*\})?", r"^\1", words)


def one_unit_name(word: str) -> str:
    """The name of a single unit word, its power kept."""
    word, power, exponent = word.strip(".,").partition("^")
    low = word.lower()
    for form in (low, low.removesuffix("s"), low.removesuffix("es")):
        if form in UNIT_NAMES:
            return UNIT_NAMES[form] + power + exponent
    return low.removesuffix("s") + power + exponent


# ---------------------------------------------------------------- tokens

TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|\\(?:" + TEXT + r")\s*\{(?P<text>(?:[^{}]|\{[^{}]*\})*)\}"
    r"|\\begin\s*\{(?P<begin>[a-z]+\*?)\}|\\end\s*\{(?P<end>[a-z]+\*?)\}"
    r"|(?P<num>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+(?![0-9A-Za-z.]))?)"
    r"|\\(?P<cmd>[A-Za-z]+|[{}|])"
    r"|(?P<id>[A-Za-z]+)"
    r"|(?P<sym>[-+*/^_=<>(){}\[\],;:!%'|&])"
)
SAME_COMMAND = {
    "cdotp": "cdot",
    "ast": "cdot",
    "div": "/",
    "lvert": "|",
    "rvert": "|",
    "vert": "|",
    "mid": "|",
    "lbrace": "{set",
    "{": "{set",
    "rbrace": "}set",
    "}": "}set",
    "land": "and",
    "lor": "or",
    "colon": ":",
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "tg": "tan",
    "ctg": "cot",
    "arctg": "arctan",
    "cosec": "csc",
    "lbrack": "[",
    "rbrack": "]",
    "lparen": "(",
    "rparen": ")",
    "varnothing": "emptyset",
    "backslash": "setminus",
    "degrees": "degree",
    "deg": "degree",
    "infinity": "infty",
    "inf": "infty",
    "oo": "infty",
    "Infinity": "infty",
    "union": "cup",
    "bigcup": "cup",
    "bigcap": "cap",
    "thickapprox": "approx",
    "simeq": "approx",
    "varphi": "phi",
    "varepsilon": "epsilon",
    "percent": "%",
    "dots": "ldots",
    "cdots": "ldots",
    "dotsc": "ldots",
    "hdots": "ldots",
}
FUNCTIONS = set(
    """
    sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp cis abs floor ceil
    cbrt gcd lcm max min
    """.split()
)
# Words that are commands also without a backslash
WORD_COMMANDS = set(
    """
    sqrt asin acos atan infty infinity inf oo Infinity or and cup union times percent degree degrees
    deg binom in
    """.split()
)
PLAIN_WORDS = FUNCTIONS | set(GREEK) | WORD_COMMANDS
# Words of two or three letters that are no products of variables
SHORT_WORDS = set(
    """
    is we by get so no yes not the odd sum all any nan non and but for try one two six ten
    """.split()
)
# The relation that a command or sign means. None: known, and no part of an answer that can be
# compared.
OPERATORS = {
    "=": "=",
    "<": "<",
    ">": ">",
    "le": "<=",
    "ge": ">=",
    "ne": "!=",
    "approx": "~",
    "in": "in",
    "to": None,
    "equiv": "=",
    "implies": None,
    "sim": None,
}
UNKNOWN = set(
    """
    sum prod int iint oint lim limsup liminf pmod bmod mod forall exists therefore because
    Rightarrow rightarrow iff hline newline href url input include def
    newcommand write read parallel perp nabla partial vmatrix not neg lnot tag
    """.split()
)
DECORATION = set(
    """
    mathbf boldsymbol vec hat bar overline tilde dot ddot mathcal mathbb mathfrak bm pmb
    overrightarrow widehat widetilde underline ensuremath mathscr
    """.split()
)
DOLLARS = {
    "dollar": "$",
    "mathdollar": "$",
    "textdollar": "$",
    "pounds": "£",
    "euro": "€",
    "yen": "¥",
}
PERCENT = ("%", "percent", "per cent", "pct", "percentage")
STARTS_OF_RUNS = ("sqrt", "arcsin", "arccos", "arctan", "sin", "cos", "tan", "ln", "log", "pi")


def tokenize(text: str) -> list[tuple[str, str]]:
    """Cut a cleaned text into (kind, value) pairs; Unfit at a character that is in no answer.

    Kinds: num, id (one letter), text (a word), cmd (a command or known word without its backslash),
    sym, begin, end.
    """
    found = []
    at = 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            raise Unfit(f"cannot read {text[at]!r}")
        kind = match.lastgroup
        value = match[kind]
        at = match.end()
        if kind == "id":
            previous = found[-1] if found else None
            found += letter_tokens(value, previous)
        elif kind == "text":
            found += text_tokens(value)
        elif kind == "cmd":
            found.append(command_token(value))
        elif kind != "space":
            found.append((kind, value))
    return found


def command_token(name: str) -> tuple[str, str]:
    """A command under its one name, as a sign where it is one; Unfit if no answer has it."""
    name = SAME_COMMAND.get(name, name)
    if name in UNKNOWN:
        raise Unfit(f"\\{name}")
    if name in "/|()[]:%":
        return ("sym", name)
    return ("cmd", name)


def letter_tokens(run: str, previous: tuple | None) -> list[tuple[str, str]]:
    """Cut a run of plain letters into tokens, as far as possible into what is known.

    It is a known word, a unit after a number, a product of variables, or else a word.
    """
    low = run.lower()
    if previous and (previous[0] in ("num", "text") or previous[1] in (")", "}")):
        if run in PLAIN_UNITS or run == "in":
            return [("text", run)]
    if previous and previous[0] == "num" and low in PERCENT:
        return [("sym", "%")]
    if low in ("or", "and"):
        return [("cmd", low)]
    if run in PLAIN_WORDS:
        return [("cmd", SAME_COMMAND.get(run, run))]
    for word in STARTS_OF_RUNS:
        if run.startswith(word) and len(run) - len(word) == 1:  # sinx, pir
            return [("cmd", word), ("id", run[len(word) :])]
    if run.endswith("pi") and len(run) == 3:
        return [("id", run[0]), ("cmd", "pi")]
    if low in CARDINALS:
        return [("num", CARDINALS[low])]
    if len(run) <= 3 and low not in NUMBER_WORDS and low not in SHORT_WORDS:
        return [("id", letter) for letter in run]
    return [("text", run)]


def text_tokens(value: str) -> list[tuple[str, str]]:
    """What stands in \\text{}: words, a connective, a function's name, a sign, or mathematics."""
    if not value.strip():
        return []
    bare = value.strip(" .,:;")
    low = bare.lower()
    name = SAME_COMMAND.get(bare, bare)
    if low in ("or", "and"):
        return [("cmd", low)]
    if name in FUNCTIONS and name != "min":  # min is a minute
        return [("cmd", name)]
    if bare in ("i", "e", "d"):
        return [("id", bare)]
    if bare in PERCENT:
        return [("sym", "%")]
    if bare == "to":
        return [("sym", ":")]
    if low == "infinity":
        return [("cmd", "infty")]
    if bare in ("degree", "degrees"):
        return [("cmd", "degree")]
    if low in CARDINALS:
        return [("num", CARDINALS[low])]
    digits_in_a_base = re.fullmatch(r"[0-9A-Z]*[A-Z][0-9A-Z]*", bare)
    mathematics = re.search(r"\\[a-z]|\d", value) and "^" not in value  # m^2 is a unit
    if mathematics and not digits_in_a_base:
        return tokenize(value)
    parts = re.split(r"([,;]|\b(?:and|or)\b)", value)
    return [part_token(part) for part in parts if part.strip()]


def part_token(part: str) -> tuple[str, str]:
    """A part of \\text{} as a token: a separator, a connective, or words."""
    if part in (",", ";"):
        return ("sym", part)
    if part in ("and", "or"):
        return ("cmd", part)
    return ("text", part)
