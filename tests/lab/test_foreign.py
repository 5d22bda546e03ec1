"""SAEs of other libraries: what SAELens and dictionary_learning save is read, and computes here what it does there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lab import artifact
from lab.architectures import TABLE, load
from lab.dictionary_learning_format import from_dictionary_learning
from lab.errors import LabError
from lab.foreign import Foreign
from lab.sae_lens_format import from_sae_lens, to_sae_lens

D_IN, D_SAE, K = 24, 48, 6


def random(*shape: int, seed: int = 0, size: float = 1.0) -> Tensor:
    return size * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def acts(rows: int = 300, width: int = D_IN) -> Tensor:
    return random(rows, width, seed=9, size=4.0) + 1.0


def close(found: Tensor, expected: Tensor) -> None:
    """Equal to 1e-5 of the size of what is compared."""
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * max(1.0, float(expected.abs().max())))


def saved(foreign: Foreign, folder: Path, x: Tensor, scale: float = 1.0) -> artifact.Artifact:
    meta = {"architecture": foreign.architecture, "k": foreign.k, **foreign.facts}
    artifact.save(folder, foreign.module(), input_scale=scale, meta=meta, sample_acts=x)
    return artifact.load(folder)


def weights(norms: Tensor | None = None) -> dict[str, Tensor]:
    """Of all architectures, with decoder rows of any norm."""
    rows = F.normalize(random(D_SAE, D_IN, seed=1), dim=1)
    return {
        "W_dec": rows if norms is None else rows * norms[:, None],
        "W_enc": rows.T.contiguous() + random(D_IN, D_SAE, seed=2, size=0.05),
        "b_enc": random(D_SAE, seed=3, size=0.2),
        "b_dec": random(D_IN, seed=4),
    }


NORMS = torch.linspace(0.3, 2.5, D_SAE)


# SAELens


def sae_lens(kind: str, norms: Tensor | None = None, **settings: Any) -> Any:
    """An SAE of that library with given weights."""
    from sae_lens import (
        GatedSAE,
        GatedSAEConfig,
        JumpReLUSAE,
        JumpReLUSAEConfig,
        StandardSAE,
        StandardSAEConfig,
        TopKSAE,
        TopKSAEConfig,
    )

    kinds: dict[str, tuple[Any, Any]] = {
        "standard": (StandardSAE, StandardSAEConfig),
        "topk": (TopKSAE, TopKSAEConfig),
        "jumprelu": (JumpReLUSAE, JumpReLUSAEConfig),
        "gated": (GatedSAE, GatedSAEConfig),
    }
    module, config = kinds[kind]
    if kind == "topk":
        settings["k"] = K
    sae = module(config(d_in=D_IN, d_sae=D_SAE, **settings))
    state = weights(norms)
    if kind == "jumprelu":
        state["threshold"] = random(D_SAE, seed=5).abs()
    if kind == "gated":
        state["b_gate"] = state.pop("b_enc")
        state |= {"b_mag": random(D_SAE, seed=6, size=0.3), "r_mag": random(D_SAE, seed=7, size=0.2)}
    sae.load_state_dict(state)
    return sae


def agrees_with_sae_lens(theirs: Any, ours: artifact.Artifact, x: Tensor) -> None:
    """Equal reconstructions, and latents that are theirs times the norms of their decoder's rows."""
    with torch.no_grad():
        latents, output = theirs.encode(x), theirs(x)
    close(ours.decode(ours.encode(x)), output)
    rescaled = getattr(theirs.cfg, "rescale_acts_by_decoder_norm", False)
    close(ours.encode(x), latents if rescaled else latents * theirs.W_dec.detach().norm(dim=1))


@pytest.mark.parametrize("bias_to_input", [True, False])
@pytest.mark.parametrize("norms", [None, NORMS], ids=["unit", "any"])
@pytest.mark.parametrize("kind", ["standard", "topk", "jumprelu", "gated"])
def test_what_sae_lens_saves_is_read(tmp_path: Path, kind: str, norms: Tensor | None, bias_to_input: bool) -> None:
    theirs = sae_lens(kind, norms, apply_b_dec_to_input=bias_to_input)
    theirs.cfg.metadata.hook_name = "blocks.3.hook_resid_post"
    theirs.save_model(tmp_path / "theirs")
    foreign = from_sae_lens(tmp_path / "theirs")
    assert foreign.architecture == {"standard": "relu"}.get(kind, kind)
    assert foreign.facts["hook"] == "blocks.3.hook_resid_post"
    agrees_with_sae_lens(theirs, saved(foreign, tmp_path / "ours", acts()), acts())


