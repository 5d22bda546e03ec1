"""Confounds: differences between a run and what it is compared with, beside the idea."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from agent.results.read import Group, shown

# Beyond these relative differences two runs answer different questions.
L0_TOLERANCE = 0.005
BROAD_L0_TOLERANCE = 0.05  # by which runs were judged up to version 0.1.0
TOKENS_TOLERANCE = 0.01
# As many times the baseline's training compute is named, and voids a verdict.
NAMED, VOID = 1.1, 1.5
# So many times the parameters, or operations of encoding a token, and a baseline with as much has to be trained.
MORE_PARAMETERS, MORE_FLOP = 1.25, 2.0
_NAMED_FROM = 1.05  # times the baseline's
L0, NEGATIVE, ALWAYS_ON = "core.l0", "core.negative_share", "core.always_on"
RATE_TOLERANCE = 0.02
_OWN_L0 = 0.1  # relative; batches of the end of training differ from the text that is scored

# Numbers that left PyTorch, for those that the activations have: what is computed with so many is not counted.
_TAKEN_NAMED, _TAKEN_VOID = 0.02, 0.5

# The fields of the training record that are compared, and whether a difference voids the verdict.
_BEFORE_DATA = {"batch size": ("batch_size", False)}
_COMPUTE = {
    "training FLOP": "flop",
    "updates per parameter": "updates",
    "parameters trained": "parameters_trained",
}
_AFTER_DATA = {
    "device": ("device", True),
    "versions": ("versions", True),
    "dtype": ("dtype", False),
    "profile": ("profile", True),
}


@dataclass(frozen=True)
class Confound:
    """A difference between a run and its baseline that is not the idea.

    Args:
        what: For example `L0`.
        run: The run's figure.
        baseline: The baseline's.
        blocks: Whether no verdict can be given because of it.
    """

    what: str
    run: str
    baseline: str
    blocks: bool

    def __str__(self) -> str:
        return f"{self.what} {self.run} (baseline {self.baseline})" + (", no verdict" if self.blocks else "")


def find_confounds(
    run: Group, baseline: Group, changed: Sequence[str] = (), tolerance: float = L0_TOLERANCE
) -> tuple[Confound, ...]:
    """All differences that are not the idea, those that weigh most first.

    Args:
        run: The run, or runs of the same code with several seeds.
        baseline: What it is compared with.
        changed: What changed between the making of the baseline and the run, and stands in no training record.
        tolerance: By how much the L0 may differ, relative.

    Returns:
        The confounds; a verdict is void when one of them blocks.
    """
    found = [*_l0(run, baseline, tolerance), *_size(run, baseline)]
    for what in ("tokens", "steps"):
        found += _counted(run, baseline, what)
    found += [*_rows_read(run, baseline), *_compute(run, baseline)]
    found += _recorded(run, baseline, _BEFORE_DATA)
    found += _rate(run, baseline)
    found += _own_l0(run, baseline)
    found += _recorded(run, baseline, {"data": ("data", True)})
    ours, theirs = run.runs[0].evaluator, baseline.runs[0].evaluator
    for name in ours:
        if name in theirs and ours[name] != theirs[name]:
            found.append(Confound(f"evaluator of {name}", "changed", "as it was", True))
    found += _recorded(run, baseline, _AFTER_DATA)
    found += [Confound(what, "changed", "made before", True) for what in changed]
    return tuple(found)


def near(ours: float, theirs: float, tolerance: float) -> bool:
    """Tell whether a number lies within a relative tolerance of another; nothing is near to NaN."""
    return abs(ours - theirs) <= tolerance * abs(theirs)


def _l0(run: Group, baseline: Group, tolerance: float) -> list[Confound]:
    ours, theirs = (None if value is None else value.value for value in (run.lookup(L0), baseline.lookup(L0)))
    if ours is None or theirs is None:
        # What cannot be told to match is not said to.
        return [Confound("L0", _brief(ours), _brief(theirs), True)]
    return [] if near(ours, theirs, tolerance) else [Confound("L0", shown(ours), shown(theirs), True)]


def _size(run: Group, baseline: Group) -> list[Confound]:
    """The size of the SAEs and what they cost, which the lab read off them; up to version 0.1.0 it did not."""
    if run.lookup("sae.d_sae") is None or baseline.lookup("sae.d_sae") is None:
        return _settings(run, baseline, "dictionary size", "d_sae", True)
    names = ("d_sae", "parameters", "encode_flop", "decode_flop", "depth")
    latents, parameters, encode, decode, depth = ((_sae(run, name), _sae(baseline, name)) for name in names)
    found = []
    if latents[0] != latents[1]:
        # A larger TopK is a fair opponent of a run that has as many parameters or operations otherwise.
        as_much = any(ours * MORE_PARAMETERS >= theirs for ours, theirs in (parameters, encode))
        fair = latents[0] < latents[1] and as_much
        found.append(Confound("dictionary size", shown(latents[0]), shown(latents[1]), not fair))
    found += _more("parameters", *parameters, MORE_PARAMETERS)
    found += _more("encode FLOP a token", *encode, MORE_FLOP)
    found += _more("decode FLOP a token", *decode, math.inf)
    if depth[0] != depth[1]:
        found.append(Confound("matrix products in a row in the encoder", shown(depth[0]), shown(depth[1]), False))
    for what, name in (("share of negative latents", NEGATIVE), ("latents always on", ALWAYS_ON)):
        ours, theirs = run.lookup(name), baseline.lookup(name)
        if ours and theirs and ours.value > _NAMED_FROM * (theirs.value + 2 * (theirs.sd or 0)):
            found.append(Confound(what, shown(ours.value), shown(theirs.value), False))
    return found


def _sae(group: Group, name: str) -> float:
    value = group.lookup(f"sae.{name}")
    return value.value if value is not None else math.nan


def _more(what: str, ours: float, theirs: float, most: float) -> list[Confound]:
    if not ours > _NAMED_FROM * theirs:
        return []
    return [Confound(what, f"{ours / theirs:.2f} times", shown(theirs), ours > most * theirs)]


def _rate(run: Group, baseline: Group) -> list[Confound]:
    """Another learning rate: that of the steps, where both tell it, else that of the settings."""
    ours, theirs = (group.lookup("training.learning_rate") for group in (run, baseline))
    if ours is None or theirs is None:
        return _settings(run, baseline, "learning rate", "lr", False)
    if near(ours.value, theirs.value, RATE_TOLERANCE):
        return []
    # An optimiser that is none of PyTorch's tells none.
    return [Confound("learning rate", shown(ours.value) if ours.value else "unknown", shown(theirs.value), False)]


def _own_l0(run: Group, baseline: Group) -> list[Confound]:
    """An L0 that is another one in the run's own last steps than where it is scored."""
    gap, usual, logged = _l0_gap(run), _l0_gap(baseline), run.lookup("training.l0_at_end")
    if gap is None or logged is None or gap <= max(_OWN_L0, 2 * (usual or 0)):
        return []
    return [Confound("L0 in its last training steps", shown(logged.value), "scored otherwise", False)]


