"""How a guest reaches its volume: what that needs of QEMU, of the kernel and of init.

A lane has: `machine` and `devices` (for QEMU), `kernel_arguments`, `modules` (in the order of
loading), `programs` (static ones, for the guest's /bin), `settings` (for init), `description`; and
`close`, which ends what was made for it.
"""
import os
import pathlib
import secrets
import shutil

import server
from kernel import GuestError

_HOST_SEEN_BY_GUEST = "10.0.2.2"  # QEMU's user network: the host's loopback
_BUILT = pathlib.Path(__file__).resolve().parents[2] / "build/tools/prism-mount/prism-mount"


class NfsLane:
    machine = "q35"
    devices = ("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=")
    kernel_arguments = ()
    modules = ("virtio_pci", "virtio_net", "nfsv3")
    programs = ()

    def __init__(self, volume, control, nfs, mount_options):
        if not volume.startswith("/"):
            nfs = nfs or server.find_nfs(volume, control)
            server.allow_guest(volume, control, nfs[0])
        address, port = nfs
        seen = _HOST_SEEN_BY_GUEST if server.is_local(address) else address
        if seen is address and address.version != 4:
            raise GuestError(f"the guest's network has IPv4 only: it cannot reach {address}")
        options = f"vers=3,proto=tcp,port={port},mountport={port},mountproto=tcp"
        if mount_options:
            options += f",{mount_options}"
        export = volume if volume.startswith("/") else f"/{volume}"
        self.description = f"NFS from {address}:{port}"
        self.settings = {"lane": "nfs", "server": f"{address}:{port}", "address": seen,
                         "volume": export, "options": options}

    def close(self):
        pass


class ShmLane:
    """A machine of its own on the server, attached to volumes as long as the guest lives; init mounts
    the first."""
    kernel_arguments = ()
    modules = ("fuse",)
    machine = "q35"

    def __init__(self, volumes, control, wait):
        self._control = control
        self._name = f"guest-{secrets.token_hex(8)}"
        self.programs = (find_prism_mount(),)
        self.description = "shared memory"
        self.settings = {"lane": "shm", "volume": volumes[0], "wait": wait}
        path, vectors = server.attach(self._name, volumes, control)
        self.devices = ("-chardev", f"socket,path={path.replace(',', ',,')},id=lane",
                        "-device", f"ivshmem-doorbell,chardev=lane,vectors={vectors}")
        if wait == "irq":
            self.machine = "q35,kernel-irqchip=split"
            self.devices = ("-device", "intel-iommu,intremap=on", *self.devices)
            self.kernel_arguments = ("intel_iommu=on",)
            self.modules += ("vfio_pci", "vfio_iommu_type1")

    def close(self):
        server.detach(self._name, self._control)


def find_prism_mount():
    found = os.environ.get("PRISM_MOUNT") or (str(_BUILT) if _BUILT.exists()
                                              else shutil.which("prism-mount"))
    if not found:
        raise GuestError("there is no prism-mount: build it, or name it in $PRISM_MOUNT")
    return pathlib.Path(found)
