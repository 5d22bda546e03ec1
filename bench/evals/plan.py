"""The size of a bench: of the model, of the SAEs and of the texts, in the lab's own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lab.evals.ablation import N_VALUES

EVALS = ("core", "absorption", "sparse_probing", "scr", "tpp")
SEEDS = (42, 43, 44, 45, 46)
NEWS, CODE = "sae-probes:97_news_class", "sae-probes:code"
REVIEWS = "sae-probes:reviews: yelp / amazon, positive / negative"


@dataclass(frozen=True)
class Plan:
    """Sizes of one bench.

    `model` holds the dimensions of a model with random weights (fields of a Llama's config), or nothing for the
    embedded one, of whose layers the first `depth` are kept (0: all). The SAEs read the residual stream after `layer`.
    Texts have `context` tokens. `d_sae`, `k` and training `steps` are the dictionary's (0 steps: random directions),
    trained on `tokens` residuals. `seeds` are those of whatever draws samples or trains probes. `evals` are settings by
    evaluation. With `cpu_time` seconds are those of the processor (all threads), for a machine that has other work too.
    """

    layer: int
    context: int
    d_sae: int
    k: int
    evals: Mapping[str, Mapping[str, Any]]
    depth: int = 0
    steps: int = 300
    tokens: int = 30_000
    seeds: tuple[int, ...] = SEEDS
    dtype: str = "float32"
    cpu_time: bool = False
    model: Mapping[str, Any] = field(default_factory=dict)


def _texts(
    train: int, test: int, context: int, sets: tuple[str, ...] = (NEWS, CODE), n_values: tuple[int, ...] = N_VALUES
) -> dict[str, dict[str, Any]]:
    """Settings of the three evaluations that read labelled texts."""
    sizes = {"train_size": train, "test_size": test, "context_length": context}
    return {
        "sparse_probing": {"sets": sets, **sizes},
        "scr": {"pairs": (REVIEWS,), "n_values": n_values, **sizes},
        "tpp": {"sets": (NEWS,), "n_values": n_values, **sizes},
    }


# Few words leave many letters without a good probe; both sides keep each that is ever right.
# SAEBench starts the probe that ranks latents at random.
_ABSORPTION = {"per_letter": 12, "min_letters": 1, "min_probe_f1": 0.0, "zero_start": False}

# The hook is in the middle of the model, as SAEBench has it on gemma-2-2b (layer 12 of 26).
FULL = Plan(
    layer=5,
    depth=12,
    context=128,
    d_sae=768,
    k=32,
    tokens=20_000,
    evals={
        "core": {"batch_size": 4, "reconstruction_batches": 1, "sparsity_batches": 8},
        "absorption": {**_ABSORPTION, "per_letter": 8},
        **_texts(120, 60, 32),
    },
)
QUICK = Plan(
    layer=1,
    depth=4,
    context=64,
    d_sae=512,
    k=16,
    steps=100,
    tokens=10_000,
    seeds=SEEDS[:3],
    evals={
        "core": {"batch_size": 4, "reconstruction_batches": 1, "sparsity_batches": 4},
        "absorption": _ABSORPTION,
        **_texts(120, 100, 24),
    },
)

# What the tests hold as data, on the model and layer of their profile.
PARITY = Plan(
    layer=2,
    context=64,
    d_sae=64,
    k=8,
    tokens=20_000,
    evals={
        "core": {"batch_size": 2, "reconstruction_batches": 1, "sparsity_batches": 4},
        "absorption": _ABSORPTION,
        **_texts(80, 80, 16, sets=(NEWS,), n_values=(2, 5, 10, 20, 50)),
    },
)

_GEMMA = {
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "vocab_size": 256_000,
}
# gemma-2-2b's dimensions in a Llama with random weights: the cost of its layers and of its output matrix, no hub.
GEMMA = Plan(
    layer=12,
    context=128,
    d_sae=16_384,
    k=80,
    steps=0,
    tokens=10_000,
    seeds=SEEDS[:1],
    dtype="bfloat16",
    model=_GEMMA,
    evals={
        "core": {"batch_size": 16, "reconstruction_batches": 20, "sparsity_batches": 100},
        "absorption": {**_ABSORPTION, "per_letter": 100},
        **_texts(400, 200, 128),
    },
)
_TINY = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4, "head_dim": 32, "vocab_size": 49_152}
# The same path in a minute on two cores, to see that it runs.
GEMMA_SMALL = replace(
    GEMMA,
    layer=1,
    context=32,
    d_sae=512,
    k=16,
    tokens=2_000,
    dtype="float32",
    model={**_GEMMA, **_TINY, "num_attention_heads": 4, "num_key_value_heads": 2},
    evals={
        "core": {"batch_size": 4, "reconstruction_batches": 1, "sparsity_batches": 2},
        "absorption": {**_ABSORPTION, "per_letter": 6},
        **_texts(40, 40, 16),
    },
)
