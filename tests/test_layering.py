"""The layer rule of both trees (design.md section 3): reads every #include and import line, and names each forbidden arrow.

A layer may use what stands to its left, never what stands to its right, never a neighbour; imports inside functions count.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CPP = ROOT / "cpp" / "headrace"
PYTHON = ROOT / "python" / "headrace"

# C++ layers, left to right: each may include the ones before it.
CPP_LAYERS = [
    "base",  # status, bytes, clocks, threads: the standard library only
    "storage",  # files, mappings, memory: synchronous
    "codec",  # compression, filters, checksums of byte spans
    "format",  # what the bytes of shards and manifests mean
    "io",  # everything asynchronous about reading
    "ops",  # kernels from stored to delivered values
    "statistics",  # what batches of rows amount to: moments, sketches, counts
    "pipeline",  # order, plan, batches, statistics
    "bindings",  # the only layer that knows Python
]

# Headers of one library each -> the only layers that may name them, so that replacing the library touches one place.
CPP_LIBRARIES = {
    r"pybind11/|Python\.h": {"bindings"},
    r"lz4|zstd|zdict|xxhash": {"codec", "bindings"},  # bindings only asks which version was built in
    r"turbojpeg|jpeglib|jerror|png\.h|webp/": {"ops"},
}
# What only Linux has stays in files named for it, behind a portable twin.
LINUX_HEADERS = re.compile(r"linux/|sys/(epoll|eventfd|inotify|prctl|sendfile|statfs|syscall|sysinfo|vfs)\.h")

# Python layer -> the layers that it may import. The key is the first name below headrace.
_STORED = {"errors", "schema", "_native"}
_DATA = _STORED | {"sampling", "datasets", "writing", "statistics", "prep", "images"}
PYTHON_LAYERS: dict[str, set[str]] = {
    "errors": set(),  # exception types; everything may raise them
    "schema": {"errors"},  # fields, dtypes, shapes as Python sees them
    "_native": {"errors", "schema"},  # the only import of the extension
    "sampling": _STORED,  # order, partition, position: numbers, no data
    "datasets": _STORED | {"sampling"},  # things with a length and a fetch; an iterable one carries an order
    "writing": _STORED | {"datasets"},  # makes datasets, and reads back what it made
    "statistics": _STORED | {"datasets"},  # accumulators of rows, and the profile of a dataset
    "prep": _STORED | {"datasets", "statistics", "writing"},  # fits on datasets, and writes prepared ones
    "images": _STORED,  # describes decoding; the kernels are native
    "loader": _DATA,  # batches for the training loop
    "integrations": _DATA | {"loader"},  # other frameworks' protocols around the loader
    "monitor": {"errors"},  # watches loaders by their stats(), whatever they are
    "bench": _DATA | {"loader"},  # measures; returns data, prints nothing
    "evaluate": _DATA
    | {"loader", "bench", "report"},  # qualities of a user's data, model or run; its results show themselves as tables and plots
    "tune": _DATA | {"loader", "bench", "evaluate"},  # searches options by measuring
    "demo": _DATA | {"loader", "bench", "evaluate", "tune"},  # the main job on real input; returns data like bench
    "profiling": _DATA | {"report"},  # a pass over a dataset; what it gives prints and draws itself
    "report": {"errors"},  # text, tables, progress, plots: knows values, not headrace
    "cli": _DATA
    | {
        "loader",
        "integrations",
        "bench",
        "evaluate",
        "tune",
        "demo",
        "profiling",
        "report",
        "monitor",
    },  # one file a command; nobody imports it
    "__main__": {"cli"},  # python -m headrace
    "__init__": _DATA
    | {"loader", "integrations", "monitor", "bench", "evaluate", "tune", "profiling"},  # the public names, heavy ones on first use
}

# Packages beyond the standard library and numpy -> layers that may import them; a new dependency is a decision, not an accident.
THIRD_PARTY = {
    "torch": {"_native", "sampling", "datasets", "writing", "loader", "integrations", "bench", "evaluate", "tune", "demo"},
    "torchdata": {"loader", "integrations"},
    "pyarrow": {"datasets", "writing", "demo", "profiling"},
    "matplotlib": {"report"},
    "PIL": {"datasets", "writing", "images"},
    "pandas": {"demo"},
    "sklearn": {"prep", "evaluate", "demo"},
    "scipy": {"evaluate"},
    "imblearn": {"prep"},
    "optuna": {"tune"},
    "obstore": {"datasets", "writing"},
    "fsspec": {"datasets", "writing"},
    "keras": {"integrations"},
    "dlio_benchmark": {"integrations"},
    "ray": {"integrations", "tune"},
    "prometheus_client": {"monitor"},
}
EXTENSION = "headrace._native._ext"


def cpp_violations(root: Path) -> Iterator[str]:
    """Forbidden include lines below `root`, whose first folder names the layer."""
    files = sorted(path for pattern in ("*.h", "*.cc") for path in root.rglob(pattern))
    for path in files:
        layer = path.relative_to(root).parts[0]
        if layer not in CPP_LAYERS:
            if path.parent != root:
                yield f"{path.relative_to(root)}: '{layer}' is not a layer"
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if match is None:
                continue
            place = f"{path.relative_to(root)}:{number}"
            yield from (f"{place}: {problem}" for problem in _include_problems(layer, path.name, match[1], match[2]))


def _include_problems(layer: str, file_name: str, bracket: str, target: str) -> Iterator[str]:
    if target.startswith("headrace/"):
        other = target.split("/")[1]
        if other not in CPP_LAYERS or CPP_LAYERS.index(other) > CPP_LAYERS.index(layer):
            yield f"{layer} may not include {target}"
        return
    if bracket == '"':
        yield f'"{target}" should be written from the include root, as "headrace/{layer}/..."'
    for pattern, layers in CPP_LIBRARIES.items():
        if re.match(pattern, target) and layer not in layers:
            yield f"only {', '.join(sorted(layers))} may include <{target}>"
    if LINUX_HEADERS.match(target) and not file_name.endswith(("_linux.cc", "_linux.h")):
        yield f"<{target}> belongs in a file named *_linux"


def imported_names(path: Path, package: list[str]) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything imported in a file; `package` is the dotted package that holds it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _is_dynamic_import(node.func) and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield node.lineno, name.value


def _is_dynamic_import(function: ast.expr) -> bool:
    return (isinstance(function, ast.Name) and function.id in ("__import__", "import_module", "require", "import_extra")) or (
        isinstance(function, ast.Attribute) and function.attr in ("import_module", "require", "import_extra")
    )


def python_violations(root: Path) -> Iterator[str]:
    """Forbidden imports below `root`, the folder of the package headrace."""
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        layer = parts[0]
        place = f"{path.relative_to(root)}"
        if layer not in PYTHON_LAYERS:
            yield f"{place}: '{layer}' is not a layer; add it to PYTHON_LAYERS with what it may use"
            continue
        for line, name in imported_names(path, ["headrace", *parts[:-1]]):
            problem = _import_problem(layer, name)
            if problem:
                yield f"{place}:{line}: {problem}"


def _import_problem(layer: str, name: str) -> str | None:
    top = name.split(".")[0]
    if top != "headrace":
        if top in sys.stdlib_module_names or top == "numpy":
            return None
        if layer not in THIRD_PARTY.get(top, set()):
            return f"{layer} may not import {top}"
        return None
    if (name == EXTENSION or name.startswith(EXTENSION + ".")) and layer != "_native":
        return f"{layer} may not import the extension; _native wraps it"
    parts = name.split(".")
    other = parts[1] if len(parts) > 1 else "__init__"
    if other not in PYTHON_LAYERS:
        # `from headrace import write`: the package's own face, which stands to the right of all but the command line and the demo.
        other = "__init__"
    if other == "__init__":
        return None if layer in ("cli", "demo") or name == "headrace.__version__" else f"{layer} may not import the package's face ({name})"
    if other != layer and other not in PYTHON_LAYERS[layer]:
        return f"{layer} may not import {name}"
    return None


def write_tree(root: Path, files: dict[str, str]) -> Path:
    """A small source tree for the tests of the checks themselves."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_cpp_layers_include_leftwards_only():
    assert sum(1 for _ in CPP.rglob("*.h")) > 20
    assert list(cpp_violations(CPP)) == []


