"""What x32 changes in the table of x86-64 (``asm/unistd_x32.h``); numbers without the x32 bit."""

RUNS = (
    (
        512,
        "rt_sigaction rt_sigreturn ioctl readv writev recvfrom sendmsg recvmsg execve ptrace "
        "rt_sigpending rt_sigtimedwait rt_sigqueueinfo sigaltstack timer_create mq_notify "
        "kexec_load waitid set_robust_list get_robust_list vmsplice move_pages preadv pwritev "
        "rt_tgsigqueueinfo recvmmsg sendmmsg process_vm_readv process_vm_writev setsockopt "
        "getsockopt io_setup io_submit execveat preadv2 pwritev2",
    ),
)

MISSING = (
    "_sysctl create_module epoll_ctl_old epoll_wait_old get_kernel_syms get_thread_area "
    "nfsservctl query_module set_thread_area uselib vserver"
)