def test_a_top_k_that_selects_by_decoder_norm(tmp_path: Path) -> None:
    theirs = sae_lens("topk", NORMS, rescale_acts_by_decoder_norm=True)
    theirs.save_model(tmp_path / "theirs")
    ours = saved(from_sae_lens(tmp_path / "theirs"), tmp_path / "ours", acts())
    agrees_with_sae_lens(theirs, ours, acts())


@pytest.mark.parametrize(("kind", "architecture"), [("batchtopk", "batchtopk"), ("matryoshka", "matryoshka")])
def test_what_its_trainers_save_is_read_as_the_sae_for_use_is(tmp_path: Path, kind: str, architecture: str) -> None:
    from sae_lens import (
        SAE,
        BatchTopKTrainingSAE,
        BatchTopKTrainingSAEConfig,
        MatryoshkaBatchTopKTrainingSAE,
        MatryoshkaBatchTopKTrainingSAEConfig,
    )

    trained: Any
    if kind == "batchtopk":
        trained = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=D_IN, d_sae=D_SAE, k=K))
    else:
        settings = MatryoshkaBatchTopKTrainingSAEConfig(d_in=D_IN, d_sae=D_SAE, k=K, matryoshka_widths=[12, 24, D_SAE])
        trained = MatryoshkaBatchTopKTrainingSAE(settings)
    trained.load_state_dict({**weights(NORMS), "topk_threshold": torch.tensor(0.7, dtype=torch.double)})
    trained.save_inference_model(tmp_path / "for_use")
    trained.save_model(tmp_path / "training")
    theirs = SAE.load_from_disk(tmp_path / "for_use")
    for name in ("for_use", "training"):
        foreign = from_sae_lens(tmp_path / name)
        assert foreign.architecture == architecture
        agrees_with_sae_lens(theirs, saved(foreign, tmp_path / f"ours_{name}", acts()), acts())


def rewrite(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path = folder / "cfg.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def test_settings_of_older_versions_are_read(tmp_path: Path) -> None:
    """Before version 6: no metadata, a top k as an activation function, `hook_point`, a scaling factor of ones."""
    from sae_lens import SAE

    for kind, function in (("standard", {"activation_fn_str": "relu"}), ("topk", {"activation_fn_str": "topk"})):
        folder = tmp_path / kind
        sae_lens(kind).save_model(folder)
        old = {"d_in": D_IN, "d_sae": D_SAE, "dtype": "float32", "model_name": "gpt2-small", "context_size": 64}
        old |= {"hook_point": "blocks.8.hook_resid_pre", "normalize_activations": False, **function}
        old["activation_fn_kwargs"] = {"k": K} if kind == "topk" else {}
        rewrite(folder, lambda _, old=old: old)
        save_file({**load_file(folder / "sae_weights.safetensors"), "scaling_factor": torch.ones(D_SAE)}, folder / "x")
        (folder / "x").rename(folder / "sae_weights.safetensors")
        foreign = from_sae_lens(folder)
        assert foreign.facts["hook"] == "blocks.8.hook_resid_pre"
        assert (foreign.facts["subject"], foreign.facts["context"]) == ({"name": "gpt2-small"}, 64)
        agrees_with_sae_lens(SAE.load_from_disk(folder), saved(foreign, tmp_path / f"ours_{kind}", acts()), acts())


def test_scaled_activations_need_their_factor(tmp_path: Path) -> None:
    theirs = sae_lens("jumprelu", NORMS, normalize_activations="expected_average_only_in")
    theirs.save_model(tmp_path / "theirs")
    foreign = from_sae_lens(tmp_path / "theirs")
    assert foreign.scaled
    ours = saved(foreign, tmp_path / "ours", acts(), scale=0.37)
    with torch.no_grad():
        close(ours.decode(ours.encode(acts())), theirs(acts() * 0.37) / 0.37)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "temporal"}, "is a 'temporal' of SAELens: topk, standard"),
        ({"activation_fn": "tanh-relu"}, "activation function 'tanh-relu'"),
        ({"normalize_activations": "layer_norm"}, "no fixed direction"),
        ({"reshape_activations": "hook_z"}, "reads attention heads"),
        ({"architecture": "topk", "k": None}, "needs k"),
        ({"architecture": "jumprelu"}, "needs threshold"),
        ({"architecture": "gated"}, "needs r_mag"),
    ],
)
def test_an_sae_of_sae_lens_that_has_no_form_is_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    sae_lens("standard").save_model(tmp_path)
    rewrite(tmp_path, lambda cfg: {**cfg, **change})
    with pytest.raises(LabError, match=message) as caught:
        from_sae_lens(tmp_path).module()
    assert "\n" not in str(caught.value)


