"""What cannot be is refused with Docker's status and one sentence, and nothing has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.root


def _lists(daemon: Any) -> tuple[Any, ...]:
    paths = ("/containers/json?all=1", "/networks", "/volumes", "/images/json")
    found = [json.loads(daemon.call("GET", path)[1]) for path in paths]
    for container in found[0]:
        container.pop("Status")  # tells the time
    return tuple(found)


@pytest.fixture
def unchanged(daemon: Any) -> Iterator[None]:
    before = _lists(daemon)
    yield
    assert _lists(daemon) == before


@pytest.fixture(scope="module")
def things(daemon: Any) -> Iterator[None]:
    """A container that uses a volume on a network."""
    network = {"Name": "taken", "IPAM": {"Config": [{"Subnet": "10.213.7.0/24"}]}}
    assert daemon.call("POST", "/networks/create", network)[0] == 201
    host = {"Binds": ["kept:/v"], "NetworkMode": "taken"}
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": host}
    assert daemon.call("POST", "/containers/create?name=taken", body)[0] == 201
    yield
    assert daemon.call("DELETE", "/containers/taken?force=1")[0] == 204
    assert daemon.call("DELETE", "/networks/taken")[0] == 204
    assert daemon.call("DELETE", "/volumes/kept")[0] == 204


def _create(**host: Any) -> tuple[str, str, Any]:
    return "POST", "/containers/create", {"Image": "busybox", "HostConfig": host}


def _ports(port: str, host: str = "") -> tuple[str, str, Any]:
    return _create(PortBindings={port: [{"HostPort": host}]})


def _network(**members: Any) -> tuple[str, str, Any]:
    return "POST", "/networks/create", {"Name": "bad", **members}


def _pool(**config: Any) -> tuple[str, str, Any]:
    return _network(IPAM={"Config": [config]})


def _config(**members: Any) -> tuple[str, str, Any]:
    return "POST", "/containers/create", {"Image": "busybox", **members}


def _health(**members: Any) -> tuple[str, str, Any]:
    return _config(Healthcheck=members)


def _mount(**members: Any) -> tuple[str, str, Any]:
    return _create(Mounts=[members])


def _far_volume() -> tuple[str, str, Any]:
    options = {"DriverConfig": {"Name": "far"}}
    return _mount(Type="volume", Source="new", Target="/x", VolumeOptions=options)


def _endpoint(network: str = "taken", **members: Any) -> tuple[str, str, Any]:
    networking = {"EndpointsConfig": {network: members}}
    return _config(HostConfig={"NetworkMode": network}, NetworkingConfig=networking)


_CASES = [
    (_ports("70000/tcp"), 400, "70000"),
    (_ports("0/tcp"), 400, "0"),
    (_ports("80/ip"), 400, "ip"),
    (_ports("80/tcp", "70000"), 400, "70000"),
    (_ports("80/tcp", "-1"), 400, "-1"),
    (_ports("80/tcp", "x"), 400, "x"),
    (_ports("80-90/tcp", "1-2"), 400, "80-90"),
    (_create(Memory=1), 400, "Minimum memory limit"),
    (_create(NanoCpus=-1), 400, ""),
    (_create(RestartPolicy={"Name": "sometimes"}), 400, "sometimes"),
    (_create(Binds=["a"]), 400, "a"),
    (_create(Binds=["/a:relative"]), 400, "relative"),
    (_create(Binds=["/a:/b:bogus"]), 400, "bogus"),
    (_create(Mounts=[{"Type": "bind", "Source": "/nosuch/x", "Target": "/x"}]), 400, "/nosuch/x"),
    (_create(Mounts=[{"Type": "cloud", "Target": "/x"}]), 400, "mount type unknown"),
    (_create(CapAdd=["FLY"]), 400, "FLY"),
    (_create(SecurityOpt=["bogus"]), 400, "bogus"),
    (_create(Ulimits=[{"Name": "bogus", "Soft": 1, "Hard": 1}]), 400, "bogus"),
    (_create(Sysctls={"kernel.bogus": "1"}), 400, "kernel.bogus"),
    (_create(LogConfig={"Type": "bogus"}), 400, "bogus"),
    (_create(LogConfig={"Type": "json-file", "Config": {"max-size": "big"}}), 400, "big"),
    (_create(VolumesFrom=["none"]), 400, "No such container: none"),
    (_create(Links=["none:alias"]), 400, "could not get container for none"),
    (_create(ExtraHosts=["nocolon"]), 400, "nocolon"),
    (("POST", "/containers/create", {"Image": "no/such"}), 404, "No such image: no/such"),
    (("POST", "/containers/create", {"Image": "Bad Name"}), 400, ""),
    (("POST", "/containers/create", {"Image": ""}), 400, ""),
    (("POST", "/containers/create?name=taken", {"Image": "busybox"}), 409, "already in use"),
    (("POST", "/containers/create?name=a/b", {"Image": "busybox"}), 400, "a/b"),
    (("POST", "/containers/taken/rename?name=", None), 400, ""),
    (("POST", "/containers/taken/kill?signal=SIGNO", None), 400, "SIGNO"),
    (("POST", "/containers/taken/kill", None), 409, "not running"),
    (("POST", "/containers/taken/pause", None), 409, "not running"),
    (("POST", "/containers/taken/resize?h=-1&w=0", None), 400, ""),
    (("POST", "/containers/taken/exec", {"Cmd": ["id"]}), 409, "not running"),
    (("POST", "/containers/taken/wait?condition=bored", None), 400, "bored"),
    (("POST", "/containers/taken/update", {"Memory": 1}), 400, "Minimum memory limit"),
    (("GET", "/containers/taken/logs", None), 400, "at least one stream"),
    (("GET", "/containers/json?filters={", None), 400, "invalid filter"),
    (("GET", '/containers/json?filters={"bogus":["1"]}', None), 400, "invalid filter 'bogus'"),
    (("GET", "/containers/json?limit=many", None), 400, "limit"),
    (_network(Name="taken"), 409, "network with name taken already exists"),
    (_network(Name=""), 400, ""),
    (_network(Driver="cloud"), 404, 'plugin "cloud" not found'),
    (_pool(Subnet="10.213.7.0/25"), 403, "Pool overlaps with other one on this address space"),
    (_pool(Subnet="10.214.0.0/33"), 400, "10.214.0.0/33"),
    (_pool(Subnet="10.214.0.0"), 400, "want ADDRESS/LENGTH"),
    (_pool(Subnet="10.214.0.0/24", Gateway="10.215.0.1"), 400, "10.215.0.1"),
    (_pool(Subnet="10.214.0.0/24", IPRange="10.215.0.0/24"), 400, "10.215.0.0/24"),
    (("DELETE", "/networks/bridge", None), 403, "bridge"),
    (("DELETE", "/networks/none-such", None), 404, "none-such"),
    (("POST", "/networks/taken/connect", {"Container": "none"}), 404, "none"),
    (("DELETE", "/volumes/kept", None), 409, "in use"),
    (_create(CpusetCpus="99"), 400, "Requested CPUs are not available - requested 99"),
    (_create(CpusetMems="99"), 400, "Requested memory nodes are not available - requested 99"),
    (_create(CpusetCpus="x"), 400, "Invalid value x for cpuset cpus"),
    (_create(RestartPolicy={"Name": "always", "MaximumRetryCount": 3}), 400, "maximum retry count"),
    (_create(RestartPolicy={"Name": "on-failure", "MaximumRetryCount": -3}), 400, "negative"),
    (_create(RestartPolicy={"Name": "always"}, AutoRemove=True), 400, "AutoRemove"),
    (_create(Binds=["/a:/b:ro,rw"]), 400, "invalid mode: ro,rw"),
    (_create(Binds=["/a:/b:nocopy"]), 400, "nocopy"),
    (_create(Binds=["vol:/b:shared"]), 400, "shared"),
    (_create(Binds=["/a:/"]), 400, "destination can't be '/'"),
    (_create(Binds=["x:/b:ro:z"]), 400, "invalid volume specification"),
    (_create(Binds=["/tmp:/b", "/var:/b"]), 400, "Duplicate mount point: /b"),
    (_mount(Type="bind", Target="/x"), 400, "field Source must not be empty"),
    (_mount(Type="bind", Source="/tmp", Target=""), 400, "field Target must not be empty"),
    (_mount(Type="bind", Source="/tmp", Target="x"), 400, 'for type "bind": invalid mount path'),
    (_mount(Type="tmpfs", Source="/tmp", Target="/x"), 400, "field Source must not be specified"),
    (_mount(Type="volume", Target="/x", ReadOnly=True), 400, "must not set ReadOnly mode"),
    (_mount(Type="volume", Source="a/b", Target="/x"), 400, "includes invalid characters"),
    (_far_volume(), 404, 'error looking up volume plugin far: plugin "far" not found'),
    (_create(VolumesFrom=[""]), 400, "cannot be an empty string"),
    (_create(VolumesFrom=["taken:bogus"]), 400, "taken:bogus"),
    (_create(Links=["taken:a:b"]), 400, "bad format for links: taken:a:b"),
    (_create(NetworkMode="nosuch"), 400, "network nosuch not found"),
    (_create(NetworkMode="container:"), 400, "invalid container format container:<name|id>"),
    (_create(PidMode="container:nosuch"), 400, "No such container: nosuch"),
    (_create(IpcMode="container:nosuch"), 400, "No such container: nosuch"),
    (_create(StorageOpt={"size": "1G"}), 501, "storage-opt size"),
    (_create(Runtime="bogus"), 400, "bogus"),
    (_create(Tmpfs={"/t": "size=1m,bad"}), 400, 'invalid tmpfs option ["bad"]'),
    (_create(CgroupParent="a/../.."), 400, "invalid cgroup parent: a/../.."),
    (_health(Interval=1), 400, "Interval in Healthcheck cannot be less than 1ms"),
    (_health(Interval=-1), 400, "Interval in Healthcheck cannot be less than 1ms"),
    (_health(Timeout=1), 400, "Timeout in Healthcheck cannot be less than 1ms"),
    (_health(StartPeriod=1), 400, "StartPeriod in Healthcheck cannot be less than 1ms"),
    (_health(StartInterval=1), 400, "StartInterval in Healthcheck cannot be less than 1ms"),
    (_health(Retries=-1), 400, "Retries in Healthcheck cannot be negative"),
    (_endpoint(IPAMConfig={"IPv4Address": "x"}), 400, "invalid IPv4 address: x"),
    (_endpoint(IPAMConfig={"IPv6Address": "10.0.0.1"}), 400, "invalid IPv6 address: 10.0.0.1"),
    (_endpoint(IPAMConfig={"LinkLocalIPs": ["x"]}), 400, "invalid link-local IP address: x"),
    (_endpoint("bridge", Aliases=["a"]), 400, "aliases are only supported for user-defined"),
    (_endpoint("nosuch"), 400, "network nosuch not found"),
    (_config(StopSignal="SIGNO"), 400, "SIGNO"),
    (("GET", '/containers/json?filters={"health":["x"]}', None), 400, "value for health: x"),
    (("GET", '/containers/json?filters={"expose":["70000"]}', None), 400, "70000"),
    (("GET", '/containers/json?filters={"status":["bogus"]}', None), 400, "status=bogus"),
    (("GET", '/containers/json?filters={"before":["nosuch"]}', None), 404, "nosuch"),
    (("GET", '/networks?filters={"type":["x"]}', None), 400, "invalid filter: 'type'='x'"),
    (("GET", '/networks?filters={"dangling":["x"]}', None), 400, "dangling"),
    (("GET", "/networks/taken?scope=swarm", None), 404, "network taken not found"),
    (("GET", "/events?since=10&until=5", None), 400, "`since` time (10) cannot be after `until`"),
    (("GET", '/events?until=1&filters={"bogus":["x"]}', None), 400, "bogus"),
    (("GET", "/v1.99/info", None), 400, "client version 1.99 is too new"),
    (("GET", "/v1.5/info", None), 400, "client version 1.5 is too old"),
    (_network(Name="bridge"), 403, "predefined bridge network"),
    (_network(Driver="host"), 403, 'only one instance of "host" network is allowed'),
    (_network(Driver="overlay"), 403, "swarm is not active"),
    (_network(Scope="swarm"), 403, "swarm is not active"),
    (_network(Scope="bogus"), 400, "bogus"),
    (_network(Ingress=True), 403, "Ingress network"),
    (_network(IPAM={"Driver": "far"}), 404, 'plugin "far" not found'),
    (_pool(Gateway="10.214.0.1"), 400, "must have a corresponding subnet"),
    (_pool(Subnet="10.214.0.0/24", Gateway="x"), 400, "x"),
    (_pool(Subnet="10.214.0.0/24", AuxiliaryAddresses={"a": "10.9.9.9"}), 400, "10.9.9.9"),
    (_network(Options={"com.docker.network.driver.mtu": "x"}), 400, "mtu"),
    (_network(Options={"com.docker.network.bridge.enable_icc": "x"}), 400, "enable_icc"),
    (_network(Options={"com.docker.network.bridge.name": "lo"}), 409, "lo exists already"),
    (("POST", "/networks/taken/disconnect", {"Container": "nosuch"}), 404, "nosuch"),
    (("POST", "/networks/host/connect", {"Container": "taken"}), 400, "host"),
    (("POST", "/volumes/create", {"Name": "vol", "Driver": "far"}), 404, 'plugin "far" not found'),
    (("POST", "/volumes/create", {"Name": "a/b"}), 400, "a/b"),
    (("POST", "/volumes/create", {"Name": "vol", "DriverOpts": {"bogus": "1"}}), 400, "bogus"),
    (("POST", "/images/busybox/tag?repo=UPPER", None), 400, "lowercase"),
    (("POST", "/images/busybox/tag?repo=a&tag=b/c", None), 400, ""),
    (("DELETE", "/images/busybox", None), 409, "is being used by"),
    (("POST", "/build?t=UPPER", b"FROM busybox\n"), 400, "lowercase"),
    (("POST", "/build?memory=x", b"FROM busybox\n"), 400, "memory"),
    (("POST", "/build", b"FORM busybox\n"), 400, "FORM"),
]  # fmt: skip


def _told(case: tuple[tuple[str, str, Any], int, str]) -> str:
    (method, path, _), status, words = case
    return f"{status} {method} {path} {words}"


@pytest.mark.usefixtures("things")
def test_what_cannot_be_is_refused_and_nothing_changes(daemon: Any, unchanged: None) -> None:
    wrong = []
    for case in _CASES:
        (method, path, body), status, words = case
        found, data = daemon.call(method, path.replace(" ", "%20"), body)
        try:
            message = json.loads(data)["message"]
        except (ValueError, KeyError):
            message = data.decode(errors="replace")
        if found != status or words not in message or "\n" in message.strip():
            wrong.append(f"{_told(case)} -> {found} {message}")
    assert not wrong, "\n".join(wrong)
