"""The default profile: which system calls a container may make.

An allow-list that behaves as Docker's documented default does: what is not named is refused with
EPERM, and capabilities open further groups. Left out on purpose is what reaches kernel state that
no namespace divides (keys, modules, clocks, swap), what has been a way into the kernel too often
(io_uring, userfaultfd), and what is obsolete.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from wherry.model.runtime_spec import LinuxSeccomp, LinuxSeccompArg, LinuxSyscall
from wherry.runtime.seccomp.actions import ENOSYS, EPERM
from wherry.runtime.seccomp.architectures import native

ALLOW = "SCMP_ACT_ALLOW"
ERRNO = "SCMP_ACT_ERRNO"

SUB_ARCHITECTURES = {
    "SCMP_ARCH_X86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "SCMP_ARCH_AARCH64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}

_FILES = """
    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3
    faccessat faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2
    fchown fchown32 fchownat fcntl fcntl64 fdatasync flock fstat fstat64 fstatat64 fstatfs
    fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 ioctl lchown
    lchown32 link linkat _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat
    name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64
    pwritev pwritev2 read readahead readlink readlinkat readv rename renameat renameat2 rmdir
    sendfile sendfile64 splice stat stat64 statfs statfs64 statx symlink symlinkat sync
    sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat
    utimensat_time64 utimes vmsplice write writev listmount statmount arm_fadvise64_64
    arm_sync_file_range sync_file_range2
"""
_EXTENDED_ATTRIBUTES = """
    fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr
    listxattrat llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat
    file_getattr file_setattr
"""
_EVENTS = """
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
    epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1
    inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64
    io_setup io_submit _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select
    signalfd signalfd4
"""
_MEMORY = """
    brk cacheflush madvise map_shadow_stack memfd_create memfd_secret mincore mlock mlock2
    mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc
    pkey_free pkey_mprotect remap_file_pages
"""
_PROCESSES = """
    alarm breakpoint capget capset execve execveat exit exit_group fork getcpu getegid getegid32
    geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid
    getpriority getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid gettid
    getuid getuid32 ioprio_get ioprio_set kill membarrier pause pidfd_open pidfd_send_signal
    prctl prlimit64 process_mrelease process_vm_readv process_vm_writev ptrace restart_syscall
    rseq sched_getaffinity sched_getattr sched_getparam sched_get_priority_max
    sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield setfsgid
    setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setpgid setpriority
    setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
    setrlimit setsid setuid setuid32 set_tid_address tgkill tkill ugetrlimit uretprobe vfork
    wait4 waitid waitpid
"""
_SIGNALS = """
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
    rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn
"""
_THREADS = """
    futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list
    get_thread_area set_robust_list set_thread_area set_tls
"""
_TIME = """
    adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep
    setitimer time timer_create timer_delete timerfd_create timerfd_gettime timerfd_gettime64
    timerfd_settime timerfd_settime64 timer_getoverrun timer_gettime timer_gettime64
    timer_settime timer_settime64 times
"""
_SOCKETS = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
    recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall
    socketpair
"""
_IPC = """
    ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
    mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
    semtimedop_time64 shmat shmctl shmdt shmget
"""
_SYSTEM = """
    arch_prctl cachestat getrandom landlock_add_rule landlock_create_ruleset
    landlock_restrict_self modify_ldt seccomp sysinfo uname
"""

ALWAYS = tuple(
    sorted(
        " ".join(
            (
                *(_FILES, _EXTENDED_ATTRIBUTES, _EVENTS, _MEMORY, _PROCESSES, _SIGNALS),
                *(_THREADS, _TIME, _SOCKETS, _IPC, _SYSTEM),
            )
        ).split()
    )
)

BY_CAPABILITY = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie
        lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount
        open_tree open_tree_attr perf_event_open quotactl quotactl_fd setdomainname sethostname
        setns syslog umount umount2 unshare
    """,
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYSLOG": "syslog",
}

# linux/sched.h: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
_NEW_NAMESPACES = 0x7E020000

# linux/personality.h: PER_LINUX and PER_LINUX32, each plain and with UNAME26; all ones asks.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

# linux/socket.h. Sockets of the kernel's cryptography and of the hypervisor know no namespaces.
_AF_ALG = 38
_AF_VSOCK = 40


def default_profile(caps: Iterable[str], machine: str = "") -> LinuxSeccomp:
    """The default profile for a container whose bounding set is ``caps`` (``CAP_CHOWN``, ...).

    ``machine`` is the processor as uname(2) names it, this one's by default; NotSupported if
    there are no tables for it.
    """
    return LinuxSeccomp(
        default_action=ERRNO,
        default_errno_ret=EPERM,
        architectures=SUB_ARCHITECTURES[native(machine or os.uname().machine).name],
        syscalls=(
            LinuxSyscall(names=ALWAYS, action=ALLOW),
            *_when_first(("personality",), "SCMP_CMP_EQ", _PERSONALITIES),
            *_sockets(),
            *_privileged(frozenset(caps)),
        ),
    )


def _privileged(caps: frozenset[str]) -> Iterable[LinuxSyscall]:
    for capability, names in BY_CAPABILITY.items():
        if capability in caps:
            yield LinuxSyscall(names=tuple(names.split()), action=ALLOW)
    if "CAP_SYS_ADMIN" not in caps:
        yield _plain_clone()
        # Its flags are in memory, where a filter cannot look: C libraries fall back to clone.
        yield LinuxSyscall(names=("clone3",), action=ERRNO, errno_ret=ENOSYS)


def _plain_clone() -> LinuxSyscall:
    no_namespace = LinuxSeccompArg(index=0, value=_NEW_NAMESPACES, op="SCMP_CMP_MASKED_EQ")
    return LinuxSyscall(names=("clone",), action=ALLOW, args=(no_namespace,))


def _sockets() -> Iterable[LinuxSyscall]:
    yield from _when_first(("socket",), "SCMP_CMP_LT", (_AF_ALG,))
    yield from _when_first(("socket",), "SCMP_CMP_EQ", range(_AF_ALG + 1, _AF_VSOCK))
    yield from _when_first(("socket",), "SCMP_CMP_GT", (_AF_VSOCK,))


def _when_first(names: tuple[str, ...], op: str, values: Iterable[int]) -> Iterable[LinuxSyscall]:
    for value in values:
        condition = LinuxSeccompArg(index=0, value=value, op=op)
        yield LinuxSyscall(names=names, action=ALLOW, args=(condition,))
