"""An SAE on disk: what is written computes what the module did, and what is damaged or hostile is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lab import artifact
from lab.errors import LabError
from lab.sae_lens_format import to_sae_lens

D_IN, D_SAE, K, SCALE = 24, 48, 6, 0.3


class Relu(nn.Module):
    """A plain SAE; the others differ in `act` or `decode`."""

    k = K

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        directions = F.normalize(torch.randn(D_SAE, D_IN, generator=generator), dim=1)
        self.W_dec = nn.Parameter(directions)
        self.W_enc = nn.Parameter(directions.clone().T)
        self.b_enc = nn.Parameter(0.1 * torch.randn(D_SAE, generator=generator))
        self.b_dec = nn.Parameter(torch.randn(D_IN, generator=generator))

    def act(self, pre: Tensor) -> Tensor:
        return pre.relu()

    def encode(self, x: Tensor) -> Tensor:
        return self.act((x - self.b_dec) @ self.W_enc + self.b_enc)

    def decode(self, f: Tensor) -> Tensor:
        return f @ self.W_dec + self.b_dec


class TopK(Relu):
    def act(self, pre: Tensor) -> Tensor:
        values, columns = pre.topk(K, dim=-1)
        return torch.zeros_like(pre).scatter(-1, columns, values.relu())


class JumpRelu(Relu):
    def __init__(self, size: int = D_SAE) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.full((size,), 0.4))

    def act(self, pre: Tensor) -> Tensor:
        return pre.relu() * (pre > self.threshold)


class Gated(Relu):
    def __init__(self) -> None:
        super().__init__()
        self.b_mag = nn.Parameter(torch.full((D_SAE,), 0.2))
        self.r_mag = nn.Parameter(torch.full((D_SAE,), 0.1))

    def encode(self, x: Tensor) -> Tensor:
        along = (x - self.b_dec) @ self.W_enc
        return (along + self.b_enc > 0) * (along * self.r_mag.exp() + self.b_mag).relu()


class Squashed(Relu):
    """Its activation function depends on the scale of its input."""

    def act(self, pre: Tensor) -> Tensor:
        return pre.relu().log1p()


def acts(rows: int = 64) -> Tensor:
    """Raw activations: the module sees them times SCALE."""
    return 5 * torch.randn(rows, D_IN, generator=torch.Generator().manual_seed(2)) + 2


def save(folder: Path, module: nn.Module, architecture: str = "relu", **meta: object) -> artifact.Artifact:
    meta = {"architecture": architecture, "k": K, **meta}
    return artifact.save(folder, module, input_scale=SCALE, meta=meta, sample_acts=acts())


@pytest.fixture(scope="module")
def topk_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a TopK SAE, to be copied."""
    save(folder := tmp_path_factory.mktemp("topk") / "sae", TopK())
    return folder


@pytest.fixture
def topk(topk_once: Path, tmp_path: Path) -> Path:
    """A folder with a TopK SAE, the test's own."""
    return shutil.copytree(topk_once, tmp_path / "sae")


class Filled(Relu):
    """Fills a tensor in place, by numbers and by a mask."""

    def act(self, pre: Tensor) -> Tensor:
        values, columns = pre.topk(K, dim=-1)
        f = torch.zeros(len(pre), D_SAE)
        f.scatter_(1, columns, values.relu())
        f[:, 2:4] *= 2
        f[f < 0.1] = 0
        return f + 0 * pre.gather(1, columns)[:, :1] + 0 * self.b_enc[columns].sum(1, keepdim=True)


