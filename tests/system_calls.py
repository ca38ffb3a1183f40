"""Refuse or hold chosen system calls of this process, by seccomp: works without privileges. For subprocesses only: filters stay for good.

A filter holds for the calling thread and for threads that it starts afterwards.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import struct
import threading

__all__ = ["OPENAT", "O_DIRECT", "POSITIONAL_READS", "URING_SETUP", "HeldCalls", "refuse_call"]

_IS_ARM = platform.machine() == "aarch64"
OPENAT = 56 if _IS_ARM else 257
URING_SETUP = 425
O_DIRECT = os.O_DIRECT
POSITIONAL_READS = [67, 69, 286, 426] if _IS_ARM else [17, 295, 327, 426]  # pread64, preadv, preadv2, io_uring_enter

_LOAD, _JUMP_EQUAL, _JUMP_ANY, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JSET|K, BPF_RET|K
_ALLOW, _ERRNO, _NOTIFY = 0x7FFF0000, 0x00050000, 0x7FC00000  # SECCOMP_RET_*
_SET_NO_NEW_PRIVS = 38
_SECCOMP, _SET_FILTER, _NEW_LISTENER = (277 if _IS_ARM else 317), 1, 8
_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_*

Step = tuple[int, int, int, int]  # code, jump if true, jump if false, operand

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def _install(steps: list[Step], flags: int = 0) -> int:
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.addressof(code))
    if _libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    result = int(_libc.syscall(_SECCOMP, _SET_FILTER, flags, ctypes.byref(program)))
    if result < 0:
        raise OSError(ctypes.get_errno(), "seccomp(SECCOMP_SET_MODE_FILTER)")
    return result


def refuse_call(number: int, error: int = errno.EPERM, *, argument: int | None = None, bits: int = 0) -> None:
    """From now on the call fails with `error`; with `argument`, only where any of `bits` is set in that argument."""
    steps: list[Step] = [(_LOAD, 0, 0, 0)]
    if argument is None:
        steps += [(_JUMP_EQUAL, 0, 1, number)]
    else:
        steps += [(_JUMP_EQUAL, 0, 3, number), (_LOAD, 0, 0, 16 + 8 * argument), (_JUMP_ANY, 0, 1, bits)]
    _install([*steps, (_RETURN, 0, 0, _ERRNO | error), (_RETURN, 0, 0, _ALLOW)])


class HeldCalls:
    """Calls of these numbers wait in the kernel, for as long as it takes, until release(); then they and later ones go on as if nothing was."""

    def __init__(self, numbers: list[int]) -> None:
        checks: list[Step] = [(_JUMP_EQUAL, len(numbers) - i, 0, number) for i, number in enumerate(numbers)]
        self._listener = _install([(_LOAD, 0, 0, 0), *checks, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _NOTIFY)], _NEW_LISTENER)

    def release(self) -> None:
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        while True:
            message = bytearray(80)  # struct seccomp_notif; its id comes first
            try:
                fcntl.ioctl(self._listener, _RECEIVE, message)
                answer = bytearray(
                    struct.pack("=QqiI", struct.unpack_from("=Q", message)[0], 0, 0, 1)
                )  # 1: SECCOMP_USER_NOTIF_FLAG_CONTINUE
                fcntl.ioctl(self._listener, _SEND, answer)
            except FileNotFoundError:  # The thread that waited is gone.
                continue
