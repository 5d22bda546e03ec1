"""One shape for all results: parts with scores and directions, and the settings they were got with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard

Better = Literal["higher", "lower"] | None

# Headline metrics of SAEBench by evaluation, with the direction that is better. None is a setting, not a goal.
_HEADLINES: dict[str, dict[str, Better]] = {
    "core": {
        "kl_div_score": "higher",
        "ce_loss_score": "higher",
        "explained_variance": "higher",
        "mse": "lower",
        "cossim": "higher",
        "l0": None,
        "l2_ratio": None,
    },
    "absorption": {
        "mean_absorption_score": "lower",
        "mean_absorption_fraction_score": "lower",
        "mean_full_absorption_score": "lower",
        "mean_num_split_features": "lower",
    },
    "scr": {"scr_metric_threshold_20": "higher", "scr_dir1_threshold_20": "higher", "scr_dir2_threshold_20": "higher"},
    "tpp": {"tpp_threshold_20_total_metric": "higher"},
    "sparse_probing": {
        "sae_top_1_test_accuracy": "higher",
        "sae_top_5_test_accuracy": "higher",
        "sae_test_accuracy": "higher",
    },
    "unlearning": {"unlearning_score": "higher"},
    "autointerp": {"autointerp_score": "higher"},
    "ravel": {"disentanglement_score": "higher", "cause_score": "higher", "isolation_score": "higher"},
    "mdl": {"description_length": "lower", "mse_loss": "lower"},
}
EXPECTED = ("core", "absorption", "scr", "tpp", "sparse_probing", "unlearning")
# What the language model does without an SAE, or with nothing in its place: the same for every SAE.
_NOT_OF_THE_SAE = re.compile(r"^llm_|_with_ablation$|_without_sae$|^l2_norm_in$|^total_tokens_")
_DULL_SETTINGS = {"device", "wandb_name", "submodule_name", "dict_class", "activation_dim", "lm_name", "trainer_class"}
_RENAMED = {"dict_size": "d_sae", "trainer_class": "architecture", "lm_name": "model"}


@dataclass(frozen=True)
class Score:
    """One metric: its full value, the direction that is better, and a remark for the reader."""

    name: str
    value: float
    better: Better
    remark: str = ""


@dataclass
class Part:
    """The scores of one evaluation.

    Attributes:
        scores: the metrics to show.
        exact: all numbers that depend on the SAE, in full, to tell copies from coincidences.
        identity: what was scored: d_sae, architecture, model, layer, or a fingerprint.
        made: when, in seconds since 1970; None where it is not said.
        evaluator: the version of the evaluator; empty where it is not said.
        baseline: what the language model alone gets, by metric.
        remark: for the reader.
        means: by metric, the mean over the details, to be compared with what is reported.
    """

    scores: list[Score] = field(default_factory=list)
    exact: dict[str, float] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)
    made: float | None = None
    evaluator: str = ""
    baseline: dict[str, float] = field(default_factory=dict)
    remark: str = ""
    means: dict[str, float] = field(default_factory=dict)


@dataclass
class Results:
    """The results of one SAE: where they stood, how it was made, and the parts by evaluation.

    `identity` is what training says was made; `disagreeing` are settings that training gives twice, differently.
    """

    title: str = ""
    torn: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)
    disagreeing: list[str] = field(default_factory=list)
    parts: dict[str, Part] = field(default_factory=dict)


def is_number(value: Any) -> TypeGuard[int | float]:
    """A number that is not a truth value; NaN and infinities are numbers here."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def result_of(value: Mapping[str, Any], training: Mapping[str, Any] | None = None, *, title: str = "") -> Results:
    """Bring results of any known kind into one shape.

    Args:
        value: our `results.json`, a dict of SAEBench results by name, or the output of one SAEBench evaluation.
        training: our `training.json`, when it is at hand.
        title: what to call it.
    """
    if "entries" in value:
        return _of_ours(value, training, title)
    result = Results(title)
    parts = {str(value.get("eval_type_id") or "results"): value} if "eval_result_metrics" in value else value
    for name, content in parts.items():
        if not isinstance(content, Mapping):
            continue
        if name.startswith("training"):
            _add_training(result, content)
        else:
            _add_evaluation(result, name, content)
    result.parts = {name: result.parts[name] for name in sorted(result.parts, key=_place)}
    if not result.settings:
        for part in result.parts.values():
            result.settings.update({key: item for key, item in part.identity.items() if key not in result.settings})
    return result