def test_cpp_tests_include_no_more_than_their_layer():
    # Tests may use what only Linux has, and their own helpers by a bare name: Linux is what is tested.
    found = [line for line in cpp_violations(ROOT / "tests" / "cpp") if "*_linux" not in line and "include root" not in line]
    assert found == []


def test_python_layers_import_leftwards_only():
    assert sum(1 for _ in PYTHON.rglob("*.py")) > 20
    assert list(python_violations(PYTHON)) == []


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("base/a.h", '#include "headrace/storage/file.h"', "base/a.h:1: base may not include headrace/storage/file.h"),
        (
            "io/a.cc",
            "#include <string>\n#  include <pybind11/stl.h>",
            "io/a.cc:2: only bindings may include <pybind11/stl.h>",
        ),
        ("format/a.cc", "#include <Python.h>", "format/a.cc:1: only bindings may include <Python.h>"),
        ("format/a.cc", "#include <zstd.h>", "format/a.cc:1: only bindings, codec may include <zstd.h>"),
        ("io/a.cc", '#include "plan.h"', 'io/a.cc:1: "plan.h" should be written from the include root, as "headrace/io/..."'),
        ("io/a.cc", "#include <linux/io_uring.h>", "io/a.cc:1: <linux/io_uring.h> belongs in a file named *_linux"),
        ("util/a.h", "", "util/a.h: 'util' is not a layer"),
    ],
)
def test_a_forbidden_include_is_named(tmp_path, file, text, expected):
    assert list(cpp_violations(write_tree(tmp_path, {file: text}))) == [expected]


