"""The words that an audit knows: those that compare, and those that take a comparison back."""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["better", "worse", "up", "down", "same", "noise", "void", "double", "half", "most", "least"]


@dataclass(frozen=True)
class Comparative:
    """A word that compares.

    Args:
        kind: What it claims.
        pattern: How it is written.
        strong: Whether it speaks of results by itself; a weak one does so only beside a metric.
    """

    kind: Kind
    pattern: re.Pattern[str]
    strong: bool


def _comparative(kind: Kind, strong: bool, *patterns: str) -> Comparative:
    return Comparative(kind, re.compile(rf"\b(?:{'|'.join(patterns)})\b", re.IGNORECASE), strong)


# The order counts: a place that an earlier entry took is not read again.
COMPARATIVES: tuple[Comparative, ...] = (
    _comparative(
        "noise",
        True,
        r"(?:with)?in(?:side)? (?:the )?noise(?: floor)?",
        r"inside the (?:noise )?interval",
        r"(?:statistically )?indistinguishable",
        r"not (?:statistically )?significant(?:ly)?",
        r"no significant \w+",
        r"(?:not|never) (?:leave|left|leaves) the noise(?: floor)?",
    ),
    _comparative(
        "void",
        True,
        r"(?:not|nor|never|cannot be|in)[ -]?(?:directly )?compar(?:able|ed)",
        r"no verdict",
        r"incomparable",
    ),
    _comparative("half", True, r"halv(?:es|ed|ing)"),
    _comparative("double", True, r"doubl(?:es|ed|ing)"),
    _comparative(
        "better",
        True,
        r"improv(?:e|es|ed|ing|ements?)",
        r"out-?perform(?:s|ed|ing)?",
        r"surpass(?:es|ed|ing)?",
        r"beat(?:s|ing)?",
        r"exceed(?:s|ed|ing)?",
        r"superior",
        r"enhanc(?:e|es|ed|ing|ements?)",
        r"boost(?:s|ed|ing)?",
        r"state[- ]of[- ]the[- ]art",
        r"pareto[- ](?:improves|dominates|optimal)",
        r"advances? (?:over|on)",
    ),
    _comparative("better", False, r"better", r"gain(?:s|ed)?", r"wins?", r"won", r"favou?rabl[ey]", r"protects?"),
    _comparative(
        "worse",
        True,
        r"worsen(?:s|ed|ing)?",
        r"degrad(?:e|es|ed|ing|ation)",
        r"under-?perform(?:s|ed|ing)?",
        r"deteriorat(?:e|es|ed|ing|ion)",
        r"inferior",
    ),
    _comparative(
        "worse", False, r"worse", r"hurt(?:s|ing)?", r"harm(?:s|ed|ing)?", r"cost(?:s|ing)?", r"suffer(?:s|ed|ing)?"
    ),
    _comparative(
        "down",
        True,
        r"reduc(?:e|es|ed|ing|tions?)",
        r"mitigat(?:e|es|ed|ing|ion)",
        r"alleviat(?:e|es|ed|ing|ion)",
        r"suppress(?:es|ed|ing|ion)?",
        r"eliminat(?:e|es|ed|ing|ion)",
        r"cut(?:s|ting)?",
        r"trim(?:s|med|ming)?",
        r"fight(?:s|ing)?",
        r"combat(?:s|ing)?",
        r"diminish(?:es|ed|ing)?",
        r"decreas(?:e|es|ed|ing)",
    ),
    _comparative(
        "down",
        False,
        r"lower(?:s|ed|ing)?",
        r"remov(?:e|es|ed|ing|al)",
        r"drop(?:s|ped|ping)?",
        r"fall(?:s|ing|en)?",
        r"fell",
        r"below",
        r"less",
        r"fewer",
        r"smaller",
        r"shr(?:ink|inks|ank|unk|inking)",
        r"los(?:e|es|t|ing)",
        r"loss(?= of| in)",
        r"declin(?:e|es|ed|ing)",
    ),
    _comparative("up", True, r"increas(?:e|es|ed|ing)"),
    _comparative(
        "up",
        False,
        r"rais(?:e|es|ed|ing)",
        r"higher",
        r"ris(?:e|es|ing|en)",
        r"rose",
        r"gr(?:ow|ows|ew|owing)",
        r"above",
        r"more",
        r"larger",
        r"greater",
    ),
    _comparative(
        "same",
        True,
        r"maintain(?:s|ed|ing)?",
        r"preserv(?:e|es|ed|ing|ation)",
        r"retain(?:s|ed|ing)?",
        r"compar(?:able|ably)",
        r"(?:no|little) difference",
        r"on par",
        r"unchanged",
        r"unaffected",
        r"without (?:any |a )?(?:loss|sacrific\w+|degrad\w+|cost)",
        r"sacrific(?:es|ed|ing) (?:almost|nearly|hardly|barely|virtually|practically) (?:no|nothing|any)",
        r"at no cost",
        r"no (?:loss|degradation|change)",
        r"sacrificing (?:no|nothing)",
    ),
    _comparative(
        "same",
        False,
        r"similar(?:ly)?",
        r"equal(?:s|led|ly)?",
        r"the same",
        r"stable",
        r"keeps?",
        r"kept",
        r"match(?:es|ed|ing)?",
    ),
    _comparative("most", False, r"highest", r"largest", r"greatest", r"most"),
    _comparative("least", False, r"lowest", r"smallest", r"least"),
    _comparative("better", False, r"best"),
    _comparative("worse", False, r"worst"),
)

