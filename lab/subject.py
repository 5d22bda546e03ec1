"""The language model under study: residuals after one layer, and logits from given residuals."""

from __future__ import annotations

import copy
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lab import cache, embedded, hub
from lab.devices import choose_device
from lab.errors import LabError
from lab.imports import importing
from lab.settings import SubjectSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_BF16_GAIN = 1.25  # bfloat16 rounds to 8 bits: on a CPU it must be clearly faster to be worth that


@dataclass(frozen=True)
class Prefix:
    """Text computed once, to be continued by many batches.

    `length` is its number of tokens; `state` holds the keys and values of the layers up to the hooked one, or of all.
    """

    length: int
    state: Any


class Subject:
    """A causal language model cut after one layer. Make it with `load_subject`.

    Attributes: `name`, `layer` (from 0), `d_model`, `vocab` (rows of the output), `device`, `dtype`, `tokenizer`,
    `model` (the whole transformers model, in eval mode), `fingerprint` (of weights, layer, dtype, device type and
    library versions).
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: SubjectSettings, weights_hash: str
    ) -> None:
        base = model.base_model
        layers = getattr(base, "layers", None)
        if not isinstance(layers, nn.ModuleList) or not hasattr(base, "norm"):
            raise LabError(f"{settings.name} is a {type(model).__name__}: only models with layers and a norm are read")
        depth = len(layers)
        if settings.layer >= depth:
            raise LabError(f"subject.layer is {settings.layer}, and {settings.name} has layers 0 to {depth - 1}")
        self.name = settings.name
        self.layer = settings.layer
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.d_model = int(model.config.hidden_size)
        self.vocab = int(model.get_output_embeddings().weight.shape[0])
        self.device = next(model.parameters()).device
        self.dtype = next(model.parameters()).dtype
        self.fingerprint = _identity(weights_hash, settings.layer, self.dtype, self.device)
        self._base = base
        self._layers = layers
        self._trunk = _with(base, layers=nn.ModuleList(list(layers)[: self.layer + 1]), norm=nn.Identity())

    @cached_property
    def special_ids(self) -> Tensor:
        """Ids of the special tokens (padding among them), int64, on the subject's device."""
        return torch.tensor(sorted(set(self.tokenizer.all_special_ids)), device=self.device)

    @property
    def bos_id(self) -> int | None:
        """The token that the tokenizer puts before a text, None when it adds none."""
        ids = self.tokenizer("a")["input_ids"]
        return int(ids[0]) if len(ids) > 1 and ids[0] == self.tokenizer.bos_token_id else None

    @property
    def pad_id(self) -> int:
        """The token that fills a block; the end-of-text token where the tokenizer has no padding token."""
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad is None else pad)

    @torch.no_grad()
    def residuals(self, tokens: Tensor, prefix: Prefix | None = None) -> Tensor:
        """The residual stream after the hooked layer; later layers are not computed.

        Args:
            tokens: [batch, ctx] int64. Pad on the right: attention is causal, so padding changes nothing before it.
            prefix: text that every row continues, from `prefix()`.

        Returns:
            [batch, ctx, d_model] in the subject's dtype, for `tokens` only.
        """
        tokens = tokens.to(self.device)
        resid: Tensor = self._trunk(input_ids=tokens, **_after(prefix, len(tokens))).last_hidden_state
        return resid

    @torch.no_grad()
    def prefix(self, tokens: Tensor, *, whole: bool = False) -> Prefix:
        """Compute a text once whose continuations are then cheap.

        Args:
            tokens: [ctx] or [1, ctx] int64.
            whole: through all layers, so that `logits_from` can go on from it too.
        """
        tokens = tokens.to(self.device).reshape(1, -1)
        state = (self._base if whole else self._trunk)(input_ids=tokens, use_cache=True).past_key_values
        return Prefix(tokens.shape[1], state)

    @torch.no_grad()
    def logits(self, tokens: Tensor) -> Tensor:
        """The whole model's logits, [batch, ctx, vocab], for tokens [batch, ctx]."""
        logits: Tensor = self.model(input_ids=tokens.to(self.device), use_cache=False).logits
        return logits

    def logits_from(self, resid: Tensor, *, at: Tensor | None = None, prefix: Prefix | None = None) -> Tensor:
        """Logits when the residual stream after the hooked layer is `resid`; earlier layers are not computed.

        The skipped layers stay in the list as pass-through modules: a later layer keeps its index, and with it the kind
        of attention that Gemma 2 alternates. Gradients flow back to `resid` where it asks for them.

        Args:
            resid: [batch, ctx, d_model], any float dtype.
            at: [batch] int64, the one position of each row whose logits are wanted; None for all.
            prefix: text that every row continues, from ``prefix(..., whole=True)``.

        Returns:
            [batch, ctx, vocab] in the subject's dtype; [batch, vocab] with `at`.
        """
        resid = resid.to(self.device, self.dtype)
        skipped: list[nn.Module] = [_Skip() for _ in range(self.layer)]
        layers = nn.ModuleList([*skipped, _Give(resid), *list(self._layers)[self.layer + 1 :]])
        base = _with(self._base, layers=layers)
        if at is not None:
            base = _At(base, at.to(self.device))
        head = _with(self.model, **{self.model.base_model_prefix: base})
        logits: Tensor = head(inputs_embeds=resid, **_after(prefix, len(resid))).logits
        return logits if at is None else logits[:, 0]

    def usable(
        self,
        resid: Tensor,
        tokens: Tensor | None = None,
        *,
        median_norm: float | None = None,
        outlier_factor: float = 5.0,
        drop_first: bool = True,
    ) -> Tensor:
        """The positions that an SAE is trained on and may replace.

        Left out are position 0 and norms far above the median (massive activations carry no feature and would rule a
        squared error), and special tokens.

        Args:
            resid: [batch, ctx, d_model].
            tokens: [batch, ctx] int64; without them special tokens cannot be told.
            median_norm: the store's `median_norm`; by default that of these positions.
            outlier_factor: how many medians are too many.
            drop_first: whether position 0 is left out.

        Returns:
            Bool mask [batch, ctx] on resid's device.
        """
        norms = resid.float().norm(dim=-1)
        mask = torch.ones_like(norms, dtype=torch.bool)
        if tokens is not None:
            mask &= ~torch.isin(tokens.to(resid.device), self.special_ids.to(resid.device))
        if drop_first:
            mask[:, 0] = False
        if median_norm is None:
            median_norm = float(norms[mask].median()) if bool(mask.any()) else float("inf")
        counted: Tensor = mask & (norms <= outlier_factor * median_norm)
        return counted

    def bridge(self) -> Any:
        """The same weights as a transformer_lens TransformerBridge, for people who know its hooks.

        `blocks.L.hook_resid_post` is what `residuals` returns for layer L, up to the rounding of another attention
        kernel.
        """
        from transformer_lens.model_bridge import TransformerBridge

        path = self.model.config.name_or_path
        return TransformerBridge.boot_transformers(
            path, hf_model=copy.deepcopy(self.model), tokenizer=self.tokenizer, device=self.device, dtype=self.dtype
        )


