"""PyTorch's compiler is not imported by who trains without it, and is there for who asks for it."""

import subprocess
import sys

import pytest

BEGIN = """
import sys, torch
from lab import compiler
compiler.put_off()
weight = torch.nn.Parameter(torch.ones(3))
optimizer = torch.optim.Adam([weight], lr=0.5)
for _ in range(3):
    optimizer.zero_grad()
    weight.square().sum().backward()
    torch.nn.utils.clip_grad_norm_([weight], 1.0)
    optimizer.step()
assert float(weight[0].detach()) < 0, weight
"""


NOT_YET = "assert 'torch._dynamo.convert_frame' not in sys.modules\n"


@pytest.mark.parametrize(
    "then",
    [
        NOT_YET + "import inspect; inspect.getmodule(sys._getframe())\n" + NOT_YET,
        "from torch._dynamo import config, eval_frame; assert config.cache_size_limit; optimizer.step()",
        "assert torch.compile(lambda x: x + 1, backend='eager')(weight).shape == (3,); optimizer.step()",
        "from torch.distributed.tensor import DTensor; torch._dynamo.graph_break(); torch._dynamo.reset()",
    ],
)
def test_the_compiler_is_there_when_it_is_used(then: str) -> None:
    done = subprocess.run([sys.executable, "-c", BEGIN + then], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
