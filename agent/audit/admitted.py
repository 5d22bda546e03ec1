"""Admits what a paper says of runs, baselines and its method where results or verdicts stand behind it.

A sentence there is admitted with a reference or a word that a verdict was asked about; without either, only in words
that describe. So a claim need not be known to be refused: it has to be known to be let in.
"""

import itertools
import re
from collections.abc import Iterator

from agent.audit.document import CITED, REFERRED
from agent.audit.evidence import Evidence
from agent.audit.mentions import Sentence
from agent.audit.methods import FIELD, definitions
from agent.audit.numbers import Fault
from agent.audit.vocabulary import DESCRIBING
from agent.audit.words import ASKED, EXPECTED, OURS, SETTLED

# Sections that report no results of this campaign; all others do, and what stands before the first.
_DESCRIBING = re.compile(
    r"\b(?:background|related|previous|prior|methods?|methodology|set-?up|experiments? set|preliminaries"
    r"|notation|appendix|acknowledge\w+)\b",
    re.IGNORECASE,
)
_TEXT = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", re.IGNORECASE)
_SUBJECT = re.compile(r"\b(?:it|this|these|they|that|which|who|we|both|neither|none)\b", re.IGNORECASE)
_COPULA = re.compile(
    r"\b(?:is|are|was|were|be|been|being|seems?|looks?|remains?|becomes?|stays?|proves?|appears?)\b", re.IGNORECASE
)
_STATES = re.compile(
    r"\b(?:has|have|had|do|does|did|shows?|showed|gives?|gave|reach(?:es|ed)?|gets?|got|keeps?|kept|holds?|held|takes?|took"
    r"|sits?|stands?|stood|lies?|lay|comes?|came|goes|went|falls?|fell|rises?|rose|ends?|ended|leaves?|left|makes?|made)\b",
    re.IGNORECASE,
)
_ENDS_PHRASE = re.compile(
    rf"[,;:.(){REFERRED}{CITED}]|\b(?:of|in|on|at|for|from|to|with|by|as|than|and|or|but|which|that|because|since|while"
    r"|where|when|between|over|under|within|beside)\b",
    re.IGNORECASE,
)
_ADVERB = re.compile(
    r"\s*(?:\w+ly|also|even|now|then|still|thus|itself|alone|again|not|never|both|all)\b", re.IGNORECASE
)
# Evidence that no ledger holds: people, other models, tests and looks that nothing here has made.
_FOREIGN = re.compile(
    r"\b(?:annotators?|raters?|labell?ers?|volunteers?|participants?|respondents?|crowd-?workers?|colleagues"
    r"|reviewers? (?:found|agreed)|domain experts?|human (?:stud|eval|judg|rat|experts?|read)\w*|humans"
    r"|user stud(?:y|ies)|surveys?|by hand|by eye|hand-?(?:inspect|check|label|pick)\w*|manual(?:ly)?|eyeball\w*"
    r"|(?:visual|qualitative|closer) inspection|inspection of|anecdot\w+"
    r"|(?:we|were|was|have|had) (?:inspected|looked through|examined|interviewed)"
    r"|p ?[<=>≤≥] ?0?\.\d+|p-?values?|(?:t|z|f|u|sign|permutation|rank[- ]sum|likelihood[- ]ratio)-?[- ]tests?"
    r"|wilcoxon|mann|bootstrap\w*|anova|kruskal\w*|kolmogorov|chi-?squared?|bonferroni|significance tests?"
    r"|statistical(?:ly)? significan\w+|cohen|effect size of|bayes factors?"
    r"|gpt-?[345]\w*|chatgpt|claude|gemini|(?:llm|model)[- ]judges?|llm-as-a-judge|in-house"
    r"|(?:our|unpublished|private|internal|earlier) (?:replications?|follow-up experiments)"
    r"|(?:replicat|reproduc)\w+ (?:on|with|in|by|across) (?:other|larger|different|several|more)"
    r"|holds? (?:on|for|across) (?:other|larger|all|different|several|more)"
    r" (?:models|datasets|layers|scales|architectures))\b",
    re.IGNORECASE,
)
_TERMS = re.compile(
    r"\bstandard (?:deviations?|errors?|normal)|\bnot confirmed|\b(?:set|sets|add|adds|hold|made|makes?) up\b",
    re.IGNORECASE,
)
_ADVICE = re.compile(
    r"\b(?:should|must|ought to|has to|have to|can safely) (?:be )?(?:use[ds]?|prefer\w*|chosen?|taken?"
    r"|replaced?|adopt\w*)\b",
    re.IGNORECASE,
)
_NOT_SO = re.compile(
    r"\b(?:no|not|nor|neither|none|cannot|never|without|nothing)\b.{0,40}"
    r"\b(?:effects?|chang\w*|differ\w*|improv\w*|reduc\w*|gains?|drop\w*|evidence|findings?|claim\w*|say|said|tell|told|know\w*|compar\w*|measured|scored|reported|verdict)\b",
    re.IGNORECASE,
)
# Words of how runs were made and where they are shown.
_SET_UP = re.compile(
    r"\b(?:train\w*|seeds?|data|tokens?|steps?|batch\w*|settings?|code|scored|compar\w*|verdicts?|judged?|beside|fig(?:ure|s)?"
    r"|tables?|shows?|scores? of|row|column|section|start\w*|built|takes? \w+ from|add\w*|differs? from|share|uses?"
    r"|used|same|weights?|coefficients?|rates?)\b",
    re.IGNORECASE,
)
# What a sentence of a report is about that names no run: found here, or explained by what was found.
_OF_RESULTS = re.compile(
    r"\b(?:hypothes[ie]s|mechanisms?|effects?|evidence|differences?|ablations?|confirmation|findings?|these numbers"
    r"|(?:all|every|each) seeds?|(?:training|encoding) takes|memory falls"
    r"|explains? (?:almost |nearly )?(?:all|every\w*))\b",
    re.IGNORECASE,
)
# Says why: only taking a part out tells.
_CAUSE = re.compile(
    r"\b(?:causes?|caused|(?:is|are|was|were) due to|because of|thanks to|owing to|responsible for|stems? from"
    r"|(?:is|are) understood|(?:is|are) in line with|brings? about|makes? \w+ (?:\(.*\) )?obsolete|new record)\b",
    re.IGNORECASE,
)
_ORDER = re.compile(r"\b(?:above|ahead of|behind|below|beyond|near|nearer)\b", re.IGNORECASE)
_CANNOT = re.compile(r"\bcannot\b", re.IGNORECASE)
# What is asked and left open is no statement: "it remains open whether it helps".
_OPEN = re.compile(
    r"\b(?:open|unknown|unclear|untested|future|question|left|(?:not|nothing|cannot|never) (?:be )?(?:known?|tell|told"
    r"|say|said|shown?|tested|measured|settled)|we (?:ask|test|try))\b",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"\b(?:no|not|nor|never|neither|without|none|cannot|lacks?|next|future|would|remains?)\b", re.IGNORECASE
)


