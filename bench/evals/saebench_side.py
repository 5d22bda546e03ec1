"""SAEBench 0.6.0 on a job folder; runs under the Python of its environment, with nothing of ours imported.

    .sae-bench-venv/bin/python bench/evals/saebench_side.py JOB_FOLDER

The folder holds `job.json` (see `bench.evals.job`), tokens, texts and SAEs; `theirs.json` is written there: a list of
{"eval", "sae", "seed", "metrics", "seconds", "setup_seconds"}. No hub is asked: the language model is built from local
weights, data-set functions give the folder's texts, and everything else is SAEBench's own code, unchanged.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "WANDB_MODE": "disabled", "TQDM_DISABLE": "1"}

import numpy as np
import pandas as pd
import torch
from saebench_model import MODEL, hooked_model
from safetensors.torch import load_file

# Names that SAEBench's code asks for: it takes texts with two labels from sets of these names only.
PAIRED, CLASSES = "LabHC/bias_in_bios", "LabHC/bias_in_bios_class_set1"


class Side:
    """One job: the model is built once, each evaluation is run for each SAE and seed."""

    def __init__(self, folder: Path, work: Path) -> None:
        self.folder = folder
        self.work = work
        self.job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        self.device = self.job["device"]
        self.dtype = getattr(torch, self.job["dtype"])
        self.layer = self.job["layer"]
        self.now = time.process_time if self.job["cpu_time"] else time.perf_counter
        self.model = hooked_model(self.job, work, self.dtype)
        self.saes = {name: self.sae(name, facts) for name, facts in self.job["saes"].items()}
        self.rows: list[dict[str, Any]] = []

    def sae(self, name: str, facts: dict[str, Any]) -> Any:
        """One of SAEBench's own classes with a job's weights."""
        from sae_bench.custom_saes import jumprelu_sae, relu_sae, topk_sae
        from sae_bench.sae_bench_utils import general_utils

        weights = load_file(self.folder / "saes" / f"{name}.safetensors")
        d_in, d_sae = weights["W_enc"].shape
        place = (MODEL, self.layer, torch.device(self.device), self.dtype)
        kind = facts["architecture"]
        if kind == "topk":
            sae = topk_sae.TopKSAE(d_in, d_sae, facts["k"], *place)
        else:
            sae = {"relu": relu_sae.ReluSAE, "jumprelu": jumprelu_sae.JumpReluSAE}[kind](d_in, d_sae, *place)
        weights = {**weights, "k": sae.k} if kind == "topk" else weights
        sae.load_state_dict(weights)
        sae.to(device=torch.device(self.device), dtype=self.dtype)
        sae.cfg.architecture = kind
        general_utils.load_and_format_sae(name, sae, self.device)
        return sae

    def run(self) -> None:
        """Every evaluation that the job names."""
        for name in ("core", "absorption", "sparse_probing", "scr", "tpp"):
            if self.job.get(name):
                with torch.enable_grad():
                    getattr(self, name)(self.job[name])

    def add(self, name: str, sae: str, seed: int, metrics: dict[str, Any], seconds: float, setup: float) -> None:
        """Keep one score."""
        row = {"eval": name, "sae": sae, "seed": seed, "metrics": metrics}
        self.rows.append({**row, "seconds": seconds, "setup_seconds": setup})
        sys.stderr.write(f"{name} {sae} seed {seed}: {seconds:.1f} s, set-up {setup:.1f} s\n")

    def core(self, settings: dict[str, Any]) -> None:
        """Core has no set-up: the model's own loss and the ablated one are computed again for each SAE."""
        from datasets import Dataset
        from sae_bench.evals.core import main
        from sae_bench.evals.core.eval_config import CoreEvalConfig
        from sae_lens.training.activations_store import ActivationsStore

        tokens = load_file(self.folder / "tokens.safetensors")["tokens"]
        wanted = ("kl", "ce_loss", "l2_norms", "sparsity_metrics", "variance_metrics")
        config = CoreEvalConfig(
            model_name=MODEL,
            batch_size_prompts=settings["batch_size"],
            n_eval_reconstruction_batches=settings["reconstruction_batches"],
            n_eval_sparsity_variance_batches=settings["sparsity_batches"],
            exclude_special_tokens_from_reconstruction=True,
            context_size=tokens.shape[1],
            compute_featurewise_density_statistics=True,
            compute_featurewise_weight_based_metrics=True,
            **{f"compute_{name}": True for name in wanted},
        )
        tokenizer = self.model.tokenizer
        special = {tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id}
        for name, sae in self.saes.items():
            start = self.now()
            store = ActivationsStore.from_sae(
                self.model,
                sae,
                dataset=Dataset.from_dict({"input_ids": tokens.tolist()}),
                context_size=tokens.shape[1],
                streaming=False,
                device=self.device,
            )
            found, by_latent = main.run_evals(sae, store, self.model, config, ignore_tokens=special)
            misc = main.calculate_misc_metrics(by_latent)
            metrics = {key: value for group in found.values() for key, value in group.items()} | misc
            self.add("core", name, 0, metrics, self.since(start), 0.0)

    def absorption(self, settings: dict[str, Any]) -> None:
        """Set-up is the residual probe. Seeds after the first are run for the spread alone, with shortcuts that change
        no number: layers after the hook are left out, and the training words are encoded once."""
        from sae_bench.evals.absorption import common, feature_absorption, k_sparse_probing
        from sae_bench.evals.absorption.main import _aggregate_results_df

        template = settings["prompt_template"]
        common_args = {"prompt_template": template, "prompt_token_pos": self.position(template), "device": self.device}
        for seed in self.job["seeds"]:
            timed = seed == self.job["seeds"][0]
            home = self.work / f"absorption-{seed}"
            with contextlib.ExitStack() as stack:
                for module in (common, feature_absorption):
                    stack.enter_context(
                        patch.object(module, "get_alpha_tokens", lambda _, words=settings["words"][str(seed)]: words)
                    )
                if not timed:
                    stack.enter_context(patch.object(self.model, "run_with_cache", self.up_to_hook()))
                seed_all(seed)
                start = self.now()
                common.load_or_train_probe(
                    self.model,
                    template,
                    common_args["prompt_token_pos"],
                    self.layer,
                    home / "probes",
                    self.dtype,
                    self.device,
                )
                setup = self.since(start)
                for name, sae in self.saes.items():
                    args = {"sae": sae, "model": self.model, "layer": self.layer, "sae_name": name, **common_args}
                    args |= {"max_k_value": settings["max_k"], "probes_dir": home / "probes"}
                    start = self.now()
                    letters = k_sparse_probing.run_k_sparse_probing_experiment(
                        experiment_dir=home / "sparse",
                        f1_jump_threshold=settings["f1_jump_threshold"],
                        k_sparse_probe_l1_decay=settings["sparse_l1"],
                        k_sparse_probe_batch_size=settings["sparse_batch_size"],
                        k_sparse_probe_num_epochs=settings["sparse_epochs"],
                        precalc_k_sparse_probe_sae_acts=not timed,
                        verbose=False,
                        **args,
                    )
                    words = feature_absorption.run_feature_absortion_experiment(
                        experiment_dir=home / "absorption",
                        sparse_probing_experiment_dir=home / "sparse",
                        feature_split_f1_jump_threshold=settings["f1_jump_threshold"],
                        **args,
                    )
                    known = letters[letters["f1_probe"] > settings["min_probe_f1"]]["letter"]
                    rows = _aggregate_results_df(words)
                    rows = rows[rows["letter"].isin(known)]
                    columns = {
                        "absorption_fraction_score": rows["mean_absorption_fraction"],
                        "full_absorption_score": rows["full_absorption_rate"],
                        "num_split_features": rows["num_split_feats"],
                    }
                    metrics = {f"mean_{key}": statistics.mean(values) for key, values in columns.items()}
                    metrics |= {f"std_dev_{key}": statistics.stdev(values) for key, values in columns.items()}
                    self.add("absorption", name, seed, metrics, self.since(start), setup)

    def position(self, template: str) -> int:
        """Where the word stands, counted from the end of the prompt."""
        return -1 - len(self.model.tokenizer(template.split("{word}")[1])["input_ids"])

    def up_to_hook(self) -> Callable[..., Any]:
        """run_with_cache without the layers after the hook, whose results nobody reads."""
        whole = self.model.run_with_cache
        return lambda *args, **kwargs: whole(*args, **{**kwargs, "stop_at_layer": self.layer + 1})

    def sparse_probing(self, settings: dict[str, Any]) -> None:
        """Set-up is the residuals of the texts and the probes on them, which SAEBench keeps in a file."""
        from sae_bench.evals.sparse_probing import main
        from sae_bench.evals.sparse_probing.eval_config import SparseProbingEvalConfig
        from sae_bench.sae_bench_utils import dataset_info, dataset_utils

        sets = {name: self.texts(name) for name in settings["sets"]}
        config = {
            "dataset_names": list(sets),
            "probe_train_set_size": settings["train_size"],
            "probe_test_set_size": settings["test_size"],
            "context_length": settings["context_length"],
            "llm_batch_size": self.job["llm_batch_size"],
            "k_values": settings["k_values"],
        }
        classes = {name: list(train) for name, (train, _) in sets.items()}

        def run(seed: int, home: Path) -> Iterator[tuple[str, dict[str, Any], Any]]:
            cfg = SparseProbingEvalConfig(model_name=MODEL, llm_dtype=self.job["dtype"], random_seed=seed, **config)
            for name, sae in self.saes.items():
                with self.clock(main) as clock:
                    found, _ = main.run_eval_single_sae(cfg, sae, self.model, self.device, str(home))
                yield name, {key: value for key, value in found.items() if not isinstance(value, dict)}, clock

        with (
            patch.object(dataset_utils, "get_multi_label_train_test_data", lambda name, *_: sets[name]),
            patch.dict(dataset_info.chosen_classes_per_dataset, classes),
        ):
            self.seeds("sparse_probing", run)

    def scr(self, settings: dict[str, Any]) -> None:
        """Set-up is the residuals of the texts and the probes on them."""
        from sae_bench.evals.scr_and_tpp import dataset_creation
        from sae_bench.sae_bench_utils import dataset_info

        train, test = self.texts(settings["sets"][0])
        parts = [label.split(" / ") for label in train]
        first, second = (list(dict.fromkeys(column)) for column in zip(*parts))
        frames = {
            split: pd.DataFrame(
                [(text, *label.split(" / ")) for label, texts in data.items() for text in texts],
                columns=["text", "first", "second"],
            )
            for split, data in (("train", train), ("test", test))
        }
        meta = {
            "text_column_name": "text",
            "column1_name": "first",
            "column2_name": "second",
            "column1_mapping": {name: name for name in first},
            "column2_mapping": {name: name for name in second},
        }
        pairs = [tuple(pair) for pair in settings["pairs"]]
        with (
            patch.object(dataset_creation, "load_dataset", lambda _: frames),
            patch.dict(dataset_info.dataset_metadata, {PAIRED: meta}),
        ):
            self.ablations("scr", settings, tuple(settings["spurious"]), {CLASSES: pairs})

    def tpp(self, settings: dict[str, Any]) -> None:
        """Set-up is the residuals of the texts and the probes on them."""
        from sae_bench.sae_bench_utils import dataset_info, dataset_utils

        data = self.texts(settings["sets"][0])
        with (
            patch.object(dataset_utils, "get_multi_label_train_test_data", lambda *_: data),
            patch.dict(dataset_info.chosen_classes_per_dataset, {CLASSES: list(data[0])}),
        ):
            self.ablations("tpp", settings, ("", ""), {})

    def ablations(self, name: str, settings: dict[str, Any], spurious: tuple[str, ...], pairs: dict[str, Any]) -> None:
        """The part that SCR and TPP share."""
        from sae_bench.evals.scr_and_tpp import main
        from sae_bench.evals.scr_and_tpp.eval_config import ScrAndTppEvalConfig

        def run(seed: int, home: Path) -> Iterator[tuple[str, dict[str, Any], Any]]:
            cfg = ScrAndTppEvalConfig(
                model_name=MODEL,
                llm_dtype=self.job["dtype"],
                random_seed=seed,
                dataset_names=[CLASSES],
                perform_scr=name == "scr",
                train_set_size=settings["train_size"],
                test_set_size=settings["test_size"],
                context_length=settings["context_length"],
                llm_batch_size=self.job["llm_batch_size"],
                n_values=settings["n_values"],
                column1_vals_lookup=pairs,
            )
            for sae_name, sae in self.saes.items():
                with self.clock(main) as clock:
                    found, _ = main.run_eval_single_sae(cfg, sae, self.model, self.device, str(home))
                yield sae_name, {key: value for key, value in found.items() if not isinstance(value, dict)}, clock

        with patch.dict(main.COLUMN2_VALS_LOOKUP, {CLASSES: spurious}):
            self.seeds(name, run)

    def seeds(self, name: str, run: Callable[[int, Path], Iterator[tuple[str, dict[str, Any], Any]]]) -> None:
        """Run an evaluation with each seed; the first SAE of each pays for the set-up. Seeds after the first, which
        only give the spread, find the texts' residuals where the first left them."""
        known: dict[bytes, torch.Tensor] = {}
        for seed in self.job["seeds"]:
            home = self.work / f"{name}-{seed}"
            setup = None
            with self.residuals(known) if len(self.job["seeds"]) > 1 else contextlib.nullcontext():
                for sae, metrics, clock in run(seed, home):
                    setup = clock["setup"] if setup is None else setup
                    self.add(name, sae, seed, metrics, clock["total"] - clock["setup"], setup)
            shutil.rmtree(home)

    def residuals(self, known: dict[bytes, torch.Tensor]) -> Any:
        """SAEBench's residuals of texts: all computed while none is known, all looked up after that."""
        from sae_bench.sae_bench_utils import activation_collection

        whole, reuse = activation_collection.get_llm_activations, bool(known)

        def given(tokens: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            texts = [row.numpy().tobytes() for row in tokens.cpu()]
            if reuse:
                return torch.stack([known[text] for text in texts])
            found = whole(tokens, *args, **kwargs)
            known.update(zip(texts, found))
            return found

        return patch.object(activation_collection, "get_llm_activations", given)

    def texts(self, name: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Both splits of a set: texts by label."""
        splits = []
        for split in ("train", "test"):
            found: dict[str, list[str]] = {}
            for line in (self.folder / "texts" / f"{name}.{split}.jsonl").read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                found.setdefault(row["label"], []).append(row["text"])
            splits.append(found)
        return splits[0], splits[1]

    @contextlib.contextmanager
    def clock(self, main: Any) -> Iterator[dict[str, float]]:
        """Seconds of one SAE, and how many of them went into set-up: from a set's beginning to its file's being
        written. Nothing is written, and nothing counted, when the file is there already."""
        seconds = {"setup": 0.0, "total": 0.0}
        begin, before = 0.0, 0.0
        single, save = main.run_eval_single_dataset, torch.save

        def noted(*args: Any, **kwargs: Any) -> Any:
            nonlocal begin, before
            begin, before = self.now(), seconds["setup"]
            return single(*args, **kwargs)

        def saving(*args: Any, **kwargs: Any) -> None:
            save(*args, **kwargs)
            seconds["setup"] = before + self.since(begin)  # saved more than once: pickled probes save their tensors

        start = self.now()
        with patch.object(main, "run_eval_single_dataset", noted), patch.object(torch, "save", saving):
            yield seconds
        seconds["total"] = self.since(start)

    def since(self, start: float) -> float:
        """Seconds since then, the GPU's work included."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        return self.now() - start


def seed_all(seed: int) -> None:
    """Every generator that SAEBench draws from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def main() -> None:
    """Run the job folder named on the command line."""
    folder = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as work, contextlib.redirect_stdout(sys.stderr):
        job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        torch.set_num_threads(job["threads"])
        os.chdir(work)
        side = Side(folder, Path(work))
        side.run()
    (folder / "theirs.json").write_text(json.dumps(side.rows), encoding="utf-8")


if __name__ == "__main__":
    main()
