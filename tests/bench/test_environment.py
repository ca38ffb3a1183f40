import json
import sys

from headrace.bench import environment


def test_a_result_carries_what_it_means_nothing_without():
    described = environment()
    assert described["cores"] >= described["usable_cores"] >= 1
    assert described["memory_bytes"] > 1 << 28
    assert described["python"] == sys.version.split()[0]
    assert described["versions"]["numpy"]
    assert described["build"]["format"] == "1.1"
    json.dumps(described, allow_nan=False)