def check_admitted(
    sentence: Sentence, evidence: Evidence, judged: bool, known: list[tuple[int, int]]
) -> Iterator[Fault]:
    """Find what a sentence of a paper says of its runs that neither a reference nor a verdict can stand behind.

    Args:
        sentence: The sentence.
        evidence: The campaign.
        judged: Whether a word of it was held against a verdict.
        known: The places of the comparative words that were, or that claim nothing.
    """
    text, start = sentence.text, sentence.passage.start
    foreign = _FOREIGN.search(text)
    if foreign and CITED not in text and not _DENIED.search(text):
        yield Fault(start + foreign.start(), f"'{foreign[0]}': no result here holds such evidence; cite its source")
        return
    if _DESCRIBING.search(sentence.passage.chapter) or sentence.passage.kind == "row":
        return
    named = [*sentence.named_sources, *(source for _, source, _ in sentence.referred_terms)]
    heading = sentence.passage.kind == "heading"
    if not named and not OURS.search(text) and (heading or not (sentence.metrics or _OF_RESULTS.search(text))):
        return
    if CITED in text and not any(name.startswith("run_") for name in named):
        return
    if sign := _relation(sentence):
        yield Fault(start + sign[0], f"'{sign[1]}' between two results: give the verdict, or both results")
        return
    strange = _strange(sentence, evidence, known)
    if judged or sentence.references:
        strange = [found for found in strange if _predicates(found, sentence)]
    if (
        not strange
        and not judged
        and (cause := _CAUSE.search(text))
        and not (_NOT_SO.search(text) or ASKED.search(text))
    ):
        strange = [cause]
    if not strange and (advice := _ADVICE.search(text)) and not _NOT_SO.search(text):
        strange = [advice]
    bare = not strange and (_is_bare(sentence, evidence, judged) or _sets_beside(sentence, evidence, judged))
    if strange or bare:
        about = named[0] if named else "the method"
        metric = sentence.named_metrics[0] if sentence.named_metrics else "METRIC"
        run = next((name for name in named if name in evidence.runs), "run_N")
        verdict = f"\\verdict{{{run}}}{{{metric}}}"
        if bare:
            yield Fault(
                start + len(text) - len(text.lstrip()), f"{metric} of {run} without its result or verdict", verdict
            )
            return
        why = f"nothing bears out what this says of {about}; give its result, its verdict, or describe"
        yield Fault(start + strange[0].start(), f"'{strange[0][0]}': {why}", verdict)


