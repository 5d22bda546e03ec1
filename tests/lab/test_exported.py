"""SAEs that version 0.1.0 saved are read as they were, and its files are not trusted."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lab import artifact, exported
from lab.errors import LabError
from tests.lab.test_artifact import D_IN, D_SAE, TopK, acts


class Method(nn.Module):
    """One method of an SAE as version 0.1.0 exported it."""

    def __init__(self, module: nn.Module, method: str) -> None:
        super().__init__()
        self.sae = module
        self.method = method

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = getattr(self.sae, self.method)(x)
        return found


class LooksAround(TopK):
    """Its latents depend on how many rows there are, which version 0.1.0 let pass."""

    def encode(self, x: Tensor) -> Tensor:
        return super().encode(x) * (1 + (torch.ones_like(x[:, :1]).sum() > 2))


def write(folder: Path, module: nn.Module) -> None:
    """A folder as version 0.1.0 wrote it."""
    folder.mkdir()
    module = module.eval().requires_grad_(False)
    weights = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    for tensor in module.parameters():
        tensor.data = tensor.data.contiguous()
    save_file(weights, folder / "weights.safetensors")
    for method, rows in (("encode", acts(4)), ("decode", torch.rand(4, D_SAE))):
        shapes = ({0: torch.export.Dim("batch")},)
        program = torch.export.export(Method(module, method), (rows,), dynamic_shapes=shapes, strict=False)
        for name in set(program.state_dict) - {*program.graph_signature.inputs_to_parameters.values()}:
            program.state_dict.pop(name)
        torch.export.save(program, folder / f"{method}.pt2")
    facts = {"d_in": D_IN, "d_sae": D_SAE, "input_scale": 1.0}
    _, constants, text = exported.encoder(folder, weights, D_IN)
    fingerprint = artifact._fingerprint({**weights, **constants}, text, facts)
    card = {"architecture": "topk", "k": 6, "schema": 1, "fingerprint": fingerprint, **facts}
    (folder / "sae.json").write_text(json.dumps(card))


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TopK SAE of version 0.1.0."""
    write(folder := tmp_path_factory.mktemp("old") / "sae", TopK())
    return folder


def test_it_computes_what_the_module_did(old: Path) -> None:
    sae, module = artifact.load(old), TopK()
    for rows in (1, 7, 300):
        torch.testing.assert_close(sae.encode(acts(rows)), module.encode(acts(rows)))
        torch.testing.assert_close(sae.decode(module.encode(acts(rows))), module.decode(module.encode(acts(rows))))
    assert sae.cost.depth == 1


def test_a_row_is_encoded_as_if_it_were_alone(tmp_path: Path) -> None:
    write(tmp_path / "sae", LooksAround())
    sae = artifact.load(tmp_path / "sae")
    alone = torch.cat([sae.encode(row[None]) for row in acts(5)])
    torch.testing.assert_close(sae.encode(acts(5)), alone)


def changed(folder: Path, to: Path, member: str, old: bytes, new: bytes) -> None:
    """The folder with other bytes in a member of its encoder's archive."""
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    with zipfile.ZipFile(folder / "encode.pt2") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    other = {name: data.replace(old, new) if name.endswith(member) else data for name, data in parts.items()}
    assert other != parts
    with zipfile.ZipFile(to / "encode.pt2", "w", zipfile.ZIP_STORED) as archive:
        for name, data in other.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    ("member", "before", "after", "message"),
    [
        ("model.json", b"torch.ops.aten.relu.default", b"torch.hub.load_state_dict_from_url", "no tensor operator"),
        ("model.json", b"torch.ops.aten.relu.default", b"torch.ops.aten.from_file.default", "no tensor operator"),
        ("model.json", b"torch.ops.aten.relu.default", b"_operator.methodcaller", "no tensor operator"),
        ("model.json", b"Symbol('s", b"exec(chr(120)+'s", "no plain formula"),
        ("model_weights_config.json", b'"use_pickle": false', b'"use_pickle": true', "pickled objects"),
    ],
)
def test_a_hostile_graph_is_not_loaded(
    old: Path, tmp_path: Path, member: str, before: bytes, after: bytes, message: str
) -> None:
    changed(old, tmp_path / "sae", member, before, after)
    with pytest.raises(LabError, match=message):
        artifact.load(tmp_path / "sae")


@pytest.mark.parametrize(
    ("name", "message"),
    [("encode/data/constants/opaque_obj_0", "no part of a plain graph"), ("twice", "holds a file twice")],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_more_than_a_graph_is_not_loaded(old: Path, tmp_path: Path, name: str, message: str) -> None:
    shutil.copytree(old, tmp_path / "sae")
    with zipfile.ZipFile(tmp_path / "sae" / "encode.pt2", "a") as archive:
        archive.writestr(archive.namelist()[0] if name == "twice" else name, b"cos\nsystem\n")
    with pytest.raises(LabError, match=message):
        artifact.load(tmp_path / "sae")


@pytest.mark.parametrize("name", exported.FILES)
def test_a_damaged_folder(old: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(old, tmp_path / "sae")
    (tmp_path / "sae" / name).write_bytes(b"junk" * 99)
    with pytest.raises(LabError, match="cannot be read as an exported graph"):
        artifact.load(tmp_path / "sae")
    (tmp_path / "sae" / name).unlink()
    with pytest.raises(LabError, match=f"has no {name}"):
        artifact.load(tmp_path / "sae")
