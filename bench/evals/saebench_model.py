"""The language model as SAEBench wants it, from local weights; runs under the Python of its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

MODEL = "local"
_POSITIONS = 1024


def hooked_model(job: dict[str, Any], work: Path, dtype: torch.dtype) -> Any:
    """A HookedTransformer of a local Llama.

    Its tokenizer is that of the file which the lab reads, saved anew, because transformer_lens reads it once more from
    where it came from.
    """
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_llama_weights

    c = AutoConfig.from_pretrained(job["model"])
    file = str(Path(job["model"]) / "tokenizer.json")
    PreTrainedTokenizerFast(tokenizer_file=file, **job["special"]).save_pretrained(work / "tokenizer")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(work / "tokenizer")
    cfg = HookedTransformerConfig(
        d_model=c.hidden_size,
        d_head=c.head_dim,
        n_heads=c.num_attention_heads,
        n_key_value_heads=c.num_key_value_heads,
        d_mlp=c.intermediate_size,
        n_layers=c.num_hidden_layers,
        n_ctx=_POSITIONS,
        d_vocab=c.vocab_size,
        eps=c.rms_norm_eps,
        act_fn="silu",
        gated_mlp=True,
        normalization_type="RMS",
        final_rms=True,
        positional_embedding_type="rotary",
        rotary_adjacent_pairs=False,
        rotary_dim=c.head_dim,
        rotary_base=int(job["rope_theta"]),
        original_architecture="LlamaForCausalLM",
        default_prepend_bos=False,
        tokenizer_name="local",
        model_name=MODEL,
        device=job["device"],
        dtype=dtype,
    )
    model = HookedTransformer(cfg, tokenizer=tokenizer)
    weights = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype)
    plain = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")
    model.load_and_process_state_dict(
        convert_llama_weights(weights, cfg),
        refactor_factored_attn_matrices=False,
        **dict.fromkeys(plain, False),
    )
    return model.to(job["device"]).eval()