CLAUSES = re.compile(
    r"[;:—]|,?\s+(?:but|while|whereas|although|though|yet|however)\b|,\s+(?:and|which|so|where)\b"
    r"|\band\s+(?=(?:also |thereby )?(?:improv|reduc|maintain|outperf|preserv|degrad|increas|decreas|lower|rais"
    r"|mitigat|beat"
    r"|worsen|retain|keep|leav|los|cost|halv|doubl|hurt|help|cut|rais|fall|ris))",
    re.IGNORECASE,
)
NEGATION = re.compile(
    # "Without the gate it falls" denies nothing; "without improving it" does.
    r"\bwithout(?:\s+(?:any|a|an|further|also|measurably|significantly))*\s*$"
    r"|\b(?:not|no|never|neither|nor|cannot|fail(?:s|ed)? to|hardly|does ?n[o']t|did ?n[o']t|nothing"
    r"|none|n[o']t)\b",
    re.IGNORECASE,
)
# What is planned, asked or supposed is no claim about a result.
SUPPOSED = re.compile(
    r"\b(?:should|would|could|may|might|expect(?:s|ed|ing)?|hypothes[ie]\w+|predict(?:s|ed|ion|ions)?|whether|if|aim(?:s|ed)?"
    r"|designed to|intended to|meant to|proposed to|supposed|suppose|hope(?:s|d)?|in order to|we (?:ask|test|try)|goal"
    r"|question|future|next|promises|counts? only|no finding|is no gain|has to|must|means|mean (?:it|that|to)"
    r"|stand(?:s)? for|when(?:ever)?)\b|\?",
    re.IGNORECASE,
)
# Of a run that was scored, only these suppose, and only what they govern: "it must be said that it improves" says it.
EXPECTED = re.compile(
    r"\b(?:should|would|could|may|might|cannot|expect(?:s|ed|ing)?|hypothes[ie]\w+|predict(?:s|ed|ions?)?|aims?"
    r"|aimed|designed to|intended to|meant to|proposed to|supposed|hope[sd]?|in order to|goal|counts? only"
    r"|no finding|is no gain|has to|means|mean (?:it|to)|stands? for|when(?:ever)?)\b(?!.*\bthat\b)",
    re.IGNORECASE,
)
EXPECTED_BEHIND = re.compile(
    r"[^,;]{0,40}\b(?:should|would|could|may|might) (?:not |only |also )?be"
    r" (?:smaller|larger|lower|higher|less|more|better|worse|seen|visible|there|small|large)\b",
    re.IGNORECASE,
)
ASKED = re.compile(r"\b(?:whether|if|unless|we (?:ask|test|try))\b", re.IGNORECASE)
SETTLED = re.compile(
    r"\bno longer\b|\bbeyond\b|\bsettled\b|\banswered\b|\b(?:no|not|any|little) (?:doubt|question)\b|\bcertain|\bsure"
    r"|\byes\b|\bit (?:does|did|is)\b|\bin the affirmative\b|\bclear",
    re.IGNORECASE,
)
OURS = re.compile(
    r"\b(?:our|we|these results|results (?:are|were|look|seem)|this (?:work|paper|method|approach|idea|penalty)"
    r"|the (?:[a-z-]+ ){0,2}(?:method|approach|idea|penalty|proposed|loss|variant)"
    r"|the (?:[a-z]+ )?(?:improvement|reduction|gain|decrease)s?|proposed)\b",
    re.IGNORECASE,
)
DROPPED = re.compile(
    r"\b(?:drop(?:s|ped|ping)?|remov(?:e|es|ed|ing)|without|no longer|abandon(?:s|ed)?|instead of|lack(?:s|ed)?"
    r"|left out"
    r"|leaves? out|unlike|rather than|not|gave up|given up|absent|has no|had no|nor|neither|before|earlier"
    r"|after|than)\b",
    re.IGNORECASE,
)
# What a weak word speaks of when it stands before one of these is a setting or an amount, no score.
_OTHER_NOUNS = re.compile(
    r"\W*(?:\w+\W+){0,1}(?:learning|rate|weight|penalty|dictionar|batch|active latents|steps?|tokens?|seeds?"
    r"|runs\b|is better"
    r"|often|likely|changes?|differences?|effects?|gaps?"
    r"|layers?|level|half|share|part|than the (?:noise|interval|spread)|than (?:\d|one|two|three"
    r"|once)|number|budget|data|is |of a )",
    re.IGNORECASE,
)
# `It loses still more`: what grows is the loss.
_LOSES = re.compile(
    r"\b(?:los(?:e|es|t|ing)|drop\w*|falls?|fell|fallen|decreas\w+|declin\w+|costs?|suffers?|shrinks?)\s+(?:\w+\s+){0,2}$",
    re.IGNORECASE,
)


def speaks_of_no_result(word: Comparative, match: re.Match[str], text: str) -> bool:
    """Tell whether a comparative word is said of a setting, an amount, or of how a metric is read."""
    if word.strong:
        return False
    # "(lower is better)" says how to read a metric.
    if re.search(r"\b(?:lower|higher|smaller|larger|less|more) is $", text[: match.start()], re.IGNORECASE):
        return True
    more_of = match[0].lower() == "more" and _LOSES.search(text, 0, match.start()) is not None
    return more_of or _OTHER_NOUNS.match(text, match.end()) is not None
