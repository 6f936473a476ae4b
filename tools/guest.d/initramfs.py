"""The guest's first file system: busybox, the modules that any lane needs, and ./init.

The large part is made once per kernel and kept in the cache; a run appends a small archive with its
own configuration, programs and job (the kernel unpacks concatenated archives one over the other), so
nothing has to be quoted for a kernel command line and nothing is written into the volume.
"""
import hashlib
import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile

from kernel import GuestError, UnavailableError, run

HERE = pathlib.Path(__file__).resolve().parent
# What lanes load (lanes.py); what they depend on comes with them.
MODULES = ("virtio_pci", "virtio_net", "nfsv3", "fuse", "vfio_pci", "vfio_iommu_type1")
# A root in a clone has no modules of this kernel: these are what systemd and most programs want.
EXTRA_MODULES = ("autofs4", "binfmt_misc", "fuse", "overlay", "sunrpc")


def base(kernel):
    """The archive of a kernel, made if it is not there. Call with the cache locked."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise UnavailableError("busybox is not installed: run tools/setup")
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
        raise UnavailableError(f"{busybox} is not static: install busybox-static (tools/setup)")
    for applet in run(busybox, "--list").decode().split():
        if applet != "busybox":
            (tree / "bin" / applet).symlink_to("busybox")
    shutil.copy(HERE / "init", tree / "init")
    (tree / "init").chmod(0o755)
    files = _closure(kernel, MODULES)
    for path in files:
        shutil.copy(path, tree / "lib" / path.name)
    run("strip", "-g", "-R", ".BTF", *(tree / "lib" / path.name for path in files))


def _ldd(program):
    said = subprocess.run(["ldd", program], capture_output=True, stdin=subprocess.DEVNULL)
    return said.stdout + said.stderr


def _closure(kernel, modules):
    """The files of modules, of the extra ones, and of what they need, in the order of loading. What
    is not a module is built into the kernel, or, of the extra ones, may be absent from it."""
    files = []
    for module in (*modules, *EXTRA_MODULES):
        try:
            said = run("modprobe", "-d", kernel.tree, "-C", "/dev/null", "-S", kernel.version,
                       "--show-depends", module).decode()
        except GuestError:
            if module in modules:
                raise
            continue
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
        raise UnavailableError("cpio is not installed: run tools/setup") from None
    if done.returncode != 0:
        raise GuestError(f"cpio failed: {done.stderr.decode(errors='replace')}")
    return done.stdout


def with_run(archive, kernel, lane, settings, programs, job):
    """What one guest starts from: the base, and what init reads (settings, as a shell script, and
    the job if there is one), with the lane's and other programs in its /bin."""
    modules = " ".join(path.name for path in _closure(kernel, lane.modules))
    settings = {**settings, **lane.settings, "modules": modules}
    with tempfile.TemporaryDirectory(prefix="prism-guest-") as scratch:
        tree = pathlib.Path(scratch)
        (tree / "prism").mkdir()
        (tree / "prism/settings").write_text(
            "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in settings.items()))
        if job is not None:
            (tree / "prism/job").write_text(job + "\n")
        (tree / "bin").mkdir()
        for program in (*lane.programs, *programs):
            shutil.copy(program, tree / "bin" / program.name)
        # An archive begins at a multiple of four bytes; cpio pads its own to 512.
        return archive.read_bytes() + pack(tree)
