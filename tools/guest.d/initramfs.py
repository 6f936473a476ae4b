"""The guest's first file system: busybox, the modules that NFS and virtio need, and ./init.

The large part is made once per kernel and kept in the cache; a run appends a small archive with its
own configuration and job (the kernel unpacks concatenated archives one over the other), so nothing
has to be quoted for a kernel command line and nothing is written into the volume.
"""
import hashlib
import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile

from kernel import GuestError, run

HERE = pathlib.Path(__file__).resolve().parent
# In the order of loading; the kernel's own dependencies come with them. fuse and overlay are what
# programs in a guest most often want, and a root in a clone has no modules of this kernel.
MODULES = ("virtio_pci", "virtio_net", "nfsv3", "fuse", "overlay")


def base(kernel):
    """The archive of a kernel, made if it is not there. Call with the cache locked."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise GuestError("busybox is not installed: run tools/setup")
    version = hashlib.sha256()
    for source in (HERE / "initramfs.py", HERE / "init", pathlib.Path(busybox)):
        version.update(source.read_bytes())
    archive = kernel.directory / f"initramfs-{version.hexdigest()[:16]}"
    if archive.is_file():
        return archive
    with tempfile.TemporaryDirectory(dir=kernel.directory, prefix=".initramfs-") as scratch:
        tree = pathlib.Path(scratch) / "tree"
        _fill(tree, kernel, busybox)
        made = pathlib.Path(scratch) / "archive"
        made.write_bytes(pack(tree))
        for old in kernel.directory.glob("initramfs-*"):
            old.unlink()
        made.rename(archive)
    return archive


def _fill(tree, kernel, busybox):
    for directory in ("bin", "etc", "lib", "mnt", "newroot", "prism", "proc", "root", "run", "sys",
                      "tmp", "dev"):
        (tree / directory).mkdir(parents=True)
    shutil.copy(busybox, tree / "bin/busybox")
    if b"not a dynamic executable" not in _ldd(busybox):
        raise GuestError(f"{busybox} is not static: install busybox-static (tools/setup)")
    for applet in run(busybox, "--list").decode().split():
        if applet != "busybox":
            (tree / "bin" / applet).symlink_to("busybox")
    shutil.copy(HERE / "init", tree / "init")
    (tree / "init").chmod(0o755)
    names = []
    for path in _closure(kernel):
        shutil.copy(path, tree / "lib" / path.name)
        names.append(path.name)
    run("strip", "-g", *(tree / "lib" / name for name in names))
    (tree / "lib/load").write_text("".join(f"{name}\n" for name in names))


def _ldd(program):
    said = subprocess.run(["ldd", program], capture_output=True, stdin=subprocess.DEVNULL)
    return said.stdout + said.stderr


def _closure(kernel):
    """The files of MODULES and of all that they need, in the order of loading."""
    files = []
    for module in MODULES:
        said = run("modprobe", "-d", kernel.tree, "-C", "/dev/null", "-S", kernel.version,
                   "--show-depends", module).decode()
        for line in said.splitlines():
            words = line.split()
            if words[0] == "insmod" and pathlib.Path(words[1]) not in files:
                files.append(pathlib.Path(words[1]))
    return files


def pack(tree):
    """A directory as a cpio archive (newc), owned by root."""
    names = sorted(os.path.relpath(os.path.join(top, name), tree)
                   for top, directories, files in os.walk(tree) for name in directories + files)
    try:
        done = subprocess.run(["cpio", "--quiet", "-o0", "-H", "newc", "-R", "0:0"], cwd=tree,
                              input="\0".join(names + [""]).encode(), capture_output=True)
    except FileNotFoundError:
        raise GuestError("cpio is not installed: run tools/setup") from None
    if done.returncode != 0:
        raise GuestError(f"cpio failed: {done.stderr.decode(errors='replace')}")
    return done.stdout


def with_run(archive, settings, job, directory):
    """Writes into `directory` the archive that one guest starts from: the base, and what init reads
    (settings as a shell script, and the job if there is one). Returns its path."""
    tree = pathlib.Path(directory) / "tree"
    (tree / "prism").mkdir(parents=True)
    (tree / "prism/settings").write_text(
        "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in settings.items()))
    if job is not None:
        (tree / "prism/job").write_text(job + "\n")
    made = pathlib.Path(directory) / "initramfs"
    # An archive begins at a multiple of four bytes; cpio pads its own to 512.
    made.write_bytes(archive.read_bytes() + pack(tree))
    return made