def _l0_gap(group: Group) -> float | None:
    logged, scored = group.lookup("training.l0_at_end"), group.lookup(L0)
    return None if logged is None or not scored or not scored.value else abs(logged.value / scored.value - 1)


def _counted(run: Group, baseline: Group, key: str) -> list[Confound]:
    ours, theirs = (group.runs[0].training.get(key) for group in (run, baseline))
    if ours == theirs:
        return []
    close = near(float(ours or math.nan), float(theirs or math.nan), TOKENS_TOLERANCE)
    # A baseline that goes through its batches again, to take as much compute as the run, takes more steps.
    again = "passes" in baseline.runs[0].training and key == "steps"
    return [Confound(key, _brief(ours), _brief(theirs), not close and not again)]


def _rows_read(run: Group, baseline: Group) -> list[Confound]:
    """More rows of activations than the baseline was handed; records of before do not say."""
    ours, theirs = (group.lookup("training.rows") for group in (run, baseline))
    if ours is None or theirs is None or ours.value <= (1 + TOKENS_TOLERANCE) * theirs.value:
        return []
    return [Confound("rows read", shown(ours.value), shown(theirs.value), True)]


def _compute(run: Group, baseline: Group) -> list[Confound]:
    """More of what training takes than the baseline took; records of before do not say."""
    found = []
    for what, key in _COMPUTE.items():
        ours, theirs = (group.lookup(f"training.{key}") for group in (run, baseline))
        if ours and theirs and theirs.value > 0 and ours.value > NAMED * theirs.value:
            times = ours.value / theirs.value
            found.append(Confound(what, f"{times:.2g} times", shown(theirs.value), times > VOID))
    return [*found, *_taken_out(run, baseline)]


def _taken_out(run: Group, baseline: Group) -> list[Confound]:
    """Numbers that the run computed with where no operation is counted, such as in NumPy."""
    names = ("training.numbers_taken_out", "training.rows", "sae.decode_flop", "sae.d_sae")
    taken, rows, decode, latents = (run.lookup(name) for name in names)
    usual = baseline.lookup(names[0])
    if not (taken and rows and decode and latents) or taken.value <= (usual.value if usual else 0.0):
        return []
    # To decode a token takes two operations for each latent and number of an activation.
    share = taken.value / (rows.value * decode.value / (2 * latents.value))
    if share <= _TAKEN_NAMED:
        return []
    what = "numbers taken out of PyTorch, for one of the activations"
    return [Confound(what, shown(share), "0", share > _TAKEN_VOID)]


def _recorded(run: Group, baseline: Group, fields: dict[str, tuple[str, bool]]) -> list[Confound]:
    found = []
    for what, (key, blocks) in fields.items():
        ours, theirs = (group.runs[0].training.get(key) for group in (run, baseline))
        if ours != theirs:
            found.append(Confound(what, _brief(ours), _brief(theirs), blocks))
    return found


def _settings(run: Group, baseline: Group, what: str, key: str, blocks: bool) -> list[Confound]:
    ours, theirs = (group.runs[0].training.get("settings", {}).get(key) for group in (run, baseline))
    return [] if ours == theirs else [Confound(what, _brief(ours), _brief(theirs), blocks)]


def _brief(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())[:60]
    return shown(float(value)) if isinstance(value, int | float) else str(value)[:24]