def _place(name: str) -> int:
    names = list(_HEADLINES)
    return names.index(name) if name in names else len(names)


def _add_training(result: Results, content: Mapping[str, Any]) -> None:
    config = _mapping(content.get("config"))
    final = _mapping(content.get("final_info"))
    architecture = str(config.get("trainer_class") or "").replace("Trainer", "")
    identity = {
        "architecture": architecture or None,
        "model": config.get("lm_name"),
        "layer": config.get("layer"),
        "d_sae": config.get("dict_size"),
        "d_in": config.get("activation_dim"),
    }
    result.identity = {name: item for name, item in identity.items() if item is not None}
    shown = {name: item for name, item in result.identity.items() if name != "d_in"}
    more = {name: item for name, item in config.items() if name not in _DULL_SETTINGS and _is_plain(item)}
    result.settings = {**shown, **{_RENAMED.get(name, name): item for name, item in more.items()}}
    if "steps" not in result.settings and is_number(final.get("training_steps")):
        result.settings["steps"] = final["training_steps"]
    if is_number(final.get("final_loss")):
        result.settings["final_loss"] = final["final_loss"]
    for ours, theirs in (
        ("lr", "learning_rate"),
        ("steps", "training_steps"),
        ("dict_size", "dict_size"),
        ("layer", "layer"),
        ("sparsity_penalty", "sparsity_penalty"),
    ):
        first, second = config.get(ours), final.get(theirs)
        if is_number(first) and is_number(second) and not math.isclose(first, second, rel_tol=1e-9):
            result.disagreeing.append(f"{ours} is {plain(first)} in its config and {plain(second)} in its final info")


def _add_evaluation(result: Results, name: str, content: Mapping[str, Any]) -> None:
    kind = str(content.get("eval_type_id") or name)
    groups = _mapping(content.get("eval_result_metrics") or content.get("metrics"))
    flat_groups: dict[str, dict[str, Any]] = {}
    for group, numbers in groups.items():
        found = _mapping(numbers) if isinstance(numbers, Mapping) else {group: numbers}
        flat_groups.setdefault(_part_name(kind, str(group)), {}).update(found)
    for part_name, numbers in (flat_groups or {_part_name(kind, ""): {}}).items():
        part = _part(part_name, numbers)
        cfg = _mapping(content.get("sae_cfg_dict"))
        identity = {
            "architecture": cfg.get("architecture"),
            "model": cfg.get("model_name"),
            "layer": cfg.get("hook_layer"),
            "d_sae": cfg.get("d_sae"),
            "d_in": cfg.get("d_in"),
        }
        part.identity = {key: item for key, item in identity.items() if item is not None}
        made = content.get("datetime_epoch_millis")
        part.made = made / 1000.0 if is_number(made) else None
        part.evaluator = str(content.get("sae_bench_commit_hash") or "")[:7]
        _add_details(part, part_name, content.get("eval_result_details"))
        scored_on = _mapping(content.get("eval_config")).get("model_name")
        if scored_on and cfg.get("model_name") and scored_on != cfg.get("model_name"):
            part.remark = f"on {scored_on}"
        result.parts[part_name] = part


def _part_name(kind: str, group: str) -> str:
    for text in (group, kind):
        for name in _HEADLINES:
            if text.lower().replace(" ", "_").startswith(name):
                return name
    return kind


