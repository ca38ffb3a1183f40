"""The package's face: one list of names, each documented and loaded when first used; importing it costs nothing and starts nothing."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import headrace as hr
from headrace import errors
from tests.loader.samples import answer_of

NAMES = sorted(set(hr.__all__) - {"__version__"})


def imported_for_type_checkers() -> dict[str, str]:
    """Name -> module, of the imports under TYPE_CHECKING."""
    tree = ast.parse(Path(hr.__file__).read_text())
    guarded = [node for branch in tree.body if isinstance(branch, ast.If) for node in branch.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: node.module or "" for node in guarded for alias in node.names}


def test_one_list_of_names() -> None:
    assert len(hr.__all__) == len(set(hr.__all__))
    assert set(hr.__all__) == set(hr._HOMES) | hr._MODULES | {"__version__"}
    assert dir(hr) == sorted(hr.__all__)
    assert imported_for_type_checkers() == hr._HOMES | dict.fromkeys(hr._MODULES, "headrace")
    assert set(errors.__all__) <= set(hr.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_documented(name: str) -> None:
    doc = inspect.getdoc(getattr(hr, name)) or ""
    words = re.sub(r"^\w+\(.*\) -> .*\n?", "", doc).strip()  # pybind11 puts the signature there by itself.
    assert len(words) > 15, f"{name}: {doc!r}"
    assert words.rstrip().endswith((".", "`", ")")), words[-40:]


@pytest.mark.parametrize("name", ["DataLoader", "Dataset", "Writer"])
def test_each_public_method_is_documented(name: str) -> None:
    for method, value in vars(getattr(hr, name)).items():
        if not method.startswith("_") and (callable(value) or isinstance(value, property)):
            assert inspect.getdoc(value), f"{name}.{method}"


def test_every_error_is_a_headrace_error_and_what_python_calls_it() -> None:
    for name in set(errors.__all__) - {"HeadraceError", "HeadraceWarning"}:
        kind = getattr(hr, name)
        assert issubclass(kind, hr.HeadraceError)
        assert any(base.__module__ == "builtins" and base not in (Exception, BaseException, object) for base in kind.__mro__), name


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="module 'headrace' has no attribute 'Dataloader'"):
        _ = hr.Dataloader  # type: ignore[attr-defined]


def test_names_are_kept_once_loaded() -> None:
    assert hr.open is hr.open
    assert "open" in vars(hr)


IMPORT = """
import json, os, sys
before = set(sys.modules)
import headrace
dir(headrace)
new = set(sys.modules) - before
foreign = sorted({name.split(".")[0] for name in new} - sys.stdlib_module_names - {"headrace"})
print(json.dumps({"foreign": foreign, "ours": sorted(name for name in new if name.startswith("headrace")), "threads": len(os.listdir("/proc/self/task"))}))
"""


def test_the_import_loads_nothing_else_and_starts_no_thread() -> None:
    assert answer_of(IMPORT) == {"foreign": [], "ours": ["headrace"], "threads": 1}


USE = """
import json, os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy's own threads
import headrace as hr
for name in set(hr.__all__) - {"DataLoader", "wrap"}:
    getattr(hr, name)
hr.write(sys.argv[1], {"id": list(range(100))})
ids = [int(sample["id"]) for sample in hr.open(sys.argv[1])]
foreign = {name.split(".")[0] for name in sys.modules} & {"torch", "pyarrow", "pandas", "PIL", "ray", "optuna", "rich", "tqdm"}
print(json.dumps([ids == list(range(100)), sorted(foreign)]))
"""


def test_datasets_need_numpy_only(tmp_path: Path) -> None:
    assert answer_of(USE, tmp_path / "d") == [True, []]


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    code = """
import json, sys
sys.modules["torch"] = None  # As if it were not installed.
import headrace as hr
messages = []
hr.write(sys.argv[1], {"id": list(range(3))})
for use in (lambda: hr.DataLoader, lambda: hr.open(sys.argv[1]).iterable(2)):
    try:
        use()
    except hr.MissingExtraError as error:
        messages.append(str(error))
print(json.dumps(messages))
"""
    install = "install it with: pip install 'headrace[torch]'"
    assert answer_of(code, tmp_path / "d") == [f"headrace.DataLoader needs torch; {install}", f"Dataset.iterable() needs torch; {install}"]


def test_the_version_is_that_of_the_installed_package() -> None:
    from importlib.metadata import version

    assert hr.__version__ == version("headrace")
