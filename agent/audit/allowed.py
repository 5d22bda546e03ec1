"""Numerals that are no results: dates, versions, numbers of sections, citations', counts, and settings of the runs."""

import re

from agent.audit.evidence import Evidence
from agent.audit.mentions import Numeral, Sentence

_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?"
    r"|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
_LABELS = (
    r"Sections?|Secs?|Eqs?|Equations?|Figs?|Figures?|Tables?|Tabs?|Appendix|Appendices|Chapters?|Pages?|pp?|Lines?|Steps?"
    r"|Algorithms?|Theorems?|Lemmas?|Listings?|Footnotes?|Items?|Versions?|Attempts?|Phases?|Parts?|No|Runs?|Experiments?"
)
_NUMBERS = r"[A-Z]?\.?\d+(?:\.\d+)*(?:\s*(?:,|and|or|to|–|-)\s*[A-Z]?\.?\d+(?:\.\d+)*)*"

# Whole stretches of a sentence whose numbers are names of things.
_NAMES = re.compile(
    "|".join(
        (
            r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?",
            rf"\b\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {_MONTH}\b(?:,? \d{{4}})?",
            rf"\b{_MONTH}\.? \d{{1,2}}(?:st|nd|rd|th)?(?:,? \d{{4}})?\b",
            rf"\b{_MONTH}\.? \d{{4}}\b",
            r"\b\d{1,2}:\d\d(?::\d\d)?\b(?: ?UTC| ?[ap]m)?",
            r"\barXiv[: ]*\d{4}\.\d{4,5}(?:v\d+)?",
            r"\bdoi[: ]*\S+",
            r"\bv?\d+\.\d+\.\d+[\w.+-]*",
            r"\b[A-Za-z][\w.-]*==\d[\w.+-]*",
            r"\b(?:[Vv]ersions?|release|Python|PyTorch|torch|NumPy|numpy|SciPy|CUDA|cuDNN|SAELens|SAEBench|TransformerLens"
            r"|Linux|Debian|Ubuntu|CC BY(?:-SA)?|Apache|GPL)[ -]v?\d+(?:\.\d+)*",
            r"\b(?:Gemma|Llama|GPT|Pythia|Qwen|SmolLM|Claude|Mistral|Phi)[ -]?\d[\w.]*(?:[ -]\d+(?:\.\d+)?[MB])?",
            rf"(?:\b(?:{_LABELS})\.?|§)\s*\(?{_NUMBERS}\)?",
            r"\((?:eq\. )?\d\)(?=[,.;]|$)",
            r"^\s*\d+(?:\.\d+)*[.)]?\s(?=[A-Z])",
            r"(?<=[(\[ ,;])(?:19|20)\d\d[a-z]?(?=[)\],;])",
            r"\b(?:in|since|from|until|of|by|before|after|during) (?:19|20)\d\d(?!\d|,\d|\.\d)(?! (?:steps"
            r"|tokens|latents|activations))\b",
            r"[+-]\d+(?: -\d+)? lines",
            r"\b\d+(?:\.\d+)?[MB] (?:parameters|params|model)\b",
            r"\b\d+(?:\.\d+)? ?(?:GB|GiB|MB|MiB|KB|cores?|CPUs?|GPUs?|threads?|GHz)\b",
            r"\b(?:4|8|16|32|64)[ -]?bits?\b",
            r"\bexit code \d+",
            r"\b\d+(?:-| )(?:pages?|minutes?|hours?|days?)\b",
            r"\bseed[- ]?\d\b",
        )
    ),
    re.IGNORECASE,
)

_SETTING_WORDS = {
    "d_sae": r"dictionar|latents|width|wide|d_+sae|features",
    "k": r"(?<![\w-])k(?![\w-])|active|largest|latents|TopK|pre-?activations",
    "tokens": r"token|in all",
    "steps": r"steps",
    "batch_size": r"batch|steps of|per step|at a time",
    "warmup_fraction": r"warm(?:s|ed|ing)?[- ]?up",
    "decay_fraction": r"decay",
    "lr": r"(?:learning )?rate|(?<!\w)lr(?!\w)",
    "seeds": r"seed",
    "seed": r"seed",
    "layer": r"layer",
    "context": r"context|long",
    "interval": r"interval|confidence|level",
    "tolerance": r"tolerance|more than|within|differ|at most",
    "run_seconds": r"limit|at most|stopped",
    "max_runs": r"runs",
    "max_words": r"words",
}
_COUNTED = re.compile(r"\s*(?:\w+ )?(?P<what>runs|seeds|baselines|attempts|replies|edits|evaluations|figures)\b", re.I)