class Normed(Relu):
    """Normalises what it reads by statistics of its training."""

    def __init__(self, affine: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(D_IN, affine=affine).eval()
        self.norm.running_mean.copy_(torch.linspace(-1, 1, D_IN))
        self.norm.running_var.copy_(torch.linspace(0.5, 3, D_IN))

    def encode(self, x: Tensor) -> Tensor:
        return super().encode(self.norm(x))


ENCODERS = (Relu(), TopK(), JumpRelu(), JumpRelu(1), Gated(), Squashed(), Filled(), Normed(), Normed(affine=True))


@pytest.mark.parametrize("module", ENCODERS, ids=type)
def test_what_is_loaded_computes_what_the_module_does(tmp_path: Path, module: Relu) -> None:
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    save(tmp_path / "sae", module)
    sae = artifact.load(tmp_path / "sae")
    for rows in (1, 7, 300):
        x = acts(rows)
        latents = module.encode(x * SCALE) / SCALE
        torch.testing.assert_close(sae.encode(x), latents, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(sae.decode(latents), module.decode(latents * SCALE) / SCALE, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(sae.decode(latents), latents @ sae.W_dec + sae.b_dec, rtol=1e-4, atol=1e-4)
    assert sae.encode(acts().to(torch.bfloat16)).dtype == torch.float32
    assert not sae.encode(acts()).requires_grad
    assert sae.W_enc.shape == (D_IN, D_SAE)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), f"saving changed {name}"


def test_the_scale_is_folded_where_it_can_be(tmp_path: Path) -> None:
    assert save(tmp_path / "topk", TopK()).meta["input_scale"] == 1.0
    assert save(tmp_path / "squashed", Squashed()).meta["input_scale"] == SCALE
    torch.testing.assert_close(artifact.load(tmp_path / "topk").b_dec, TopK().b_dec.detach() / SCALE)
    torch.testing.assert_close(artifact.load(tmp_path / "squashed").b_dec, TopK().b_dec.detach() / SCALE)


def test_the_fingerprint_is_that_of_the_sae(tmp_path: Path) -> None:
    first = save(tmp_path / "a", TopK(), seed=1).fingerprint
    assert save(tmp_path / "b", TopK(), seed=2).fingerprint == first
    assert save(tmp_path / "c", Relu()).fingerprint != first
    other = TopK()
    other.b_dec.data[0] += 1e-3
    assert save(tmp_path / "d", other).fingerprint != first


def test_only_what_the_graphs_use_is_stored(tmp_path: Path) -> None:
    module = TopK()
    module.register_buffer("counts", torch.zeros(500, 500))
    module.last = module.encode(acts())  # a tensor with a gradient, as a training step leaves it
    save(tmp_path / "sae", module)
    assert set(load_file(tmp_path / "sae" / artifact.WEIGHTS)) == {"W_enc", "b_enc", "W_dec", "b_dec"}
    assert str(Path(__file__).parent) not in (tmp_path / "sae" / artifact.ENCODE).read_text()


def test_decoder_norms_are_folded_into_a_relu_encoder(tmp_path: Path) -> None:
    module = Relu()
    module.W_dec.data *= torch.linspace(0.5, 2, D_SAE)[:, None]
    sae = save(tmp_path / "sae", module)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(D_SAE))
    x = acts()
    found, expected = sae.decode(sae.encode(x)), module.decode(module.encode(x * SCALE)) / SCALE
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def _stretched_topk() -> nn.Module:
    module = TopK()
    module.W_dec.data *= torch.linspace(0.5, 2, D_SAE)[:, None]
    return module


def _changed(name: str, change: object) -> nn.Module:
    module = Relu()
    if callable(change):
        change(getattr(module, name).data)
    else:
        setattr(module, name, change)
    return module


class Curved(Relu):
    def decode(self, f: Tensor) -> Tensor:
        return f.sqrt() @ self.W_dec + self.b_dec


class Branching(Relu):
    def act(self, pre: Tensor) -> Tensor:
        return pre.relu() if pre.sum() > 0 else pre.relu() * 2


class OneBatchSize(Relu):
    def act(self, pre: Tensor) -> Tensor:
        return pre.relu() if len(pre) == 64 else 2 * pre.relu()


class Crowded(Relu):
    """Keeps what is large beside the other rows."""

    def act(self, pre: Tensor) -> Tensor:
        return pre.relu() * (pre > pre.mean(0))


class Rolling(Relu):
    """Gives each row what belongs to the one before it."""

    def act(self, pre: Tensor) -> Tensor:
        return pre.relu().roll(1, dims=0)


class Counting(Relu):
    """Is another encoder from its second call on."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def act(self, pre: Tensor) -> Tensor:
        self.calls += 1
        return pre.relu() * (self.calls < 3)


class Drawing(Relu):
    def act(self, pre: Tensor) -> Tensor:
        return pre.relu() * (1 + 1e-6 * torch.rand_like(pre))


class Reading(Relu):
    def act(self, pre: Tensor) -> Tensor:
        return pre.relu() * max(pre.flatten().tolist())


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (_stretched_topk(), "norm 1.*folding"),
        (_changed("W_dec", lambda data: data[3].zero_()), "row of zeros"),
        (_changed("b_enc", lambda data: data[0].fill_(float("nan"))), "b_enc holds values that are not finite"),
        (_changed("W_enc", None), "no parameter W_enc"),
        (_changed("encode", None), "no method encode"),
        (_changed("b_dec", nn.Parameter(torch.zeros(3))), r"b_dec has shape \[3\], it must be \[24\]"),
        (_changed("W_enc", nn.Parameter(torch.zeros(D_SAE, D_IN))), r"W_enc has shape \[48, 24\]"),
        (Curved(), "latents @ W_dec"),
        (Branching(), "encode.. cannot be written down"),
        (OneBatchSize(), "other latents among other rows than alone"),
        (Crowded(), "other latents among other rows than alone"),
        (Counting(), "encode.. cannot be written down.*changes a tensor"),
        (Rolling(), "other latents among other rows than alone"),
        (Drawing(), "draws at random"),
        (Reading(), "encode.. cannot be written down"),
    ],
)
def test_a_faulty_module_is_refused_in_one_line(tmp_path: Path, module: nn.Module, message: str) -> None:
    with pytest.raises(LabError, match=message) as caught:
        save(tmp_path / "sae", module)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_refused_sae_leaves_the_old_one(tmp_path: Path) -> None:
    old = save(tmp_path / "sae", TopK()).fingerprint
    with pytest.raises(LabError):
        save(tmp_path / "sae", Curved())
    assert artifact.load(tmp_path / "sae").fingerprint == old
    save(tmp_path / "sae", Relu())
    assert artifact.load(tmp_path / "sae").fingerprint != old
    assert [path.name for path in tmp_path.iterdir()] == ["sae"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match="cannot write"):
        save(tmp_path / "file" / "sae", TopK())


def _edit_weights(folder: Path, name: str, value: float) -> None:
    weights = load_file(folder / artifact.WEIGHTS)
    weights[name][0] = value
    save_file(weights, folder / artifact.WEIGHTS)


def _edit_card(folder: Path, **changes: object) -> None:
    card = json.loads((folder / artifact.CARD).read_text())
    (folder / artifact.CARD).write_text(json.dumps({**card, **changes}))


def _other(folder: Path, name: str, seed_shift: float = 1.0) -> None:
    module = TopK()
    module.b_enc.data += seed_shift
    module.b_dec.data += seed_shift
    save(folder.parent / "other", module)
    (folder / name).write_bytes((folder.parent / "other" / name).read_bytes())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / artifact.CARD).unlink(), "has no sae.json"),
        (lambda folder: (folder / artifact.WEIGHTS).unlink(), "has no weights.safetensors"),
        (lambda folder: (folder / artifact.ENCODE).unlink(), "has no encode.json"),
        (lambda folder: (folder / artifact.CARD).write_text("{"), "not JSON"),
        (lambda folder: (folder / artifact.CARD).write_text("[]"), "not an SAE's description"),
        (lambda folder: _edit_card(folder, d_in=D_IN + 1), r"must be \[25, 48\]"),
        (lambda folder: _edit_card(folder, d_in="24"), "d_in is missing or of the wrong kind"),
        (lambda folder: _edit_card(folder, input_scale=0.5), "was changed"),
        (lambda folder: _edit_card(folder, fingerprint="0"), "was changed after it was saved"),
        (lambda folder: _edit_weights(folder, "b_dec", float("nan")), "b_dec holds values that are not finite"),
        (lambda folder: _edit_weights(folder, "b_dec", 3.0), "was changed after it was saved"),
        (lambda folder: _edit_weights(folder, "W_dec", 3.0), "must have norm 1"),
        (lambda folder: (folder / artifact.WEIGHTS).write_bytes(b"junk" * 99), "damaged"),
        (lambda folder: (folder / artifact.ENCODE).write_bytes(b"junk" * 99), "is no encoder that can be loaded"),
        (lambda folder: (folder / artifact.ENCODE).write_bytes(b""), "is no encoder that can be loaded"),
        (lambda folder: _other(folder, artifact.WEIGHTS), "was changed after it was saved"),
        (lambda folder: _rewrite(folder, '"relu.default"', '"neg.default"'), "was changed after it was saved"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(topk: Path, damage: object, message: str) -> None:
    damage(topk)  # type: ignore[operator]
    with pytest.raises(LabError, match=message) as caught:
        artifact.load(topk)
    assert "\n" not in str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no SAE at"):
        artifact.load(tmp_path / "sae")


def _rewrite(folder: Path, old: str, new: str) -> None:
    text = (folder / artifact.ENCODE).read_text()
    assert old in text
    (folder / artifact.ENCODE).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"relu.default"', '"from_file.default"', "no plain tensor operation"),
        ('"relu.default"', '"relu_.default"', "no plain tensor operation"),
        ('"relu.default"', '"rand_like.default"', "no plain tensor operation"),
        ('"relu.default"', '"__class__.default"', "no plain tensor operation"),
        ('"relu.default"', '"relu.__call__"', "no plain tensor operation"),
        ('"relu.default"', '"../os.system"', "no plain tensor operation"),
        ('"weight": "W_enc"', '"weight": "/etc/passwd"', "which is not there"),
        ('{"node": 0, "out": null}', '{"node": 99, "out": null}', "which is not there"),
        ('{"node": 0, "out": null}', '{"node": -1, "out": null}', "which is not there"),
        ('{"node": 0, "out": null}', '{"class": "os.system"}', "is given"),
        ('"operations": [', '"operations": [3, ', "not written as a graph is"),
    ],
)
def test_a_hostile_graph_is_not_loaded(topk: Path, old: str, new: str, message: str) -> None:
    _rewrite(topk, old, new)
    with pytest.raises(LabError, match=message) as caught:
        artifact.load(topk)
    assert "\n" not in str(caught.value)


class TwoLayers(Relu):
    """An encoder with a hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.eye(D_IN) + 0.1)

    def encode(self, x: Tensor) -> Tensor:
        return super().encode(F.gelu((x - self.b_dec) @ self.first))


