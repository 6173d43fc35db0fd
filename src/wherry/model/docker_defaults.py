"""What of the kernel's files a container sees unless it asks for something else, as Docker has it.

The engine writes it into configurations; the runtime makes it beforehand for the next container.
"""

from __future__ import annotations

from wherry.model.runtime_spec import Mount

SHM_SIZE = 64 * 1024 * 1024

PROC = Mount(destination="/proc", type="proc", source="proc", options=("nosuid", "noexec", "nodev"))
DEV = Mount(
    destination="/dev",
    type="tmpfs",
    source="tmpfs",
    options=("nosuid", "strictatime", "mode=755", "size=65536k"),
)
PTS = Mount(
    destination="/dev/pts",
    type="devpts",
    source="devpts",
    options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
)
SYS = Mount(
    destination="/sys", type="sysfs", source="sysfs", options=("nosuid", "noexec", "nodev", "ro")
)
CGROUP = Mount(
    destination="/sys/fs/cgroup",
    type="cgroup",
    source="cgroup",
    options=("ro", "nosuid", "noexec", "nodev"),
)
MQUEUE = Mount(
    destination="/dev/mqueue",
    type="mqueue",
    source="mqueue",
    options=("nosuid", "noexec", "nodev"),
)


def shm(size: int = SHM_SIZE) -> Mount:
    """Memory that the container's processes share; ``size`` in bytes."""
    return Mount(
        destination="/dev/shm",
        type="tmpfs",
        source="shm",
        options=("nosuid", "noexec", "nodev", "mode=1777", f"size={size}"),
    )


# What the kernel tells through procfs and sysfs about the host, or lets root change there.
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY_PATHS = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)
