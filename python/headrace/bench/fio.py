"""fio beside ours: the command line that reads the same bytes in the same way, and what fio says to it."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import HeadraceError

__all__ = ["FioCommand", "FioError", "FioResult", "fio_command", "fio_path", "fio_version", "parse_fio", "run_fio"]

_FILENAMES_BYTES = 4000  # fio's own limit for the list of file names is 4096
_SPARE_SECONDS = 60.0
_ENGINE_NICE = 5  # priority of our reading threads: on a busy machine it decides who runs


class FioError(HeadraceError, RuntimeError):
    """fio did not run, or said what we do not understand."""


@dataclass(frozen=True, kw_only=True)
class FioCommand:
    """arguments: of fio, the program's name first. exact: whether it is the same work for device and cache. remark: what differs."""

    arguments: tuple[str, ...]
    exact: bool
    remark: str

    @property
    def line(self) -> str:
        """As one types it into a shell."""
        return shlex.join(self.arguments)


@dataclass(frozen=True, kw_only=True)
class FioResult:
    """What fio measured. Latencies: of whole reads, from submission to completion; None where fio gave none."""

    bytes: int
    seconds: float
    bytes_per_second: float
    operations_per_second: float
    latency_p50_seconds: float | None
    latency_p99_seconds: float | None
    latency_p999_seconds: float | None
    cpu_seconds: float


def fio_path() -> str | None:
    """Where fio is; None if it is not installed."""
    return shutil.which("fio")


def fio_version(program: str) -> str:
    """What `fio --version` says, or "" if it fails."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=_SPARE_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _engine(reader: str, depth: int) -> tuple[list[str], bool, str]:
    """fio's options for a reader, whether that is the same work, and what differs."""
    if reader == "direct":
        return ["--ioengine=io_uring", "--direct=1", f"--iodepth={depth}"], True, ""
    if reader == "uring":
        return ["--ioengine=io_uring", "--direct=0", f"--iodepth={depth}"], True, ""
    if reader == "pread":
        remark = "" if depth == 1 else "fio's psync reads one block after the other; ours tells the kernel of the next ones"
        return ["--ioengine=psync", "--direct=0"], depth == 1, remark
    return ["--ioengine=mmap"], False, "fio's mmap faults page by page and copies; ours asks for blocks ahead and copies nothing"


def fio_command(
    files: Sequence[Path],
    *,
    reader: str,
    pattern: str,
    block_bytes: int,
    depth: int,
    threads: int,
    seconds: float,
    loop: bool,
    warm: bool,
    seed: int = 0,
    file_bytes: int = 0,
) -> FioCommand | None:
    """The equivalent of one of our points. loop: begin again at the end of the files; else that is the end. file_bytes: of all files together.

    None where the files' names are too many for fio.
    """
    names = ":".join(str(path).replace("\\", "\\\\").replace(":", "\\:") for path in files)
    if len(names) > _FILENAMES_BYTES:
        return None
    engine, exact, remark = _engine(reader, depth)
    arguments = ["fio", "--name=headrace", f"--filename={names}", "--readonly", f"--rw={'randread' if pattern == 'random' else 'read'}"]
    arguments += [f"--bs={block_bytes}", *engine]
    if threads > 1:
        arguments += [f"--numjobs={threads}", "--group_reporting"]
        if pattern == "sequential" and len(files) == 1:
            # Ours share one sequence; fio's jobs would each read the whole file: a part for each comes closest.
            part = file_bytes // threads // block_bytes * block_bytes
            arguments += [f"--size={part}", f"--offset_increment={part}"]
            remark = remark or "fio's jobs read a part of the file each; ours take blocks of one sequence in turn"
        elif reader != "direct":
            exact, remark = (
                False,
                remark or "fio's jobs all read the same blocks, and find each other's in the page cache; ours share them out",
            )
    if len(files) > 1:
        arguments.append(f"--file_service_type={'random' if pattern == 'random' else 'sequential'}")
    if pattern == "random":
        arguments.append(f"--randseed={seed + 1}")
    arguments += [f"--runtime={max(1, round(seconds * 1000))}ms", *(["--time_based"] if loop else [])]
    if reader != "mmap":
        arguments.append(f"--nice={_ENGINE_NICE}")
    # Ours gives no advice on the file as a whole; fio would.
    arguments += ["--fadvise_hint=0", f"--invalidate={0 if warm else 1}", "--lat_percentiles=1", "--output-format=json"]
    return FioCommand(arguments=tuple(arguments), exact=exact, remark=remark)


def _percentile(latency: dict[str, Any], share: str) -> float | None:
    value = latency.get("percentile", {}).get(share)
    return None if value is None else float(value) * 1e-9


def parse_fio(text: str) -> FioResult:
    """The reads in a document of `fio --output-format=json`, jobs summed. Raises FioError for what is no such document, or a job that failed."""
    begin = text.find("{")  # warnings may stand before it
    try:
        jobs = json.loads(text[begin:])["jobs"] if begin >= 0 else []
        failed = next((job for job in jobs if job.get("error")), None)
        if failed is not None:
            raise FioError(f"fio: job {failed.get('jobname', '')} failed with error {failed['error']}")
        reads = [job["read"] for job in jobs]
        seconds = max(float(read["runtime"]) for read in reads) / 1000
        # lat: whole reads, as ours; clat, which leaves out the submission, where that was not asked for.
        latency: dict[str, Any] = next((reads[0][name] for name in ("lat_ns", "clat_ns") if "percentile" in reads[0].get(name, {})), {})
        cpu = sum(
            (float(job.get("usr_cpu", 0)) + float(job.get("sys_cpu", 0))) / 100 * float(job["read"]["runtime"]) / 1000 for job in jobs
        )
        one = len(reads) == 1
        return FioResult(
            bytes=sum(int(read["io_bytes"]) for read in reads),
            seconds=seconds,
            bytes_per_second=sum(float(read["bw_bytes"]) for read in reads),
            operations_per_second=sum(float(read["iops"]) for read in reads),
            latency_p50_seconds=_percentile(latency, "50.000000") if one else None,
            latency_p99_seconds=_percentile(latency, "99.000000") if one else None,
            latency_p999_seconds=_percentile(latency, "99.900000") if one else None,
            cpu_seconds=cpu,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FioError(f"fio: its answer is not the JSON that it writes since version 3: {type(error).__name__}: {error}") from error


def run_fio(command: FioCommand, program: str, *, seconds: float) -> FioResult:
    """Run `command` with the fio at `program`. seconds: of its run, on which the time limit rests. Raises FioError."""
    try:
        done = subprocess.run(
            [program, *command.arguments[1:]],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=10 * seconds + _SPARE_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FioError(f"fio: {error}") from error
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise FioError(f"fio: exit code {done.returncode}: {lines[0] if lines else 'it said nothing'}")
    return parse_fio(done.stdout)
