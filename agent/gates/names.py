"""The names that an edited file may and may not use: of modules, of their parts, and of what looks up names."""

import ast
import functools
import re
import sys
from importlib.util import find_spec
from pathlib import Path

STANDARD = {
    "__future__", "abc", "argparse", "bisect", "cmath", "collections", "contextlib", "copy", "dataclasses", "enum",
    "fractions", "functools", "heapq", "itertools", "json", "logging", "math", "numbers", "operator", "random", "re",
    "statistics", "string", "sys", "textwrap", "types", "typing", "warnings",
}  # fmt: skip
LIBRARIES = {"einops", "numpy", "scipy", "torch"}
LAB: dict[str, set[str] | None] = {
    "lab.errors": {"LabError"},
    "lab.numerics": None,
    "lab.sparse": None,
    "lab.training": {"Batch", "Run", "start"},
}
LAB_PARTS = "lab.sparse, lab.numerics, LabError of lab.errors and Batch, Run and start of lab.training"
PLOTTING = {"csv", "matplotlib", "pathlib", "numpy"}

# Modules inside libraries that compute; every other module of these is closed.
MODULES = {
    "amp", "autograd", "backends", "cluster", "compiler", "cuda", "distributions", "fft", "func", "functional",
    "init", "interpolate", "linalg", "lr_scheduler", "nn", "optim", "optimize", "random", "sparse", "spatial",
    "special", "stats", "swa_utils", "utils",
}  # fmt: skip
# Of these, no more than what stands here.
CLOSED = {
    "argparse": {"ArgumentParser"},
    "autograd": {
        "Function", "backward", "detect_anomaly", "enable_grad", "function", "functional", "grad", "no_grad",
        "set_detect_anomaly", "set_grad_enabled",
    },
    "contextlib": {"AbstractContextManager", "ExitStack", "closing", "contextmanager", "nullcontext", "suppress"},
    "compiler": {"cudagraph_mark_step_begin", "disable"},
    "cuda": {"amp", "current_device", "device", "device_count", "empty_cache", "is_available", "synchronize"},
    "logging": {"DEBUG", "ERROR", "INFO", "Logger", "WARNING", "debug", "error", "getLogger", "info", "warning"},
    "sys": {"argv", "exit", "float_info", "maxsize", "stderr", "stdout", "version_info"},
    "types": {"MappingProxyType", "NoneType", "SimpleNamespace"},
    "utils": {
        "checkpoint", "clip_grad_norm_", "clip_grad_value_", "get_total_norm", "parameters_to_vector",
        "parametrizations", "parametrize", "spectral_norm", "vector_to_parameters", "weight_norm",
    },
    "warnings": {"catch_warnings", "filterwarnings", "simplefilter", "warn"},
}  # fmt: skip
# The modules of PyTorch, NumPy and SciPy beside those, and what else in libraries reaches past tensors: other
# processes, other code, the network, hooks on what the lab computes.
_OTHER_PARTS = {
    "CodeType", "DataSource", "FunctionType", "ao", "attention", "attrgetter", "bit_generator", "char", "classes",
    "cmdline", "core", "cpp", "cpp_extension", "csrc", "ctypeslib", "datasets", "datetime64", "distributed",
    "distutils", "export", "f2py", "futures", "graph", "hub", "lib", "library", "load_library", "make_dataclass",
    "methodcaller", "misc", "modules", "monitor", "multiprocessing", "nativert", "onnx", "ops", "optimizer",
    "overrides", "package", "parallel", "intrinsic", "profiler", "qat", "quantizable", "quantization", "quantized",
    "register_module_backward_hook", "register_module_forward_hook", "register_module_forward_pre_hook",
    "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook", "serialization", "set_flush_denormal",
    "storage", "tensorboard", "update_wrapper", "windows", "wraps",
}  # fmt: skip
# What carries out text, or a name that is made at run time, and what tells a smoke run from a real one.
_TEXT_RUNNERS = {
    "ForwardRef", "Timer", "are_deterministic_algorithms_enabled", "bltns", "codecs", "config", "dictConfig", "eval",
    "evaluate_forward_ref", "exec", "fileConfig", "fx", "get_annotations", "get_deterministic_debug_mode",
    "get_type_hints", "is_deterministic_algorithms_warn_only_enabled", "jit", "rundocs", "runstring",
    "singledispatch", "singledispatchmethod", "testing",
}  # fmt: skip
# Modules of the standard library are parts of many others; these names mean something else in what computes.
UNSAFE_PARTS = (
    _OTHER_PARTS
    | _TEXT_RUNNERS
    | (sys.stdlib_module_names - STANDARD - {"array", "select", "trace"})
    | {"builtins", "sys"}
)
BUILTINS = {
    "__annotations__", "__builtins__", "__file__", "__import__", "__loader__", "__spec__", "breakpoint", "compile",
    "delattr", "eval", "exec", "globals", "help", "input", "locals", "open", "setattr", "vars",
}  # fmt: skip
# They take a name as text: nothing may hide which one.
LOOK_UP = {"getattr", "hasattr"}
# Of any object, whatever it is called: frames, the code of functions, text that names attributes, memory, streams.
OF_NO_OBJECT = {
    "Formatter", "StrFormatStyle", "ag_frame", "buffer", "ctypes", "data_as", "fileno", "from_address", "from_buffer",
    "cr_frame", "currentframe", "f_back", "f_builtins", "f_code", "f_globals", "f_locals", "fdel", "fget",
    "findCaller", "format_map", "fset", "gi_frame", "tb_frame", "tb_next", "vformat",
}  # fmt: skip
# Of a path, an array or a tensor, and so of any object of an experiment.
FILE_METHODS = {
    "chmod", "dump", "from_file", "glob", "hardlink_to", "iterdir", "mkdir", "open", "read_bytes", "read_csv",
    "read_text", "rename", "rglob", "rmdir", "symlink_to", "to_csv", "tofile", "touch", "unlink", "write_bytes",
    "write_text",
}  # fmt: skip
FILES = {
    "DataFrame", "FileHandler", "FileType", "RotatingFileHandler", "dump", "fromfile", "fromregex", "from_file",
    "genfromtxt", "load", "load_npz", "loadtxt", "loadmat", "memmap", "open_memmap", "save", "save_npz", "savetxt",
    "savez", "savemat", "savez_compressed", "tofile",
}  # fmt: skip
CHANGES = {"chmod", "hardlink_to", "rename", "rmdir", "symlink_to", "touch", "unlink", "write_bytes"}
SEEDS = {
    "manual_seed", "manual_seed_all", "seed", "seed_all", "set_rng_state", "set_rng_state_all", "set_state",
    "setstate", "initial_seed", "default_rng", "BitGenerator", "MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64",
    "RandomState", "SeedSequence", "Random", "SystemRandom", "get_rng_state", "get_rng_state_all", "get_state",
    "getstate",
}  # fmt: skip
DUNDERS = {
    "__class__", "__doc__", "__enter__", "__exit__", "__init__", "__len__", "__name__", "__post_init__",
    "__qualname__", "__version__", "__call__",
}  # fmt: skip
# Of what a class is derived from, through super().
INHERITED = DUNDERS | {"__getattr__", "__getitem__", "__init_subclass__", "__new__", "__repr__", "__setattr__"}
# Methods by which an object takes part in what is not its own: each operation, its end, its copies.
TAKING_PART = (
    "__array",
    "__class",
    "__del__",
    "__get",
    "__instancecheck",
    "__reduce",
    "__set",
    "__subclass",
    "__torch",
)
NO_PART = {"__getattr__", "__getitem__", "__setattr__", "__setitem__"}
# What is not of PyTorch and may be derived from; private names of other classes have a meaning to these.
BASES = {"ABC", "Enum", "Generic", "IntEnum", "NamedTuple", "Protocol", "StrEnum", "TypedDict"}
PARSED = {"description", "prog"}  # of a parser of arguments: it could read files, or set what it is given
GIVEN = {"run", "batch"}  # what the lab's objects are called in the template; renamed, the lab itself refuses


def is_module(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> bool:
    """Tell whether what is imported is a module."""
    return isinstance(node, ast.Import) or alias.name in MODULES or (node.module, alias.name) == ("lab", "sparse")


@functools.cache
def of_the_lab() -> frozenset[str]:
    """The private names of the objects that the lab hands to an experiment."""
    spec = find_spec("lab")
    folders = spec.submodule_search_locations if spec else None
    sources = [Path(folder, f"{name}.py") for folder in folders or () for name in ("training", "batches", "settings")]
    return frozenset(name for path in sources for name in re.findall(r"\b_\w+", path.read_text(encoding="utf-8")))