def test_allowed_includes_pass(tmp_path):
    files = {
        "codec/a.cc": '#include <zstd.h>\n#include "headrace/codec/a.h"\n#include "headrace/base/status.h"',
        "io/uring_linux.cc": "#include <linux/io_uring.h>\n#include <vector>",
        "bindings/a.cc": '#include <pybind11/pybind11.h>\n#include "headrace/pipeline/plan.h"',
    }
    assert list(cpp_violations(write_tree(tmp_path, files))) == []


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("_native/a.py", "from headrace.loader import loader", "_native/a.py:1: _native may not import headrace.loader.loader"),
        ("loader/a.py", "def f():\n    import headrace.bench.run", "loader/a.py:2: loader may not import headrace.bench.run"),
        ("loader/a.py", "from ..cli import main", "loader/a.py:1: loader may not import headrace.cli.main"),
        ("loader/a.py", "from .. import cli", "loader/a.py:1: loader may not import headrace.cli"),
        ("datasets/a.py", "from headrace._native import _ext", "datasets/a.py:1: datasets may not import the extension; _native wraps it"),
        ("sampling/a.py", "import headrace", "sampling/a.py:1: sampling may not import the package's face (headrace)"),
        ("prep/a.py", "import torch.utils.data", "prep/a.py:1: prep may not import torch"),
        ("loader/a.py", "import importlib\nm = importlib.import_module('optuna')", "loader/a.py:2: loader may not import optuna"),
        ("bench/a.py", "from headrace.report import table", "bench/a.py:1: bench may not import headrace.report.table"),
        ("errors.py", "from headrace import schema", "errors.py:1: errors may not import headrace.schema"),
        ("helpers/a.py", "", "helpers/a.py: 'helpers' is not a layer; add it to PYTHON_LAYERS with what it may use"),
    ],
)
def test_a_forbidden_import_is_named(tmp_path, file, text, expected):
    assert list(python_violations(write_tree(tmp_path, {file: text}))) == [expected]


def test_allowed_imports_pass(tmp_path):
    files = {
        "_native/__init__.py": "from headrace._native import _ext\nfrom .. import errors",
        "loader/a.py": "import os\nimport torch\nfrom .b import x\nfrom ..datasets.shards import S\nfrom headrace import errors, sampling",
        "cli/a.py": "from headrace.report import table\nimport headrace as hr",
    }
    assert list(python_violations(write_tree(tmp_path, files))) == []


def run_python(code: str) -> str:
    """Standard output of a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Everything public that must work where only numpy is installed; the loader is torch's, and imports it.
USE_WITHOUT_TORCH = "[getattr(headrace, name) for name in headrace.__all__ if name not in ('DataLoader', 'wrap')]"


def test_importing_headrace_imports_nothing_optional():
    loaded = set(run_python(f"import sys, headrace; {USE_WITHOUT_TORCH}; print(*{{name.split('.')[0] for name in sys.modules}})").split())
    assert {"headrace", "numpy"} <= loaded
    assert loaded & {*THIRD_PARTY, "datasets", "polars", "pytest", "rich"} == set()


def test_importing_headrace_starts_no_thread():
    # numpy first: its linear algebra library starts threads of its own.
    count = "len(os.listdir('/proc/self/task'))"
    assert run_python(f"import os, numpy; before = {count}; import headrace; {USE_WITHOUT_TORCH}; print({count} - before)").strip() == "0"
