"""Listing a tree of images: torchvision's order, and what was kept never hides a change."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import headrace as hr
from headrace import _native
from headrace.datasets import folder_listing
from headrace.datasets.folder_listing import list_folders
from headrace.errors import NotFoundError

NAMES = ("b.jpg", "a.jpg", "A.JPG", "z\udcff.jpg", "\U0001f600.jpg", "\uff5e.jpg", "note.txt")
FOLDERS = ("cat", "cat/inner", "cat/inner/deep", "cat-2", "dog", "dog/x.jpg")


def make_tree(root: Path) -> Path:
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
        for name in NAMES:
            (root / folder / name).write_bytes(b"")
    return root


def expected(root: Path) -> list[str]:
    """torchvision.datasets.folder.make_dataset(), word for word where it matters."""
    found = []
    for target in sorted(entry.name for entry in os.scandir(root) if entry.is_dir()):
        for folder, _, names in sorted(os.walk(os.path.join(root, target), followlinks=True)):
            found += [os.path.join(folder, name) for name in sorted(names) if name.lower().endswith(".jpg")]
    return found


def paths(root: Path, **options: bool) -> list[str]:
    return [path for path, _ in hr.ImageFolder(root, **options).samples]


CHANGES: dict[str, Callable[[Path], object]] = {
    "added": lambda root: (root / "cat" / "inner" / "new.jpg").write_bytes(b""),
    "removed": lambda root: (root / "dog" / "a.jpg").unlink(),
    "renamed": lambda root: (root / "cat-2" / "a.jpg").rename(root / "cat-2" / "c.jpg"),
    "moved": lambda root: (root / "cat" / "a.jpg").rename(root / "dog" / "moved.jpg"),
    "new class": lambda root: shutil.copytree(root / "cat", root / "bird"),
    "class renamed": lambda root: (root / "cat").rename(root / "tiger"),
    "classes exchanged": lambda root: (
        (root / "cat").rename(root / "t"),
        (root / "dog").rename(root / "cat"),
        (root / "t").rename(root / "dog"),
    ),
    "folder gone": lambda root: shutil.rmtree(root / "cat" / "inner"),
    "folder made a file": lambda root: (shutil.rmtree(root / "dog" / "x.jpg"), (root / "dog" / "x.jpg").write_bytes(b"")),
    "folder put in place of another": lambda root: (
        shutil.rmtree(root / "cat" / "inner" / "deep"),
        (root / "cat" / "inner" / "deep").mkdir(),
        (root / "cat" / "inner" / "deep" / "other.jpg").write_bytes(b""),
    ),
    "tree put in place of another": lambda root: (root.rename(f"{root}.old"), make_tree(root), (root / "dog" / "b.jpg").unlink()),
    "a link": lambda root: (root / "cat" / "link.jpg").symlink_to("nowhere"),
}


@pytest.fixture(scope="module")
def old_trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tree for each change, unchanged for so long that its listing can be kept."""
    folder = tmp_path_factory.mktemp("trees")
    trees = {name: make_tree(folder / name.replace(" ", "_")) for name in [*CHANGES, "none", "damaged", "together", "seen"]}
    while not all(_native.list_directories([tree / inner], [None], threads=0)[0][3] for tree in trees.values() for inner in FOLDERS):  # type: ignore[index]
        time.sleep(0.1)
    return trees


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(folder_listing, "_LEAST_FILES", 1)
    return tmp_path / "cache" / "listings"


def test_the_order_is_torchvisions(tmp_path: Path, cache: Path) -> None:
    root = make_tree(tmp_path / "root")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "linked.jpg").write_bytes(b"")
    (root / "dog" / "link").symlink_to(tmp_path / "elsewhere")
    (root / "linked class").symlink_to(tmp_path / "elsewhere")
    assert paths(root) == expected(root)
    assert paths(root, cache=False) == expected(root)
    assert hr.ImageFolder(root).classes == ["cat", "cat-2", "dog", "linked class"]
    assert len(hr.ImageFolder(root)) == len(expected(root)) == 6 * 6 + 2


def test_what_did_not_change_is_not_listed_again(old_trees: dict[str, Path], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = old_trees["none"]
    assert paths(root, cache=False) == expected(root)
    assert not cache.exists()
    assert paths(root) == expected(root)
    assert len(list(cache.iterdir())) == 1
    answers: list[object] = []
    real = _native.list_directories
    monkeypatch.setattr(folder_listing._native, "list_directories", lambda *a, **k: answers.extend(found := real(*a, **k)) or found)
    assert paths(root) == expected(root)
    assert answers == [None] * 7


@pytest.mark.parametrize("name", list(CHANGES))
def test_a_change_is_noticed(old_trees: dict[str, Path], cache: Path, name: str) -> None:
    root = old_trees[name]
    before = paths(root)
    assert before == expected(root)
    CHANGES[name](root)
    after = expected(root)
    assert after != before or name == "classes exchanged"
    assert paths(root) == after
    assert paths(root) == after


def test_a_change_right_after_the_listing_is_noticed(tmp_path: Path, cache: Path) -> None:
    """Within one tick of the clock, times do not tell: what changed a moment ago is not kept."""
    root = make_tree(tmp_path / "root")
    for i in range(50):
        (root / "cat" / f"{i}.jpg").write_bytes(b"")
        assert paths(root) == expected(root)


def test_what_was_kept_of_another_kind_is_left_alone(old_trees: dict[str, Path], cache: Path) -> None:
    root = old_trees["damaged"]
    assert paths(root) == expected(root)
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    others = (b'{"version": 2}', b'{"version": 1, "folders": {"": [1, 2, 3]}}', b"[" * 100_000)
    for damaged in (b"", whole[:100], b"[]", whole.replace(b"a.jpg", b'a"jpg'), *others):
        kept.write_bytes(damaged)
        assert paths(root) == expected(root)


def test_processes_and_threads_that_list_one_tree_do_not_disturb_each_other(old_trees: dict[str, Path], cache: Path) -> None:
    root = old_trees["together"]
    right, found = expected(root), []

    def many() -> None:
        for _ in range(20):
            shutil.rmtree(cache, ignore_errors=True)
            found.append(paths(root))

    threads = [threading.Thread(target=many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [right] * 160
    assert not [name for name in os.listdir(cache) if name.startswith(".")]


def test_a_cache_that_cannot_be_written_is_none(old_trees: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("HEADRACE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert paths(old_trees["seen"]) == expected(old_trees["seen"])


def test_endless_links_are_errors(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root")
    (root / "cat" / "a").mkdir()
    (root / "cat" / "a" / "to_dog").symlink_to(root / "dog")
    (root / "dog" / "to_a").symlink_to(root / "cat" / "a")
    with pytest.raises(ValueError, match="is a link to a folder that it is in"):
        list_folders(str(root))
    (root / "dog" / "to_a").unlink()
    (root / "dog" / "self").symlink_to(".")
    with pytest.raises(ValueError, match=r"self is a link to a folder that it is in"):
        list_folders(str(root))


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        hr.ImageFolder(tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        hr.ImageFolder(tmp_path / "file")
