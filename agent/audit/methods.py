"""Claims about what a run does, against the code of that run."""

import ast
import re
from collections.abc import Iterator
from functools import cache, cached_property

from agent.audit.document import CITED
from agent.audit.evidence import Evidence
from agent.audit.mentions import Sentence
from agent.audit.numbers import Fault
from agent.audit.words import DROPPED, SUPPOSED
from agent.base.syntax import parse

# Methods that the field knows by name: a run that is said to use one has to hold the word.
FIELD = {
    "Matryoshka": r"matryoshka|nested|prefix",
    "JumpReLU": r"jump_?relu|threshold",
    "gated": r"(?<![a-z])gat(?:e|ing)",
    "BatchTopK": r"batch_?top",
    "ghost gradients": r"ghost",
    "resampling": r"resampl",
    "transcoder": r"transcod",
    "skip connection": r"(?<![a-z])skip",
    "attention": r"attention",
    "orthogonal(?:ity|i[sz](?:ed|es|ation))": r"orthogon|competition|overlap|gram",
    "moving average": r"(?<![a-z])ema(?![a-z])|moving|momentum|lerp",
    "temporal consistency": r"previous|temporal",
    "distillation": r"distil",
    "dropout": r"dropout",
    "weight decay": r"weight_decay|adamw",
    "gradient clipping": r"clip",
    "auxiliary loss": r"auxiliary|aux_",
}
_DENIED = re.compile(rf"{DROPPED.pattern}|\bno\b", re.IGNORECASE)
_PARTS = re.compile(r"[;:]|, (?:and|but|while|whereas) ", re.IGNORECASE)
_USES = re.compile(
    r"\b(?:us(?:es|ed|ing|e)|add(?:s|ed)?|employ(?:s|ed)?|appl(?:ies|ied)|train(?:s|ed)? with|implement(?:s"
    r"|ed)?|introduc(?:es|ed)"
    r"|combin(?:es|ed)|with|keep(?:s)?|has|had|is a|was a|of|in|on|penalis(?:es|ed)|penaliz(?:es|ed)|clamp(?:s"
    r"|ed)?)\b|'s|’s",
    re.IGNORECASE,
)


class Methods:
    """The names that each run's code defines, and which of them the template lacks.

    Args:
        evidence: The campaign.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.template = definitions(evidence.template)
        self.runs = {name: definitions(code) for name, code in evidence.code.items()}

    @cached_property
    def terms(self) -> dict[str, re.Pattern[str]]:
        """Names that some run brought in, each with the words that speak of it."""
        known = {part for name in self.template for part in name.lower().split("_")}
        made = {}
        for name in sorted({name for names in self.runs.values() for name in names} - self.template):
            own = [part for part in name.lower().split("_") if len(part) >= 5 and part not in known]
            words = [re.escape(name).replace("_", "[_ -]{1,2}")]
            if len(own) == 1 and name.lower().startswith(own[0]):
                words.append(own[0])
            elif "_" not in name and name.lower() in known:
                continue
            made[name] = re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE)
        return made

    def check(self, sentence: Sentence) -> Iterator[Fault]:
        """Find a method that a sentence claims for a run whose code has none of it."""
        text = sentence.text
        if SUPPOSED.search(text):
            return
        runs = [name for name in sentence.named_sources if name in self.runs] or self._meant(text)
        runs += [source for _, source, _ in sentence.referred_terms if source in self.runs and source not in runs]
        if not runs and sentence.passage.run in self.runs:
            runs = [sentence.passage.run]
        in_method = not runs and re.search(r"\bmethod\b", sentence.passage.chapter, re.I) and CITED not in text
        if in_method or len(runs) > 1:
            yield from self._anywhere(sentence)
        if not runs or not _USES.search(text):
            return
        for run in runs if len(runs) == 1 and not DROPPED.search(text) else []:
            for name, match in self._spoken_of(text):
                if not self._has(run, name, match[0]):
                    others = [other for other in self.runs if self._has(other, name, match[0])]
                    where = f"; it is in {', '.join(others)}" if others else ""
                    place = sentence.passage.start + match.start()
                    yield Fault(place, f"the code of {run} has no '{match[0]}'{where}")
                    return
        if len(runs) == 1:
            yield from self._field(runs[0], sentence)

    def _meant(self, text: str) -> list[str]:
        """The run that `our final method` means: the last one scored."""
        if re.search(
            r"\b(?:our|the) (?:final|last|proposed|resulting) (?:method|model|SAE|run|variant|version)\b", text, re.I
        ):
            return list(self.evidence.runs)[-1:]
        return []

    def _spoken_of(self, text: str) -> list[tuple[str, re.Match[str]]]:
        return [(name, match) for name, pattern in self.terms.items() if (match := pattern.search(text))]

    def _has(self, run: str, name: str, spoken: str) -> bool:
        """Tell whether a run defines a name, or another that is spoken of by the same word."""
        word = re.sub(r"[ -]+", "_", spoken.lower())
        if word == name.lower():
            return any(each.lower() == word for each in self.runs[run])
        return any(each.lower().startswith(word) for each in self.runs[run])

    def _anywhere(self, sentence: Sentence) -> Iterator[Fault]:
        """A method that is named for several runs, or for no run in particular: some run has to have it."""
        faults = [list(self._field(run, sentence)) for run in self.runs]
        if faults and all(faults):
            place = faults[0][0].place
            yield Fault(place, "no run's code has " + faults[0][0].reason.partition("nothing of ")[2])

    def _field(self, run: str, sentence: Sentence) -> Iterator[Fault]:
        code = self.evidence.code[run].lower()
        for name, pattern in FIELD.items():
            found = re.search(rf"\b{name}\b", sentence.text, re.IGNORECASE)
            if found and not re.search(pattern, code) and not _DENIED.search(_part(sentence.text, found.start())):
                yield Fault(sentence.passage.start + found.start(), f"the code of {run} has nothing of '{found[0]}'")
                return


def _part(text: str, place: int) -> str:
    """The main clause around a place: what is dropped in another one is not what is spoken of here."""
    cuts = [0, *(found.start() for found in _PARTS.finditer(text)), len(text)]
    return text[max(cut for cut in cuts if cut <= place) : min(cut for cut in cuts if cut > place)]


@cache
def definitions(code: str) -> frozenset[str]:
    """The names that a program gives to what can be spoken of: functions, classes, fields, keys of dictionaries."""
    try:
        tree = parse(code)
    except SyntaxError:
        return frozenset()
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Dict(keys=keys):
                names.update(
                    str(key.value) for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
                )
            case ast.Subscript(slice=ast.Constant(value=str() as key), ctx=ast.Store()):
                names.add(key)
    return frozenset(names)