def _part(name: str, numbers: Mapping[str, Any]) -> Part:
    values = {str(key): float(item) for key, item in numbers.items() if is_number(item)}
    part = Part(
        exact={key: item for key, item in values.items() if not _NOT_OF_THE_SAE.search(key)},
        baseline={key: item for key, item in values.items() if key.startswith("llm_")},
    )
    known = _HEADLINES.get(name)
    names = [key for key in known if key in values] if known is not None else list(values)
    if "scr_metric_threshold_20" in names:
        names = ["scr_metric_threshold_20"]
    for key in names:
        better = known[key] if known is not None else None
        part.scores.append(Score(key, values[key], better, _beside(key, values)))
    return part


def _beside(name: str, values: Mapping[str, float]) -> str:
    """The numbers that a metric should be read beside."""
    if name == "kl_div_score" and "kl_div_with_sae" in values:
        return f"KL {plain(values['kl_div_with_sae'])}"
    if name == "ce_loss_score" and {"ce_loss_with_sae", "ce_loss_without_sae"} <= values.keys():
        return f"CE {plain(values['ce_loss_with_sae'])}, without SAE {plain(values['ce_loss_without_sae'])}"
    alone = values.get(name.replace("sae_", "llm_", 1)) if name.startswith("sae_") else None
    return f"LLM {plain(alone)}" if alone is not None else ""


def _add_details(part: Part, name: str, details: Any) -> None:
    rows = [row for row in details if isinstance(row, Mapping)] if isinstance(details, list) else []
    if not rows:
        return
    if name == "absorption":
        part.remark = f"{len(rows)} letters"
    renamed = {"absorption_rate": "mean_absorption_score", "num_split_features": "mean_num_split_features"}
    for key in rows[0]:
        values = [row[key] for row in rows if is_number(row.get(key))]
        if len(values) == len(rows):
            part.means[renamed.get(str(key), str(key))] = sum(values) / len(values)


def _of_ours(value: Mapping[str, Any], training: Mapping[str, Any] | None, title: str) -> Results:
    result = Results(title)
    for name, item in (("profile", value.get("profile")), *_settings_of_ours(training or {}).items()):
        if item is not None:
            result.settings[name] = item
    if value.get("sae"):
        result.identity["weights"] = value["sae"]
    for name, entry in _mapping(value.get("entries")).items():
        if not isinstance(entry, Mapping):
            continue
        key = _mapping(entry.get("key"))
        part = Part(
            identity={"weights": key["sae"]} if key.get("sae") else {}, evaluator=str(key.get("evaluator") or "")
        )
        metrics = {
            str(metric): item for metric, item in _mapping(entry.get("metrics")).items() if isinstance(item, Mapping)
        }
        headlines = {metric for metric, item in metrics.items() if item.get("headline")}
        for metric, item in metrics.items():
            number = item.get("value")
            if not is_number(number):
                continue
            part.exact[metric] = float(number)
            if not headlines or metric in headlines:
                better: Better = item["better"] if item.get("better") in ("higher", "lower") else None
                part.scores.append(Score(metric, float(number), better, str(item.get("unit") or "")))
        result.parts[str(name)] = part
    return result


def _settings_of_ours(training: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: training.get(name) for name in ("architecture", "profile")}
    run = {name: training.get(name) for name in ("seed", "steps", "batch_size", "tokens", "seconds")}
    own = {name: item for name, item in _mapping(training.get("settings")).items() if _is_plain(item)}
    losses = _mapping(training.get("curves")).get("loss")
    last = losses[-1] if isinstance(losses, list) and losses and is_number(losses[-1]) else None
    return {**named, **own, **run, "final_loss": last}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_plain(value: Any) -> bool:
    return is_number(value) or isinstance(value, bool) or (isinstance(value, str) and 0 < len(value) <= 40)


def plain(value: Any) -> str:
    """A number as it is shown: four significant digits, whole above a thousand, integers in full."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        if abs(value) >= 1000 or value == int(value):
            return f"{value:.0f}"
        return f"{value:.4g}"
    return str(value)
