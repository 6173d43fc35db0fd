"""The options that ``run`` and ``create`` share."""

from __future__ import annotations

from wherry.cli.options import Option

PROCESS = (
    Option("-a --attach", "Attach to STDIN, STDOUT or STDERR", "list"),
    Option("-i --interactive", "Keep STDIN open even if not attached", "flag"),
    Option("-t --tty", "Allocate a pseudo-TTY", "flag"),
    Option("-e --env", "Set environment variables", "list"),
    Option("--env-file", "Read in a file of environment variables", "list"),
    Option("-w --workdir", "Working directory inside the container"),
    Option("-u --user", "Username or UID (format: <name|uid>[:<group|gid>])"),
    Option("--entrypoint", "Overwrite the default ENTRYPOINT of the image"),
    Option("--group-add", "Add additional groups to join", "list"),
    Option("--init", "Run an init inside the container that reaps processes", "flag"),
    Option("--stop-signal", "Signal to stop the container"),
    Option("--stop-timeout", "Timeout (in seconds) to stop a container", "number"),
)
NAMING = (
    Option("--name", "Assign a name to the container"),
    Option("-h --hostname", "Container host name"),
    Option("--domainname", "Container NIS domain name"),
    Option("-l --label", "Set meta data on a container", "list"),
    Option("--label-file", "Read in a line delimited file of labels", "list"),
    Option("--annotation", "Add an annotation to the container", "list"),
    Option("--cidfile", "Write the container ID to the file"),
)
NETWORK = (
    Option("-p --publish", "Publish a container's port(s) to the host", "list"),
    Option("-P --publish-all", "Publish all exposed ports to random ports", "flag"),
    Option("--expose", "Expose a port or a range of ports", "list"),
    Option("--network", "Connect a container to a network", "list"),
    Option("--net", "Connect a container to a network", "list", hidden=True),
    Option("--network-alias", "Add network-scoped alias for the container", "list"),
    Option("--net-alias", "Add network-scoped alias for the container", "list", hidden=True),
    Option("--ip", "IPv4 address (e.g., 172.30.100.104)"),
    Option("--ip6", "IPv6 address (e.g., 2001:db8::33)"),
    Option("--link", "Add link to another container", "list"),
    Option("--link-local-ip", "Container IPv4/IPv6 link-local addresses", "list"),
    Option("--mac-address", "Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
    Option("--dns", "Set custom DNS servers", "list"),
    Option("--dns-option", "Set DNS options", "list"),
    Option("--dns-opt", "Set DNS options", "list", hidden=True),
    Option("--dns-search", "Set custom DNS search domains", "list"),
    Option("--add-host", "Add a custom host-to-IP mapping (host:ip)", "list"),
)
STORAGE = (
    Option("-v --volume", "Bind mount a volume", "list"),
    Option("--mount", "Attach a filesystem mount to the container", "list"),
    Option("--tmpfs", "Mount a tmpfs directory", "list"),
    Option("--volumes-from", "Mount volumes from the specified container(s)", "list"),
    Option("--volume-driver", "Optional volume driver for the container"),
    Option("--storage-opt", "Storage driver options for the container", "list"),
    Option("--read-only", "Mount the container's root filesystem as read only", "flag"),
    Option("--shm-size", "Size of /dev/shm", metavar="bytes"),
    Option("--device", "Add a host device to the container", "list"),
    Option("--device-cgroup-rule", "Add a rule to the cgroup allowed devices list", "list"),
)
LIMITS = (
    Option("-m --memory", "Memory limit", metavar="bytes"),
    Option("--memory-swap", "Memory and swap limit: '-1' for unlimited swap", metavar="bytes"),
    Option("--memory-reservation", "Memory soft limit", metavar="bytes"),
    Option("--memory-swappiness", "Tune container memory swappiness (0 to 100)", "number"),
    Option("--cpus", "Number of CPUs", metavar="decimal"),
    Option("-c --cpu-shares", "CPU shares (relative weight)", "number"),
    Option("--cpu-period", "CPU CFS period in microseconds", "number"),
    Option("--cpu-quota", "CPU CFS quota in microseconds", "number"),
    Option("--cpu-rt-period", "CPU real-time period in microseconds", "number"),
    Option("--cpu-rt-runtime", "CPU real-time runtime in microseconds", "number"),
    Option("--cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
    Option("--cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)"),
    Option("--pids-limit", "Tune container pids limit (set -1 for unlimited)", "number"),
    Option("--blkio-weight", "Block IO weight, between 10 and 1000, or 0 to disable", "number"),
    Option("--ulimit", "Ulimit options", "list"),
    Option("--oom-kill-disable", "Disable OOM Killer", "flag"),
    Option("--oom-score-adj", "Tune host's OOM preferences (-1000 to 1000)", "number"),
    Option("--cgroup-parent", "Optional parent cgroup for the container"),
)
SECURITY = (
    Option("--privileged", "Give extended privileges to this container", "flag"),
    Option("--cap-add", "Add Linux capabilities", "list"),
    Option("--cap-drop", "Drop Linux capabilities", "list"),
    Option("--security-opt", "Security options", "list"),
    Option("--sysctl", "Sysctl options", "list"),
    Option("--ipc", "IPC mode to use"),
    Option("--pid", "PID namespace to use"),
    Option("--uts", "UTS namespace to use"),
    Option("--userns", "User namespace to use"),
    Option("--cgroupns", "Cgroup namespace to use (host|private)"),
    Option("--runtime", "Runtime to use for this container"),
    Option("--host-ca", "Show the host's certificate authorities to the container", "flag"),
)
LIFE = (
    Option("--rm", "Automatically remove the container when it exits", "flag"),
    Option("--restart", "Restart policy to apply when a container exits", default="no"),
    Option("--log-driver", "Logging driver for the container"),
    Option("--log-opt", "Log driver options", "list"),
    Option("--health-cmd", "Command to run to check health"),
    Option("--health-interval", "Time between running the check", metavar="duration"),
    Option("--health-timeout", "Maximum time to allow one check to run", metavar="duration"),
    Option("--health-retries", "Consecutive failures needed to report unhealthy", "number"),
    Option("--health-start-period", "Start period before retries count", metavar="duration"),
    Option("--health-start-interval", "Time between checks in the start period"),
    Option("--no-healthcheck", "Disable any container-specified HEALTHCHECK", "flag"),
    Option("--platform", "Set platform if server is multi-platform capable"),
    Option("--pull", "Pull image before creating (always|missing|never)", default="missing"),
    Option("-q --quiet", "Suppress the pull output", "flag"),
)

CREATE = (*PROCESS, *NAMING, *NETWORK, *STORAGE, *LIMITS, *SECURITY, *LIFE)