def is_allowed(numeral: Numeral, sentence: Sentence, evidence: Evidence) -> bool:
    """Tell whether a numeral need not be a result.

    Args:
        numeral: The numeral.
        sentence: Where it stands.
        evidence: The campaign, for its settings and counts.

    Returns:
        True for dates, years, versions, labels, hardware, and for settings that the sentence speaks of.
    """
    text = sentence.text
    if any(found.start() <= numeral.start < found.end() for found in _NAMES.finditer(text)):
        return True
    # The ends of a scale, where no metric is spoken of: "the gate lies between 0 and 1".
    if numeral.text in ("0", "1") and not sentence.metrics:
        return True
    return _is_count(numeral, text, evidence) or is_setting(numeral, sentence, evidence)


def is_setting(numeral: Numeral, sentence: Sentence, evidence: Evidence) -> bool:
    """Tell whether a numeral is a setting that its sentence speaks of, as the runs it names have it."""
    text = sentence.text
    if belongs_to_a_metric(numeral, sentence):
        return False
    named = [name for name in sentence.named_sources if name in evidence.sources]
    context = [sentence.passage.run] if sentence.passage.run in evidence.runs else []
    values = evidence.setting_values(named or context)
    # A number that the loop filled in names its source behind it, the setting's name is in the reference only.
    filled = re.match(r"\s*(?:±\s*[\d.e+-]+\s*)?\[(?P<source>\w+)\]", text[numeral.end :])
    if filled and filled["source"] in evidence.sources:
        own = evidence.setting_values([filled["source"]])
        if any(_is_exactly(numeral, value) for known in own.values() for value in known):
            return True
    # A symbol stands for the setting: "lambda = 0.02", its letter masked.
    if re.search(r"=\s*$", text[: numeral.start]) and any(
        _is_exactly(numeral, value) for result in values.values() for value in result
    ):
        return True
    fraction = re.compile(r"(\d+)\s*/\s*(\d+)")
    for key, known in values.items():
        if not re.search(setting_words(key), text, re.IGNORECASE):
            continue
        if re.search(r"\b(?:multiplied|divided|times|fold)\b", text):
            known = known | {one / other for one in known for other in known if other}
        parts = (1, 0.5) if re.search(r"\bhalf\b", text) else (1,)
        if any(_is_exactly(numeral, part * value) for value in known for part in parts):
            return True
        for found in fraction.finditer(text):
            if found.start() <= numeral.start < found.end() and int(found[2]):
                ratio = int(found[1]) / int(found[2])
                if any(abs(ratio - value) < 1e-9 for value in known):
                    return True
    return False


def setting_words(key: str) -> str:
    """A pattern for the words that speak of a setting."""
    if key in _SETTING_WORDS:
        return _SETTING_WORDS[key]
    parts = [part for part in key.split("_") if len(part) >= 4]
    return "|".join([re.escape(key).replace("_", "[_ -]{1,2}"), *parts])


def _is_exactly(numeral: Numeral, value: float) -> bool:
    written = numeral.value / 100 if numeral.percent else numeral.value
    return abs(written - value) <= 1e-9 * max(1.0, abs(value))


def belongs_to_a_metric(numeral: Numeral, sentence: Sentence) -> bool:
    """Tell whether a metric's name stands right before the numeral, joined by nothing but small words."""
    for mention in sentence.metrics:
        between = sentence.text[mention.end : numeral.start]
        if mention.end <= numeral.start and re.fullmatch(
            r"(?:'s|’s)?\s*(?:\(?|is|of|was|at|=|:|reaches|to|by|with|a|about|falls|rises|stays|drops|, |\s)*", between
        ):
            return True
    return False


def _is_count(numeral: Numeral, text: str, evidence: Evidence) -> bool:
    found = _COUNTED.match(text, numeral.end)
    if not found or numeral.percent or numeral.value != int(numeral.value):
        return False
    statuses = list(evidence.statuses.values())
    seeds = {len(group.runs) for group in evidence.groups.values()}
    what = found["what"].lower()
    if what == "seeds":
        return numeral.value in seeds
    if what == "baselines":
        return numeral.value in {len(evidence.groups), sum(len(group.runs) for group in evidence.groups.values())}
    if what == "runs":
        kinds = {status: statuses.count(status) for status in statuses}
        return numeral.value in {len(statuses), *kinds.values(), sum(len(g.runs) for g in evidence.groups.values())}
    return any(numeral.value in facts for facts in evidence.facts.values())
