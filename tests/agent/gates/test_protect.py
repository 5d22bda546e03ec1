"""Breaches in an edited file are named with their lines; what research needs passes."""

from pathlib import Path

import pytest

from agent.gates.protect import breaches, explain

TEMPLATE = Path(__file__).parents[3] / "templates" / "sae_experiment"
REFUSED = """\
import os
import lab.training
from lab import training
from lab.training import open_store
from lab.corpus import Corpus
from numpy import load
torch.manual_seed(3)
seeded = torch.manual_seed
np.random.seed(3)
g = torch.Generator().manual_seed(1)
g = np.random.default_rng(0)
g = torch.Generator(device=run.device).manual_seed(run.seed)
g.manual_seed(run.seed)
rng = np.random.default_rng(run.seed)
if run.seed == 0: pass
if self.run.seed > 2: pass
sys.modules["lab"] = 1
warnings.sys.exit()
F.relu = g
type(run).save = g
run.steps = 10
step.batch.acts = g
run._store
open("x")
torch.load("x")
getattr(run, name)
getattr(run, "_store")
vars(run)
object.__setattr__(run, "steps", 1)
Reference.__annotations__["x"] = "y"
typing.get_type_hints(Reference)
from typing import ForwardRef
import numpy.testing as checks
np.testing.runstring("x", {})
from functools import singledispatch
torch.jit.script(step)
torch.fx.Graph()
torch.utils.benchmark.Timer("x")
enum.bltns.exec("x")
json.codecs.open("x")
dataclasses.inspect.get_annotations(Reference, eval_str=True)
logging.config.dictConfig({})
getattr(typing, "get_type_hints")
"confirm" in __file__
argparse.FileType("w")
torch.are_deterministic_algorithms_enabled()
run.log(1, explained_variance=0.99)
torch.hub.load("a", "b")
Path("x").write_text("y")
run.save(sae, "topk").folder.joinpath("training.json").open("w")
g = getattr
list(map(getattr, [run], ["_seed"]))
getattr(run.sources, "open")
"{0._seed}".format(run)
"{0[x]}".format(run)
"{:{1._seed}}".format(1, run)
("{0." + "_seed}").format(run)
f = "{0._seed}".format
str.format("{0._seed}", run)
"{a._seed}".format_map(run)
logging.Formatter("{msg._seed}", style="{")
logging.currentframe()
super(Run, run).__getattribute__("_seed")
super(Run, run).save
type("X", (Batch,), {})
t = type
type(*found)
class X(type(run)): pass
(x for x in [1]).gi_frame
error.tb_frame.f_back.f_globals
__build_class__(f, "X")
help(run)
f(torch)
x = torch.nn
[torch.optim]
import torch.overrides
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
torch.utils.collect_env.run("ls")
torch.optim.optimizer.register_optimizer_step_post_hook(f)
torch.nn.modules.module.register_module_forward_hook(f)
torch.compiler.is_compiling()
torch.compile(sae, backend=f)
torch.compile(sae, **f)
compiled = torch.compile
torch.cuda.memory_allocated()
torch.get_rng_state()
run.generator().get_state()
np.datetime64("now")
import time
[0 for run.steps in [3]]
dataclasses.make_dataclass("X", [])
from functools import update_wrapper
match_of = lambda self: self._seed
np.frombuffer(text, dtype=np.uint8).tofile("training.json")
np.zeros(3).dump("training.json")
np.fromregex("x", "y", int)
type(np.zeros(3).ctypes.shape).from_address(8)
type(sys.stdout.buffer.raw)("training.json", "w")
out = sys.stdout; out.buffer.write(text)
run.save(sae, "topk").folder.rename("x")
nn.quantized.Linear(2, 2)
type(tensor.untyped_storage()).from_file("x", True, 8)
g = torch.Generator(); g.seed()
np.random.Generator(np.random.PCG64(7))
argparse.ArgumentParser(fromfile_prefix_chars="@")
argparse.ArgumentParser().parse_args(["--x", "1"], namespace=run)
contextlib.redirect_stdout(own)
from contextlib import redirect_stdout
class Own(contextlib.redirect_stdout): pass
class Own(argparse.Action): pass
def __torch_dispatch__(cls, func, types, args=(), kwargs=None): pass
def __torch_function__(cls, func, types, args=(), kwargs=None): pass
def __del__(self): pass
def __reduce_ex__(self, protocol): pass
"""
LONGER = {
    "match": "match run:\n    case object(_plan=plan):\n        print(plan)\n",
    "a method of its own on another": "class A:\n    def f(self):\n        return self._seed\ng = A.f\ng(run)\n",
    "the globals of a function": "class A:\n    def f(self):\n        return self.__globals__\nmap(A.f, [start])\n",
    "a name that it gives itself": (
        "class A:\n    def __init__(self):\n        self._seed = 1\n    def f(self):\n        return self._seed\n"
    ),
    "frames of an exit": "class A:\n    def __exit__(self, kind, error, trace):\n        return trace.tb_frame\n",
}
IMPORTS = (
    "import argparse, contextlib, dataclasses, enum, json, logging, sys, typing, warnings, torch\n"
    "import numpy as np\nimport torch.nn.functional as F; from torch import nn\n"
)
ALLOWED = """\
from lab import sparse
from lab.training import Batch, Run, start
from scipy.special import erf
from torch.nn.utils import clip_grad_norm_
from torch.utils.checkpoint import checkpoint
torch.backends.cudnn.benchmark = True
g = run.generator()
cfg.seed
self_made.threshold = 3
state = sae.state_dict()
sae.load_state_dict(state)
getattr(cfg, "k", 3)
torch._foreach_mul_(grads, 2.0)
run.log(1, loss=loss, lr=cfg.lr)
np.array([1]) + np.trace(x) + torch.select(x, 0, 0)
sae.eval()
step.config
torch.compile(sae)
sae.W_dec.data[dead] = 0
if __name__ == "__main__": run.save(sae, "topk")
type(sae).__name__
optimizer.param_groups[0]["lr"] = 0.1
"{:>10.3f} of {n}".format(1.0, n=2)
torch.compile(sae, mode="max-autotune")
torch.nn.utils.parametrizations.orthogonal(layer)
torch.optim.lr_scheduler.LambdaLR(optimizer, f)
torch.autograd.grad(loss, [w])
torch.cuda.is_available()
torch.linalg.svd(x)
type(sae) is SAE
def f(kind: type[int]) -> None: ...
hasattr(cfg, "k")
logging.getLogger("x").info("y")
warnings.warn("y")
sae.register_forward_hook(f)
class Own(torch.optim.Optimizer): pass
class Own(nn.Module): pass
class Kind(enum.Enum): pass
class Own(torch.autograd.Function): pass
def __getitem__(self, place): pass
with contextlib.nullcontext(): pass
tensor.register_hook(f)
"""