class Filtered(TwoLayers):
    """The same hidden layer, written as a convolution."""

    def encode(self, x: Tensor) -> Tensor:
        hidden = F.conv1d((x - self.b_dec)[:, None], self.first.T[:, None])[:, :, 0]
        return Relu.encode(self, F.gelu(hidden))


class Rounds(Relu):
    """An encoder that is an optimiser."""

    def act(self, pre: Tensor) -> Tensor:
        f = pre.relu()
        for _ in range(3):
            f = (f - 0.1 * (f @ self.W_dec) @ self.W_dec.T).relu()
        return f


class Hiding(Relu):
    """Has weights that are no parameters of it."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = [torch.ones(D_SAE, D_SAE)]

    def act(self, pre: Tensor) -> Tensor:
        return (pre @ self.hidden[0]).relu()


def test_what_an_sae_costs_is_read_off_it(tmp_path: Path) -> None:
    plain = save(tmp_path / "plain", Relu()).cost
    shared = 2 * D_IN * D_SAE + D_SAE + D_IN
    assert (plain.d_sae, plain.parameters, plain.depth, plain.activation) == (D_SAE, shared, 1, "relu")
    assert 2 * D_IN * D_SAE < plain.encode_flop < 2 * D_IN * D_SAE + 5 * D_SAE + 5 * D_IN
    assert plain.decode_flop == 2 * D_IN * D_SAE
    assert save(tmp_path / "topk", TopK()).cost.activation == "relu topk"

    deep = save(tmp_path / "deep", TwoLayers()).cost
    assert (deep.parameters, deep.depth, deep.activation) == (shared + D_IN**2, 2, "gelu relu")
    filtered = save(tmp_path / "filtered", Filtered()).cost
    assert (filtered.parameters, filtered.depth) == (deep.parameters, deep.depth)
    assert 2 * (D_IN * D_SAE + D_IN**2) < filtered.encode_flop < 1.2 * deep.encode_flop
    rounds = save(tmp_path / "rounds", Rounds()).cost
    assert rounds.parameters == shared
    assert rounds.depth == 7
    assert rounds.encode_flop > 6 * 2 * D_IN * D_SAE
    assert save(tmp_path / "hiding", Hiding()).cost.parameters == shared + D_SAE**2
    assert artifact.load(tmp_path / "deep").cost == deep


@pytest.mark.parametrize(
    ("architecture", "module"),
    [
        ("topk", TopK()),
        ("relu", Relu()),
        ("jumprelu", JumpRelu()),
        ("batchtopk", JumpRelu(1)),
        ("matryoshka", JumpRelu(1)),
        ("gated", Gated()),
    ],
)
def test_sae_lens_reads_what_is_exported_for_it(tmp_path: Path, architecture: str, module: nn.Module) -> None:
    from sae_lens import SAE

    facts = {"subject": {"name": "some/model"}, "hook": "blocks.3.hook_resid_post", "tokens": 1000}
    save(tmp_path / "sae", module, architecture, **facts)
    theirs = SAE.load_from_disk(to_sae_lens(tmp_path / "sae", tmp_path / "published"))
    ours = artifact.load(tmp_path / "sae")
    x = acts()
    torch.testing.assert_close(theirs.encode(x), ours.encode(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(theirs(x), ours.decode(ours.encode(x)), rtol=1e-5, atol=1e-5)
    assert theirs.cfg.metadata.hook_name == "blocks.3.hook_resid_post"


def test_what_sae_lens_has_no_form_for(tmp_path: Path) -> None:
    save(tmp_path / "odd", Squashed(), "squashed")
    with pytest.raises(LabError, match="no form for the architecture 'squashed'"):
        to_sae_lens(tmp_path / "odd", tmp_path / "out")
    save(tmp_path / "misnamed", Squashed(), "relu")
    with pytest.raises(LabError, match="computes something else"):
        to_sae_lens(tmp_path / "misnamed", tmp_path / "out")
    save(tmp_path / "lacking", TopK(), "jumprelu")
    with pytest.raises(LabError, match="needs threshold"):
        to_sae_lens(tmp_path / "lacking", tmp_path / "out")
    with pytest.raises(LabError, match="already"):
        to_sae_lens(tmp_path / "odd", tmp_path)
