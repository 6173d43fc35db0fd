"""Calls that 32-bit x86 also offers as functions of ``socketcall`` and ``ipc``.

socketcall(2), ipc(2); ``linux/net.h`` and ``linux/ipc.h``. Their arguments are in memory, where a
filter cannot look, so only rules without conditions can follow them there.
"""

_SOCKETCALL = (
    "- socket bind connect listen accept getsockname getpeername socketpair send recv sendto "
    "recvfrom shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg"
)
_IPC = {
    "semop": 1,
    "semget": 2,
    "semctl": 3,
    "semtimedop": 4,
    "msgsnd": 11,
    "msgrcv": 12,
    "msgget": 13,
    "msgctl": 14,
    "shmat": 21,
    "shmdt": 22,
    "shmget": 23,
    "shmctl": 24,
}

# The call, its function there, and the bits of the first argument that choose it: the upper half
# of ipc's is a version.
MULTIPLEXED: dict[str, tuple[str, int, int]] = {
    name: ("socketcall", function, 0xFFFFFFFF)
    for function, name in enumerate(_SOCKETCALL.split())
    if name != "-"
} | {name: ("ipc", function, 0xFFFF) for name, function in _IPC.items()}
