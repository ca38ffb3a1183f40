"""Run by `make wheel` where only the wheel and numpy are installed: writes a dataset, opens it, reads it back, asks the command line."""

import importlib.util
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

import headrace as hr


def main() -> None:
    """Fail with an assertion, or print one line."""
    assert importlib.util.find_spec("torch") is None, "this check must run without torch"
    assert "site-packages" in hr.__file__, f"headrace was imported from {hr.__file__}, not from the wheel"
    columns = {
        "x": np.arange(3000, dtype=np.float32).reshape(1000, 3),
        "label": np.arange(1000, dtype=np.int64) % 7,
    }
    with tempfile.TemporaryDirectory() as folder:
        for codec in ("none", "lz4", "zstd"):
            path = pathlib.Path(folder) / codec
            hr.write(path, columns, codec=codec)
            dataset = hr.open(path)
            assert len(dataset) == 1000
            seen = 0
            for index, sample in enumerate(dataset):
                np.testing.assert_array_equal(sample["x"], columns["x"][index])
                assert int(sample["label"]) == index % 7
                seen += 1
            assert seen == 1000
            command = pathlib.Path(sys.executable).with_name("headrace")
            subprocess.run([command, "verify", path], check=True, stdout=subprocess.DEVNULL)
    maps = pathlib.Path("/proc/self/maps").read_text()
    for library in ("liblz4", "libzstd"):
        lines = [line.split()[-1] for line in maps.splitlines() if library in line]
        assert lines, f"{library} is not loaded"
        assert all("headrace.libs" in line for line in lines), f"{library} comes from the system: {sorted(set(lines))}"
    print(f"wheel: headrace {hr.__version__} wrote, opened, read and verified 3 datasets with its own lz4 and zstd, without torch")


if __name__ == "__main__":
    main()
