"""What tools/guest asks of the Prism server: to let the guest in, over NFS or a lane."""
import ipaddress
import json
import os
import pathlib
import shutil
import subprocess
import sys

from kernel import GuestError

_BUILT = pathlib.Path(__file__).resolve().parents[2] / "build/tools/prism"


def is_local(address):
    """Served where a guest sees its host, and where it comes from the host's loopback."""
    return address.is_loopback or address.is_unspecified


def find_nfs(volume, control):
    """The address and port at which the server serves the volume."""
    nfs = _ask(control, "show", volume).get("nfs")
    if not nfs:
        raise GuestError("the server does not serve NFS: start it with prismd --nfs 127.0.0.1:2049")
    return ipaddress.ip_address(nfs["address"]), int(nfs["port"])


def allow_guest(volume, control, address):
    """Guests come from this host by ports that are not privileged (QEMU's user network), which by
    default an export refuses. The permission stays: other guests of the volume may rely on it."""
    client = "127.0.0.1" if is_local(address) else str(address)
    rules = _ask(control, "access", volume)["access"].split()
    if any(rule.startswith(f"{client}(") for rule in rules):
        return  # somebody has decided about this client already
    _ask(control, "access", volume, f"{client}(insecure)", *rules)
    print(f"guest: programs of this host may now use {volume} over NFS, unprivileged ones too "
          f"(prism access {volume} --default ends that)", file=sys.stderr)


def _ask(control, *arguments):
    """The result of a prism command."""
    prism = os.environ.get("PRISM") or (str(_BUILT) if _BUILT.exists() else shutil.which("prism"))
    if not prism:
        raise GuestError("there is no prism command: build it, or name it in $PRISM")
    command = [prism, "--json"] + (["--control", control] if control else []) + list(arguments)
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
        answer = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise GuestError(f"{' '.join(command)}: {error}") from None
    if done.returncode != 0:
        raise GuestError(answer.get("message", "the server refuses"))
    return answer["result"]


def attach(machine, volumes, control):
    """Attaches a machine to volumes; its port's socket, and how many vectors its device has."""
    attached = _ask(control, "attach", machine, "--volume", *volumes)
    return attached["socket"], attached["vectors"]


def detach(machine, control):
    _ask(control, "detach", machine)
