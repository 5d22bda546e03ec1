"""The adoption of SAEs from elsewhere into a run folder: SAELens' and dictionary_learning's files, local or on a hub.

What is written is what a run of this lab writes (`lab.artifact`), so everything that scores a run scores it. No code of
theirs is run and nothing is unpickled but plain tensors.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import artifact, cache, hub
from lab import dictionary_learning_format as dictionary_learning
from lab import sae_lens_format as sae_lens
from lab.errors import LabError
from lab.foreign import Foreign
from lab.place import check_place
from lab.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from lab.artifact import Artifact
    from lab.evals.base import Context

_FILES = (sae_lens.SETTINGS, sae_lens.WEIGHTS, dictionary_learning.SETTINGS, dictionary_learning.WEIGHTS)
_HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?P<inside>(/[^/@]+)*)(@(?P<revision>[^@]+))?")
_TEXTS = 4  # of held-out text, whose activations the converted SAE is checked on


def adopt(source: str, run_dir: Path, ctx: Context, input_scale: float | None = None) -> Artifact:
    """Write `run_dir/sae/` from another library's SAE; what is there from the same files is kept.

    Args:
        source: a folder with SAELens' or dictionary_learning's files, or a hub's `owner/repository`, with the path of
            the folder inside it and `@revision` where needed: `owner/repository/some/folder@main`.
        run_dir: a folder of the SAE's own.
        ctx: the model and text it shall be scored with; the converted SAE is checked on activations of theirs.
        input_scale: the factor its activations were scaled by in training, for an SAE whose files say that there was
            one and not which.

    Raises:
        LabError: the files are not there, damaged or of a kind that has no form here; the SAE reads another place or
            width than the model has; or `run_dir` holds another SAE.
    """
    folder = find(source)
    origin: dict[str, Any] = {
        "name": source,
        "files": {name: cache.hash_file(folder / name) for name in _present(folder)},
    }
    if input_scale is not None:
        origin["input_scale"] = input_scale
    target = run_dir / "sae"
    if target.exists():
        if _origin(target) == origin:
            return artifact.load(target, ctx.device)
        raise LabError(f"{target} holds another SAE already: give a new folder")
    try:
        foreign = read(folder)
        scale = _scale(foreign, input_scale)
        module = foreign.module()
    except LabError as error:
        raise LabError(_named(source, error)) from error
    meta = {**foreign.facts, "architecture": foreign.architecture, "source": origin, "profile": ctx.profile.name}
    if foreign.k is not None:
        meta["k"] = foreign.k
    check_place(source, module.W_dec.shape[1], meta.get("hook"), ctx.subject.d_model, ctx.profile)
    with Progress(f"bringing in {source}"):
        try:
            artifact.save(target, module, input_scale=scale, meta=meta, sample_acts=_real_acts(ctx))
        except LabError as error:
            raise LabError(_named(source, error)) from error
    return artifact.load(target, ctx.device)


def read(folder: Path) -> Foreign:
    """Whatever SAE a folder holds.

    Raises:
        LabError: it holds none, or one that has no form here.
    """
    there = _present(folder)
    if sae_lens.WEIGHTS in there and sae_lens.SETTINGS in there:
        return sae_lens.from_sae_lens(folder)
    if dictionary_learning.WEIGHTS in there and dictionary_learning.SETTINGS in there:
        return dictionary_learning.from_dictionary_learning(folder)
    if (folder / artifact.CARD).is_file():
        raise LabError(f"{folder} is an SAE of this lab: give its run's folder without --sae")
    if (folder / "sae" / artifact.CARD).is_file():
        raise LabError(f"{folder} is a run of this lab: give it without --sae")
    raise LabError(
        f"{folder} holds no SAE: SAELens' {sae_lens.SETTINGS} and {sae_lens.WEIGHTS}, or dictionary_learning's "
        f"{dictionary_learning.SETTINGS} and {dictionary_learning.WEIGHTS}, are needed"
    )


def find(source: str) -> Path:
    """The folder of a source; one on a hub is fetched, and kept in the hub's own cache.

    Raises:
        LabError: there is no such folder, and the hub has none or cannot be reached.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    parts = _HUB_NAME.fullmatch(source)
    if parts is None or folder.exists():
        raise LabError(f"no SAE at {source}: give a folder, or a hub's owner/repository[/folder][@revision]")
    from huggingface_hub import errors, snapshot_download

    inside = parts["inside"].strip("/")
    patterns = [f"{inside}/{name}" if inside else name for name in _FILES]
    try:
        got = Path(snapshot_download(parts["repo"], revision=parts["revision"], allow_patterns=patterns)) / inside
    except (OSError, ValueError, errors.HfHubHTTPError) as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        why = hub.reason(error, "SAE") or f"{line:.200} (check the network, and HF_TOKEN)"
        raise LabError(f"no folder {source} here, and fetching it from the hub failed: {why}") from error
    if not got.is_dir() or not _present(got):
        raise LabError(f"{parts['repo']} on the hub has no SAE in {inside or 'its first folder'}: name the right one")
    return got


def _scale(foreign: Foreign, input_scale: float | None) -> float:
    if foreign.scaled and input_scale is None:
        raise LabError(
            "its settings say that activations were scaled to a mean norm (expected_average_only_in) and not by what "
            "factor: give it by --input-scale, or 1 where it is folded into the weights"
        )
    if input_scale is not None and not 0 < input_scale < float("inf"):
        raise LabError(f"--input-scale must be a number above 0, not {input_scale}")
    return input_scale or 1.0


def _present(folder: Path) -> list[str]:
    return [name for name in _FILES if (folder / name).is_file()]


def _origin(folder: Path) -> Any:
    try:
        return json.loads((folder / artifact.CARD).read_text(encoding="utf-8")).get("source")
    except (OSError, ValueError, AttributeError):
        return None


def _named(source: str, error: LabError) -> str:
    return str(error) if source in str(error) else f"{source}: {error}"


def _real_acts(ctx: Context) -> Tensor:
    """[n, d_model] activations of held-out text, raw, without those that no SAE is trained on."""
    tokens = ctx.held_out(_TEXTS)
    resid = ctx.subject.residuals(tokens)
    limits = ctx.profile.activations
    mask = ctx.subject.usable(resid, tokens, outlier_factor=limits.outlier_factor, drop_first=limits.drop_first)
    return resid[mask].float().cpu()