@pytest.mark.parametrize("line", REFUSED.splitlines())
def test_a_breach_is_named_with_its_line(line):
    found = breaches(IMPORTS + line)
    assert found, line
    assert {breach.line for breach in found} == {4}


@pytest.mark.parametrize("source", LONGER.values(), ids=LONGER)
def test_a_longer_way_round_is_a_breach(source):
    assert breaches(source)


@pytest.mark.parametrize("line", ALLOWED.splitlines())
def test_research_is_not_stopped(line):
    assert breaches(IMPORTS + line) == []


def test_the_template_passes():
    assert breaches((TEMPLATE / "experiment.py").read_text()) == []
    assert breaches((TEMPLATE / "plot.py").read_text(), plots=True) == []


def test_methods_reach_their_own_parts_and_nobody_elses():
    own = "class A:\n    def __init__(self):\n        self._x = 1\n    def f(self):\n        return self._x\n"
    assert breaches(own) == []
    assert breaches("def f(self):\n    return self._x\n")
    assert breaches("class A:\n    def f(self, self2):\n        return self2._x\n")
    assert breaches(own + "A.f(run)\n")
    assert breaches("class A(Run):\n    def f(self):\n        return self._store\n")


def test_plots_may_read_and_draw_but_not_delete():
    assert breaches("from pathlib import Path\nPath('figures').mkdir()\nopen('x').read()", plots=True) == []
    assert breaches("from pathlib import Path\nPath('run_1').unlink()", plots=True)
    assert breaches("import shutil", plots=True)


def test_the_explanation_is_short():
    text = explain("experiment.py", breaches("\n".join(f"open({n})" for n in range(50))))
    assert len(text) < 1500
    assert "line 1:" in text
    assert "42 more" in text