class _Skip(nn.Module):
    """A layer that was computed elsewhere."""

    def forward(self, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        return hidden_states


class _Give(nn.Module):
    """A layer whose output is known."""

    def __init__(self, resid: Tensor) -> None:
        super().__init__()
        self.resid = resid

    def forward(self, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        return self.resid


class _At(nn.Module):
    """A model of which one position of each row is wanted, so that the output matrix is applied to no other."""

    def __init__(self, base: nn.Module, at: Tensor) -> None:
        super().__init__()
        self.base = base
        self.at = at

    def forward(self, **inputs: Any) -> Any:
        output = self.base(**inputs)
        rows = torch.arange(len(self.at), device=self.at.device)
        output.last_hidden_state = output.last_hidden_state[rows, self.at][:, None]
        return output


def _after(prefix: Prefix | None, rows: int) -> dict[str, Any]:
    """The input of a model that continues a prefix in each of so many rows; the prefix itself is not changed."""
    if prefix is None:
        return {"use_cache": False}
    state = copy.deepcopy(prefix.state)
    state.batch_repeat_interleave(rows)
    return {"past_key_values": state, "use_cache": True}


def _with(module: nn.Module, **children: nn.Module) -> Any:
    """A copy of a module that shares everything with it but the named children; the module itself is not changed."""
    twin = copy.copy(module)
    twin._modules = {**module._modules, **children}
    return twin


def load_subject(settings: SubjectSettings, device: str | None = None) -> Subject:
    """Load the model under study.

    Args:
        settings: which model, layer and dtype.
        device: "cpu", "cuda", "cuda:1" …; by default CUDA where there is one.

    Raises:
        LabError: the model cannot be had: no package, no network, gated, no token, or no such device or layer.
    """
    place = choose_device(device)
    if settings.source == "embedded":
        # Nothing here is on the hub; a stray look-up would only stall a machine without a network.
        if "huggingface_hub" not in sys.modules:
            os.environ["HF_HUB_OFFLINE"] = "1"
        folder, weights_hash = embedded.converted(settings.name)
        model, tokenizer = _read(str(folder), settings, place)
        return Subject(model, tokenizer, settings, weights_hash)
    model, tokenizer = _reading_hub(settings.name, lambda: _read(settings.name, settings, place))
    return Subject(model, tokenizer, settings, _hub_hash(settings.name) or settings.name)


def subject_fingerprint(settings: SubjectSettings, device: str | None = None) -> str | None:
    """The fingerprint that `load_subject(settings, device)` would have, without loading the model.

    An embedded model is converted for it when that was not done yet. None: a hub's model that was not fetched yet.
    """
    place = choose_device(device)
    weights_hash = embedded.converted(settings.name)[1] if settings.source == "embedded" else _hub_hash(settings.name)
    if weights_hash is None:
        return None
    return _identity(weights_hash, settings.layer, choose_dtype(settings.dtype, place), place)


def _identity(weights_hash: str, layer: int, dtype: torch.dtype, device: torch.device) -> str:
    """All that residuals depend on."""
    return cache.fingerprint(
        {
            "weights": weights_hash,
            "layer": layer,
            "dtype": str(dtype),
            "device": device.type,
            "torch": torch.__version__,
            "transformers": importlib.metadata.version("transformers"),
        }
    )


def _read(
    path: str, settings: SubjectSettings, device: torch.device
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    # The model's own modules are imported by the first call that needs them.
    with importing():
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        tokenizer = AutoTokenizer.from_pretrained(path)
        model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=choose_dtype(settings.dtype, device))
    return model.to(device), tokenizer


def _reading_hub(
    name: str, read: Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerBase]]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read a hub model and put what goes wrong there into words a user can act on."""
    try:
        return read()
    except (OSError, ValueError) as error:
        line = f"{(str(error).strip() or type(error).__name__).splitlines()[0]:.200}"
        plain = f"{line} (a gated model needs HF_TOKEN)" if isinstance(error, OSError) else line
        hint = hub.reason(error, "model") or plain
        raise LabError(f"cannot load {name}: {hint}") from error


def _hub_hash(name: str) -> str | None:
    """The identity of the weights: a local folder's bytes, or the commit of the hub's copy here, if there is one."""
    folder = Path(name)
    if folder.is_dir():
        files = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".json"))
        return cache.fingerprint({path.name: cache.hash_file(path) for path in files})
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    return f"{name}@{Path(config).parent.name}" if isinstance(config, str) else None


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """The dtype to compute in.

    Args:
        wanted: "float32", "bfloat16", or "auto": bfloat16 on CUDA, and on a CPU what a short measurement finds faster.
        device: where the model will be.
    """
    if wanted in DTYPES:
        return DTYPES[wanted]
    if device.type != "cpu":
        return torch.bfloat16
    key = {"cpu": _cpu_name(), "torch": torch.__version__, "threads": torch.get_num_threads(), "measure": 1}
    folder = cache.entry("dtype", key, lambda part: cache.write_json(part / "seconds.json", _measure()))
    seconds = cache.read_json(folder / "seconds.json")
    return torch.bfloat16 if seconds["bfloat16"] * _BF16_GAIN < seconds["float32"] else torch.float32


def _measure() -> dict[str, float]:
    """Seconds of one layer's forward pass in each dtype, the better of two."""
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        vocab_size=64, hidden_size=576, intermediate_size=1536, num_hidden_layers=1, num_attention_heads=9
    )
    tokens = torch.zeros(4, 128, dtype=torch.int64)
    found = {}
    for name, dtype in DTYPES.items():
        model: Any = LlamaModel(config).eval()
        model.to(dtype)
        times = []
        with torch.inference_mode():
            for _ in range(3):
                start = time.perf_counter()
                model(input_ids=tokens, use_cache=False)
                times.append(time.perf_counter() - start)
        found[name] = min(times[1:])
    return found


def _cpu_name() -> str:
    """The processor and what it can do: the same name may come with other instruction sets in a virtual machine."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return f"{platform.machine()} {platform.processor()}"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return f"{fields.get('model name', platform.machine())} {cache.fingerprint(fields.get('flags', ''))}"