# dictionary_learning


def dictionary(kind: str, state: Mapping[str, Tensor], folder: Path, **trainer: Any) -> None:
    """Files as its trainers write them."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state), folder / "ae.pt")
    settings = {"dict_class": kind, "activation_dim": D_IN, "dict_size": D_SAE, "layer": 5, "lm_name": "some/model"}
    settings["submodule_name"] = "resid_post_layer_5"
    (folder / "config.json").write_text(json.dumps({"trainer": {**settings, **trainer}, "buffer": {"ctx_len": 128}}))


def linear(norms: Tensor | None = None, bias: str = "b_dec") -> dict[str, Tensor]:
    w = weights(norms)
    return {
        "encoder.weight": w["W_enc"].T,
        "encoder.bias": w["b_enc"],
        "decoder.weight": w["W_dec"].T,
        bias: w["b_dec"],
    }


def pre(w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    return (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]


def top(values: Tensor) -> Tensor:
    kept, columns = values.topk(K, dim=-1)
    return torch.zeros_like(values).scatter(1, columns, kept)


def a_dictionary(kind: str, norms: Tensor | None) -> tuple[dict[str, Tensor], Callable[[Tensor], Tensor]]:
    """Its state and its encoder, written down here once more from its paper's formula."""
    w = weights(norms)
    theta = torch.tensor(0.8)
    if kind == "AutoEncoder":
        return linear(norms, "bias"), lambda x: pre(w, x).relu()
    if kind == "AutoEncoderNew":
        return linear(norms, "decoder.bias"), lambda x: (x @ w["W_enc"] + w["b_enc"]).relu()
    if kind == "AutoEncoderTopK":
        state = {**linear(norms), "k": torch.tensor(K, dtype=torch.int), "threshold": theta}
        return state, lambda x: top(pre(w, x).relu())
    if kind == "BatchTopKSAE":
        state = {**linear(norms), "k": torch.tensor(K, dtype=torch.int), "threshold": theta}
        return state, lambda x: pre(w, x).relu() * (pre(w, x) > theta)
    if kind == "MatryoshkaBatchTopKSAE":
        state = {**w, "k": torch.tensor(K), "threshold": theta, "group_sizes": torch.tensor([12, 36])}
        return state, lambda x: pre(w, x).relu() * (pre(w, x) > theta)
    if kind == "JumpReluAutoEncoder":
        thresholds = random(D_SAE, seed=5).abs()
        along = lambda x: x @ w["W_enc"] + w["b_enc"]  # noqa: E731
        return {**w, "threshold": thresholds}, lambda x: along(x).relu() * (along(x) > thresholds)
    b_mag, r_mag = random(D_SAE, seed=6, size=0.3), random(D_SAE, seed=7, size=0.2)
    state = {"encoder.weight": w["W_enc"].T, "decoder.weight": w["W_dec"].T, "decoder_bias": w["b_dec"]}
    state |= {"gate_bias": w["b_enc"], "mag_bias": b_mag, "r_mag": r_mag}
    along = lambda x: (x - w["b_dec"]) @ w["W_enc"]  # noqa: E731
    return state, lambda x: (along(x) + w["b_enc"] > 0) * (along(x) * r_mag.exp() + b_mag).relu()


KINDS = {
    "AutoEncoder": "relu",
    "AutoEncoderNew": "relu",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "batchtopk",
    "MatryoshkaBatchTopKSAE": "matryoshka",
    "JumpReluAutoEncoder": "jumprelu",
    "GatedAutoEncoder": "gated",
}


