"""Names of units: one name for each spelling, and which words behind a number are no unit at all."""
import re

# one name: its spellings. Plurals in -s and -es are found by themselves.
SPELLINGS = {
    "mm": "millimeter millimetre", "cm": "centimeter centimetre", "m": "meter metre", "km": "kilometer kilometre",
    "nm": "nanometer nanometre", "in": "inch inches", "ft": "foot feet", "yd": "yard", "mi": "mile", "mg": "milligram",
    "g": "gram gramme gm", "kg": "kilogram kilo", "lb": "pound lbs", "oz": "ounce", "s": "second sec", "ms": "millisecond",
    "min": "minute", "h": "hour hr", "day": "", "week": "", "month": "", "year": "yr", "ml": "milliliter millilitre",
    "l": "liter litre", "gal": "gallon", "cent": "¢", "$": "dollar usd buck", "€": "euro", "£": "", "mph": "mi/h",
    "km/h": "kph kmph kmh", "hz": "hertz", "khz": "kilohertz", "n": "newton", "j": "joule", "kj": "kilojoule", "w": "watt",
    "kw": "kilowatt", "k": "kelvin", "pa": "pascal", "v": "volt", "mol": "mole", "ev": "electronvolt", "rad": "radian",
    "°c": "celsius", "°f": "fahrenheit", "person": "people"}
NAMES = {spelling: name for name, spellings in SPELLINGS.items() for spelling in (name, *spellings.split())}
# Abbreviations that are units also outside \text{}; single letters and cd, pm, am, ... are more often products there.
PLAIN_UNITS = set("mm cm km ft yd mi mg kg gm lb lbs oz sec min hr hrs mL ml mph kph Hz kHz usd USD sq eV kW kJ mol rad".split())
CARDINALS = {word: str(n) for n, word in enumerate(
    "zero one two three four five six seven eight nine ten eleven twelve".split())}
NUMBER_WORDS = {"dozen": 12, "hundred": 100, "thousand": 10 ** 3, "million": 10 ** 6, "billion": 10 ** 9,
                "trillion": 10 ** 12}
# Words that change what the number before them says, or that hedge: behind them nothing counts as a unit.
NO_UNIT = set("""
    is are was were be not no nor or and to than then maybe perhaps possibly probably likely about approximately
    around nearly roughly almost wrong incorrect false true correct plus minus times more less fewer if either
    neither between from through until half halves third thirds quarter quarters fourth fourths fifth fifths
    sixth sixths seventh eighth eighths ninth tenth tenths hundredth hundredths answer because since where when
    unless except but however instead could might may can cannot should would otherwise alternatively any all
    every some none both factorial squared cubed mod modulo base power root over by divided multiplied equals
    equal greater smaller point lakh crore mil bn tens score gross thousandths twelfths sqrt inverse pairs pair
    fails rejected doesn't don't isn't anything least most never unlike unequal wait""".split())
DROPPED = {"unit", "units", "square unit", "square units", "sq units", "cubic units", "unit^2", "units^2", "unit^3",
           "units^3"}


def unit_name(words: str) -> tuple[int, str | None]:
    """(factor, one name of the unit) of the words behind a value; "" where they say nothing, None where they are no unit.

    `million cubic meters` is (10**6, "m^3"); `km per hour` is (1, "km/h").
    """
    words, factor = " ".join(words.replace("~", " ").split()), 1
    first, _, rest = words.partition(" ")
    while first.lower().rstrip("s") in NUMBER_WORDS or first.lower() in NUMBER_WORDS:
        factor, words = factor * NUMBER_WORDS[first.lower().rstrip("s")], rest
        first, _, rest = words.partition(" ")
    if len(words) > 60:
        return factor, None
    if words.lower() in DROPPED or not words:
        return factor, ""
    words = re.sub(r"\s*(?:/|\bper\b)\s*", "/", words)
    words = re.sub(r"\b(?:square|sq\.?)\s+(\S+)", r"\1^2", words, flags=re.I)
    words = re.sub(r"\bcubic\s+(\S+)", r"\1^3", words, flags=re.I)
    words = re.sub(r"(\S+)\s+squared\b", r"\1^2", re.sub(r"(\S+)\s+cubed\b", r"\1^3", words, flags=re.I), flags=re.I)
    words = re.sub(r"\s*\^\s*(?:\{\s*)?([-0-9]+)(?:\s*\})?", r"^\1", words)
    if words.lower() in DROPPED:
        return factor, ""
    parts = re.split(r"([/ ])", words)
    if len(parts) > 7 or any(part.lower() in NO_UNIT for part in parts):
        return factor, None
    named = "".join(one_name(part) for part in parts)
    return factor, NAMES.get(named, named) if re.fullmatch(r"[^\W_][\w^$€£°¢./ '-]*|[$€£°¢]", named) else None


def one_name(word: str) -> str:
    """The name of a single unit word, its power kept."""
    word, power, exponent = word.strip(".,").partition("^")
    low = word.lower()
    for form in (low, low.removesuffix("s"), low.removesuffix("es")):
        if form in NAMES:
            return NAMES[form] + power + exponent
    return low.removesuffix("s") + power + exponent