def _is_bare(sentence: Sentence, evidence: Evidence, judged: bool) -> bool:
    """Tell whether a sentence speaks of a run's metric without its result: "in run_1 absorption is rare"."""
    text = sentence.text
    if judged or sentence.references or not sentence.metrics or sentence.passage.kind == "heading":
        return False
    if not any(name in evidence.runs for name in sentence.named_sources):
        return False
    if not (_COPULA.search(text) or _STATES.search(text)):  # it names what is shown, as a caption does
        return False
    if (
        re.search(r"\b(?:fig(?:ure|s)?|tables?)\b", text, re.IGNORECASE)
        or _NOT_SO.search(text)
        or EXPECTED.search(text)
    ):
        return False
    return not (ASKED.search(text) and _OPEN.search(text) and not SETTLED.search(text))


def _relation(sentence: Sentence) -> tuple[int, str] | None:
    """A sign of order between two runs or baselines: where it stands, and which."""
    for one, other in itertools.pairwise(sorted(sentence.sources, key=lambda mention: mention.start)):
        between = sentence.text[one.end : other.start].strip()
        if re.fullmatch(r"[<>≤≥≻≺≫≪]+=?", between):
            return one.end, between
    return None


def _sets_beside(sentence: Sentence, evidence: Evidence, judged: bool) -> bool:
    """Tell whether a sentence sets a run beside another, with neither's result: "TopK cannot match run_1"."""
    text, named = sentence.text, set(sentence.named_sources)
    if judged or sentence.references or len(named) < 2 or sentence.passage.kind == "heading":
        return False
    made = _SET_UP.search(text) and not _ORDER.search(text)
    if not any(name in evidence.runs for name in named) or made or _NOT_SO.search(text):
        return False
    return not (EXPECTED.search(text) and not _CANNOT.search(text)) and not (ASKED.search(text) and _OPEN.search(text))


def _strange(sentence: Sentence, evidence: Evidence, known: list[tuple[int, int]]) -> list[re.Match[str]]:
    """The words that neither describe nor were held against a verdict."""
    taken = [*known, *((mention.start, mention.end) for mention in (*sentence.sources, *sentence.metrics))]
    taken += [found.span() for found in _TERMS.finditer(sentence.text)]
    asked = ASKED.search(sentence.text)
    if asked and _OPEN.search(sentence.text) and not SETTLED.search(sentence.text):
        taken.append((asked.start(), len(sentence.text)))
    own = _own_words(evidence)
    return [
        found
        for found in _TEXT.finditer(sentence.text)
        if not any(start <= found.start() < end for start, end in taken) and not _describes(found[0], own)
    ]


def _describes(word: str, own: frozenset[str]) -> bool:
    parts = [part for part in re.split(r"[-'’]", word.lower()) if part]
    return all(len(part) < 2 or part in DESCRIBING or part in own or _is_number(part) for part in parts)


def _is_number(word: str) -> bool:
    return re.fullmatch(r"(?:thir|four|fif|six|seven|eigh|nine)(?:teen|ty)|twenty|ly|s|th|nd|rd|st", word) is not None


def _own_words(evidence: Evidence) -> frozenset[str]:
    """The words of which the template's names and the field's methods are made."""
    names = {part.lower() for name in definitions(evidence.template) for part in re.findall(r"[A-Za-z][a-z]+", name)}
    fields = {part.lower() for name in FIELD for part in re.findall(r"[A-Za-z]{3,}", name)}
    settings = {part for key in evidence.settings for part in key.split("_")}
    return frozenset(names | fields | settings)


def _predicates(word: re.Match[str], sentence: Sentence) -> bool:
    """Tell whether a word says what its subject does or is, rather than naming a thing beside."""
    before = sentence.text[: word.start()]
    for copula in _COPULA.finditer(before):
        if not _ENDS_PHRASE.search(before, copula.end()):
            return True
    ends = [mention.end for mention in (*sentence.sources, *sentence.metrics) if mention.end <= word.start()]
    ends += [found.end() for found in _SUBJECT.finditer(before)] + [found.end() for found in OURS.finditer(before)]
    return any(_only_adverbs(before[end:]) for end in ends)


def _only_adverbs(text: str) -> bool:
    text = text.strip(" \t")
    while text:
        found = _ADVERB.match(text)
        if not found:
            return False
        text = text[found.end() :].strip()
    return True
