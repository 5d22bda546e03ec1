"""The job of both sides: model, texts, words and SAEs in one folder, and the same settings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.evals import saes
from bench.evals.plan import Plan
from bench.evals.saes import Sae
from lab import embedded, labelled
from lab.evals import load
from lab.evals.base import Context, read_settings
from lab.evals.words import alphabetic_words, split_words
from lab.settings import Profile, load_profile

BASE = "smollm2"
_LLM_BATCH = 32  # texts that SAEBench runs through the model at a time; its own choice for gemma-2-2b
_SOFTER = 0.2
_PAIRED_TEXTS = "paired"
_SPARE = 1  # SAEBench wants more texts of a quadrant than it uses


def model(plan: Plan, folder: Path) -> Path:
    """The folder of the model under study: the embedded one, its first layers, or one with random weights."""
    whole, _ = embedded.converted(load_profile(BASE).subject.name)
    if not plan.depth and not plan.model:
        return whole
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    if plan.model:
        torch.manual_seed(0)
        dtype = getattr(torch, plan.dtype)
        config = LlamaConfig(**plan.model, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=2)
        found: Any = LlamaForCausalLM(config).to(dtype)
    else:
        found = AutoModelForCausalLM.from_pretrained(whole, num_hidden_layers=plan.depth)
        # Early layers read by the last norm are far too sure of themselves: SAEBench's softmax would round to 0.
        found.model.norm.weight.data *= _SOFTER
    found.save_pretrained(folder / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(whole / name, folder / "model")
    return folder / "model"


def profile(plan: Plan, path: Path) -> Profile:
    """The lab's settings: a local model, and whole contexts, so that no text is padded."""
    base = load_profile(BASE)
    change = {
        "subject": {"source": "hub", "name": str(path), "layer": plan.layer, "dtype": plan.dtype},
        "corpus": {"context": plan.context, "min_tokens": plan.context},
        "activations": {"tokens": plan.tokens},
    }
    return base.model_copy(
        update={name: getattr(base, name).model_copy(update=values) for name, values in change.items()}
    )


def write(
    plan: Plan, ctx: Context, folder: Path, evals: Sequence[str], chosen: Mapping[str, Sae], acts: Tensor
) -> None:
    """Fill a job folder: `job.json`, `tokens.safetensors`, `texts/`, `saes/` for SAEBench, `runs/` for the lab.

    Args:
        plan: the sizes.
        ctx: with the model under study.
        folder: an empty folder.
        evals: which evaluations will be run.
        chosen: the SAEs, by name.
        acts: some residuals [n, d_model], on which each is checked when it is saved.
    """
    for name, sae in chosen.items():
        saes.write(sae, name, folder, acts)
    config, tokenizer = ctx.subject.model.config, ctx.subject.tokenizer
    job: dict[str, Any] = {
        "model": config.name_or_path,
        "rope_theta": config.rope_parameters["rope_theta"],
        "special": {name: getattr(tokenizer, name) for name in ("bos_token", "eos_token", "pad_token")},
        "layer": plan.layer,
        "dtype": plan.dtype,
        "device": str(ctx.device),
        "threads": torch.get_num_threads(),
        "saes": {name: {"architecture": sae.kind, "k": sae.k} for name, sae in chosen.items()},
        "seeds": plan.seeds,
        "cpu_time": plan.cpu_time,
        "llm_batch_size": _LLM_BATCH,
    }
    (folder / "texts").mkdir()
    for name in evals:
        job[name] = _WRITERS[name](plan, ctx, folder)
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")


def settings(plan: Plan, name: str, folder: Path) -> Any:
    """An evaluation's settings: SAEBench's defaults with the plan's, its texts being those of the folder."""
    values = dict(plan.evals[name])
    if "sets" in values:
        values["sets"] = tuple(_in(folder, each) for each in values["sets"])
    if "pairs" in values:
        values["pairs"] = tuple(f"{_in(folder, _PAIRED_TEXTS)}: {each.rpartition(': ')[2]}" for each in values["pairs"])
    return read_settings(load(name), name, values)


def _in(folder: Path, name: str) -> str:
    return f"{labelled.FOLDER}{folder / 'texts' / _slug(name)}"


def _slug(name: str) -> str:
    return name.rpartition(":")[2]


def _core(plan: Plan, ctx: Context, folder: Path) -> dict[str, Any]:
    chosen = settings(plan, "core", folder)
    tokens = ctx.held_out(chosen.batch_size * chosen.sparsity_batches)
    save_file({"tokens": tokens}, folder / "tokens.safetensors")
    return vars(chosen)


def _absorption(plan: Plan, ctx: Context, folder: Path) -> dict[str, Any]:
    """A seed draws the words too: SAEBench gets those of the lab's seed of the same number."""
    chosen = settings(plan, "absorption", folder)
    words = alphabetic_words(ctx.subject.tokenizer, chosen.prompt_template, lower=chosen.lower)
    drawn = {}
    for seed in plan.seeds:
        parts = split_words(
            words,
            examples=chosen.examples,
            most=chosen.max_words,
            train_fraction=chosen.train_fraction,
            seed=seed,
            per_letter=chosen.per_letter,
        )
        drawn[seed] = [word.text for part in parts for word in part]
    return {**vars(chosen), "words": drawn}


def _probing(plan: Plan, ctx: Context, folder: Path) -> dict[str, Any]:
    chosen = settings(plan, "sparse_probing", folder)
    return {**vars(chosen), "sets": _write_sets(plan.evals["sparse_probing"], folder)}


def _tpp(plan: Plan, ctx: Context, folder: Path) -> dict[str, Any]:
    chosen = settings(plan, "tpp", folder)
    return {**vars(chosen), "sets": _write_sets(plan.evals["tpp"], folder)}


def _scr(plan: Plan, ctx: Context, folder: Path) -> dict[str, Any]:
    (pair,) = plan.evals["scr"]["pairs"]
    name, _, labels = pair.rpartition(": ")
    first, second = (side.split(labelled.BETWEEN) for side in labels.split(", "))
    quadrants = [f"{a}{labelled.BETWEEN}{b}" for a in first for b in second]
    _write_set(name, _PAIRED_TEXTS, plan.evals["scr"], folder, quadrants, spare=_SPARE)
    return {**vars(settings(plan, "scr", folder)), "sets": [_PAIRED_TEXTS], "pairs": [first], "spurious": second}


def _write_sets(values: Mapping[str, Any], folder: Path) -> list[str]:
    for name in values["sets"]:
        _write_set(name, _slug(name), values, folder)
    return [_slug(name) for name in values["sets"]]


def _write_set(
    source: str, name: str, values: Mapping[str, Any], folder: Path, classes: Sequence[str] = (), spare: int = 0
) -> None:
    """Texts of a labelled set as lines of JSON, equally many of each class."""
    sizes = {split: values[f"{split}_size"] + 2 * spare for split in ("train", "test")}
    data = labelled.load(source, train_size=sizes["train"], test_size=sizes["test"], classes=classes)
    for split, texts in (("train", data.train), ("test", data.test)):
        if short := [label for label, found in texts.items() if len(found) < sizes[split] // 2]:
            raise ValueError(f"{source}: too few {split} texts of {', '.join(short)}: make the plan smaller")
        lines = [json.dumps({"text": text, "label": label}) for label, found in texts.items() for text in found]
        (folder / "texts" / f"{name}.{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


_WRITERS = {"core": _core, "absorption": _absorption, "sparse_probing": _probing, "scr": _scr, "tpp": _tpp}
