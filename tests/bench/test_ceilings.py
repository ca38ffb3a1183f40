import pytest

from headrace.bench.ceilings import measure_ceilings, page_in


def test_rates_are_measured_over_all_bytes_of_all_files(tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    for number, file in enumerate(files):
        file.write_bytes(bytes(1000 + 9_000_000 * number))
    assert page_in(files) == 9_002_000
    for threads in (1, 3):
        ceilings = measure_ceilings(files, threads)
        assert (ceilings.threads, ceilings.file_bytes) == (threads, 9_002_000)
        assert min(ceilings.copy_bytes_per_second, ceilings.read_bytes_per_second, ceilings.hash_bytes_per_second) > 0


def test_no_files_read_at_no_rate():
    ceilings = measure_ceilings([], 1)
    assert (ceilings.read_bytes_per_second, ceilings.hash_bytes_per_second, ceilings.file_bytes) == (0.0, 0.0, 0)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        page_in([tmp_path / "none"])