@pytest.mark.parametrize("norms", [None, NORMS], ids=["unit", "any"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_dictionary_learning_saves_is_read(tmp_path: Path, kind: str, norms: Tensor | None) -> None:
    state, encode = a_dictionary(kind, norms)
    dictionary(kind, state, tmp_path / "theirs")
    foreign = from_dictionary_learning(tmp_path / "theirs")
    assert foreign.architecture == KINDS[kind]
    assert foreign.facts["hook"] == "blocks.5.hook_resid_post"
    assert foreign.facts["subject"] == {"name": "some/model"}
    ours = saved(foreign, tmp_path / "ours", acts())
    w, f = weights(norms), encode(acts())
    close(ours.decode(ours.encode(acts())), f @ w["W_dec"] + w["b_dec"])
    close(ours.encode(acts()), f * w["W_dec"].norm(dim=1))


def test_its_file_is_loaded_without_running_code(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "taken",))

    state, _ = a_dictionary("AutoEncoder", None)
    dictionary("AutoEncoder", {**state, "extra": Hostile()}, tmp_path / "theirs")  # type: ignore[dict-item]
    with pytest.raises(LabError, match="holds more than tensors"):
        from_dictionary_learning(tmp_path / "theirs")
    assert not (tmp_path / "taken").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: dictionary("IdentityDict", {}, folder), "is a IdentityDict of dictionary_learning"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "must be a JSON object"),
        (lambda folder: (folder / "config.json").write_text("{}"), 'has no "trainer"'),
        (lambda folder: (folder / "ae.pt").write_bytes(b"junk"), "damaged, or holds more than tensors"),
        (lambda folder: torch.save([1], folder / "ae.pt"), "holds a list"),
        (lambda folder: dictionary("BatchTopKSAE", linear(), folder), "needs threshold"),
        (lambda folder: dictionary("AutoEncoderTopK", linear(), folder, k=99), "k is 99: it must be from 1 to the 48"),
        (lambda folder: dictionary("AutoEncoder", {**linear(), "b_dec": torch.zeros(3)}, folder), r"b_dec has shape"),
        (
            lambda folder: dictionary("AutoEncoder", {**linear(), "b_dec": torch.full((D_IN,), torch.nan)}, folder),
            "b_dec holds values that are not finite",
        ),
    ],
)
def test_a_damaged_dictionary_is_one_line(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    dictionary("AutoEncoder", linear(), tmp_path)
    damage(tmp_path)
    with pytest.raises(LabError, match=message) as caught:
        from_dictionary_learning(tmp_path).module()
    assert "\n" not in str(caught.value)


# From here to SAELens, on real activations


@pytest.fixture(scope="module")
def real(tiny_store: Any) -> Tensor:
    return tiny_store.acts[:512].float()


@pytest.mark.parametrize("architecture", TABLE)
def test_what_is_exported_agrees_with_sae_lens_on_real_activations(
    tmp_path: Path, architecture: str, real: Tensor
) -> None:
    from sae_lens import SAE

    from lab import export

    rows = F.normalize(real[:96] - real.mean(0), dim=1)
    size = float(((real - real.mean(0)) @ rows.T).std())
    state = {"W_dec": rows, "W_enc": rows.T.contiguous(), "b_dec": real.mean(0)}
    state |= {name: random(96, seed=place, size=0.1 * size) for place, name in enumerate(("b_enc", "b_mag"))}
    state |= {"threshold": torch.full((96,), size), "r_mag": random(96, seed=3, size=0.1)}
    module: nn.Module = load(architecture).sae(state, K)
    meta = {"architecture": architecture, "k": K, "hook": "blocks.2.hook_resid_post", "profile": "tiny"}
    ours = artifact.save(tmp_path / "run" / "sae", module, input_scale=1.0, meta=meta, sample_acts=real)
    assert export.main([str(tmp_path / "run"), str(tmp_path / "published")]) == 0
    theirs = SAE.load_from_disk(tmp_path / "published")
    assert (theirs.cfg.d_in, theirs.cfg.d_sae) == (576, 96)
    with torch.no_grad():
        close(theirs.encode(real), ours.encode(real))
        close(theirs(real), ours.decode(ours.encode(real)))
    assert float((ours.encode(real) > 0).float().mean()) > 0.01
    again = from_sae_lens(tmp_path / "published")
    assert again.architecture == architecture, "what is published must be known for what it is"
    close(saved(again, tmp_path / "again", real).encode(real), ours.encode(real))


def test_a_top_k_with_norms_of_its_own_can_be_published(tmp_path: Path) -> None:
    from sae_lens import SAE

    dictionary("AutoEncoderTopK", a_dictionary("AutoEncoderTopK", NORMS)[0], tmp_path / "theirs")
    ours = saved(from_dictionary_learning(tmp_path / "theirs"), tmp_path / "ours", acts())
    published = SAE.load_from_disk(to_sae_lens(tmp_path / "ours", tmp_path / "published"))
    with torch.no_grad():
        close(published(acts()), ours.decode(ours.encode(acts())))
