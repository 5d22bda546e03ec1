"""The sections of a paper in the order they are written, and what each is for."""

from dataclasses import dataclass

from agent.audit.evidence import Evidence


@dataclass(frozen=True)
class Section:
    """A section.

    Args:
        name: Its file's name in `sections/`, without `.tex`.
        task: What it is for.
        searches: Whether other works may be searched for it.
    """

    name: str
    task: str
    searches: bool = False

    @property
    def file(self) -> str:
        """Its file, relative to the paper's folder."""
        return f"sections/{self.name}.tex"


_ABSTRACT = (
    "The first line is \\title{...}; the abstract follows, one paragraph without an environment: the question, "
    "what was "
    "done, what was found with its numbers, and what that means."
)
_ABSTRACT_NULL = (
    "The first line is \\title{...}; the abstract follows, one paragraph without an environment. No run "
    "improved on its "
    "baseline: the title and the abstract say what was not found, in plain words, before anything else."
)
_CONCLUSION = "\\section{Conclusion}: what was learnt, what was not, the limits (seeds, scale), what would be next."
_CONCLUSION_NULL = (
    "\\section{Conclusion}: what was not found and what that excludes, what it may be due to, the limits "
    "(seeds, scale), "
    "what would have to be tried before more is said. Nothing is dressed up."
)


def sections(null: bool) -> tuple[Section, ...]:
    """The sections of a paper.

    Args:
        null: Whether it reports that nothing was found.
    """
    return (
        Section("abstract", _ABSTRACT_NULL if null else _ABSTRACT),
        Section(
            "introduction", "\\section{Introduction}: the problem, the idea, what this paper shows.", searches=True
        ),
        Section("background", "\\section{Background}: what a reader has to know, with citations.", searches=True),
        Section(
            "method",
            "\\section{Method}: what the runs do, each thing as it stands in the code above. What a later run "
            "dropped is "
            "named as dropped.",
        ),
        Section(
            "setup", "\\section{Experimental set-up}: subject model, data, training, baselines, evaluations, verdicts."
        ),
        Section(
            "results",
            "\\section{Results}: a table of the runs, then run by run what the verdicts say, with figures. "
            "Every scored "
            "run is reported, or listed as left out with the reason.",
        ),
        Section("related", "\\section{Related work}: the works that this one stands beside.", searches=True),
        Section("conclusion", _CONCLUSION_NULL if null else _CONCLUSION),
    )


def is_null(evidence: Evidence) -> bool:
    """Tell whether no run improved a headline metric on its baseline without making another worse."""
    for run, result in evidence.runs.items():
        base = evidence.base_of(run)
        verdicts = {
            evidence.judge(run, name, base).verdict
            for name, value in result.metrics.items()
            if value.headline and value.better
        }
        if "improved" in verdicts and "worse" not in verdicts:
            return False
    return True
