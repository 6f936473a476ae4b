"""Debian's kernel for a guest: the package by apt, vmlinux out of its bzImage, its modules.

Nothing is installed. What was fetched and unpacked stays in the cache, one directory a kernel:

    CACHE/VERSION/vmlinux             the uncompressed ELF kernel, which QEMU starts by PVH at once
    CACHE/VERSION/lib/modules/VERSION the package's modules, with modules.dep
"""
import contextlib
import fcntl
import lzma
import os
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile
import zlib

DEFAULT_PACKAGE = "linux-image-cloud-amd64"
_IMAGE_MAX_BYTES = 1 << 30


class GuestError(Exception):
    """What the user is told; nothing was started or left behind."""


class UnavailableError(GuestError):
    """QEMU, another program, or the kernel's package cannot be had here."""


def cache_directory():
    """$PRISM_GUEST_CACHE, or prism-guest below $XDG_CACHE_HOME, /var/cache (root), ~/.cache."""
    own = os.environ.get("PRISM_GUEST_CACHE")
    if own:
        return pathlib.Path(own)
    home = pathlib.Path.home() / ".cache" if os.geteuid() else pathlib.Path("/var/cache")
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or home) / "prism-guest"


@contextlib.contextmanager
def locked(directory):
    """One process at a time makes things in the cache; others wait and find them made."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = open(directory / "lock", "w")
    except OSError as error:
        raise GuestError(f"the cache {directory} is not writable ({error.strerror}): "
                         "set PRISM_GUEST_CACHE") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(*command, cwd=None):
    """Runs a program that must succeed; its output, or a GuestError with what it said."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise UnavailableError(f"{command[0]} is not installed: run tools/setup") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise GuestError(f"{' '.join(map(str, command))} failed: {said}")
    return done.stdout


def is_elf(image):
    """True for a vmlinux, false for a bzImage; a GuestError for anything else."""
    if image[:4] == b"\x7fELF":
        return True
    if len(image) < 0x250 or image[0x202:0x206] != b"HdrS":
        raise GuestError("the kernel is neither an ELF vmlinux nor a bzImage")
    return False


def extract_vmlinux(image):
    """The ELF kernel inside a bzImage (Documentation/x86/boot.rst, "payload_offset"), or `image`
    itself if it is one already."""
    if is_elf(image):
        return image
    setup_sectors = image[0x1f1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    begin = (setup_sectors + 1) * 512 + offset
    payload = image[begin:begin + length]
    if not length or len(payload) != length:
        raise GuestError("the kernel image is truncated")
    vmlinux = _decompress(payload)
    if not is_elf(vmlinux):
        raise GuestError("the kernel image does not hold an ELF kernel")
    return vmlinux


def _decompress(payload):
    try:
        if payload[:6] == b"\xfd7zXZ\x00":
            return lzma.LZMADecompressor().decompress(payload, _IMAGE_MAX_BYTES)
        if payload[:2] == b"\x1f\x8b":
            return zlib.decompressobj(wbits=31).decompress(payload, _IMAGE_MAX_BYTES)
    except (lzma.LZMAError, zlib.error) as error:
        raise GuestError(f"the kernel image is damaged: {error}") from None
    programs = {b"\x02\x21\x4c\x18": "lz4", b"\x28\xb5\x2f\xfd": "zstd"}
    program = programs.get(payload[:4])
    if program is None:
        raise GuestError("the kernel image is compressed in a way that is not known here")
    # Neither knows of the four bytes of size that the kernel's build appends: both say so on
    # stderr, after they have written all that there is.
    try:
        done = subprocess.run([program, "-dcq"], input=payload, capture_output=True)
    except FileNotFoundError:
        raise UnavailableError(f"{program} is not installed: run tools/setup") from None
    return done.stdout


def image_version(image):
    """What `uname -r` will say, out of the image; also names the directory of the modules."""
    if is_elf(image):
        match = re.search(rb"Linux version (\S+) ", image)
        found = match.group(1) if match else b""
    else:
        at = struct.unpack_from("<H", image, 0x20e)[0] + 0x200
        found = image[at:at + 256].split(b"\0")[0].split(b" ")[0]
    version = found.decode(errors="replace")
    if not re.fullmatch(r"[0-9][A-Za-z0-9.+_~-]{0,100}", version):
        raise GuestError("the kernel image does not say which version it is")
    return version


class Kernel:
    """A kernel ready to start: `version`, `vmlinux` (a path), `tree` (holds lib/modules)."""

    def __init__(self, version, directory):
        self.version = version
        self.directory = directory
        self.vmlinux = directory / "vmlinux"
        self.tree = directory


def find(spec, cache):
    """The kernel that `spec` names: a package, a version, a .deb, a vmlinuz or a vmlinux. Call with
    the cache locked."""
    spec = spec or DEFAULT_PACKAGE
    path = pathlib.Path(spec)
    if path.is_file():
        return _from_deb(path, cache) if path.suffix == ".deb" else _from_image(path, cache)
    if "/" in spec:
        raise GuestError(f"there is no kernel {spec}")
    package = spec if spec.startswith("linux-image") else f"linux-image-{spec}"
    return _from_package(package, cache)


def _from_package(package, cache):
    try:
        version = _version_of(package)
    except GuestError:
        # Without apt's lists (no network, a fresh container), what an earlier run left will do.
        cached = sorted(cache.glob("*-cloud-*/vmlinux"), key=lambda path: path.stat().st_mtime)
        if package != DEFAULT_PACKAGE or not cached:
            raise
        version = cached[-1].parent.name
    kernel = Kernel(version, cache / version)
    if kernel.vmlinux.is_file():
        return kernel
    with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as scratch:
        # World-accessible, for apt's own unprivileged user.
        os.chmod(scratch, 0o755)
        try:
            run("apt-get", "-q", "download", f"linux-image-{version}", cwd=scratch)
        except GuestError as error:
            raise UnavailableError(str(error)) from None
        return _from_deb(next(pathlib.Path(scratch).glob("*.deb")), cache)


def _version_of(package):
    """Follows a metapackage (linux-image-cloud-amd64) to the package of one version."""
    if not re.fullmatch(r"linux-image-[a-z0-9][a-z0-9.+-]*", package):
        raise GuestError(f"{package} is not a package of a kernel")
    for _ in range(4):
        if re.match(r"linux-image-[0-9]", package):
            return package.removeprefix("linux-image-")
        said = run("apt-cache", "depends", "--important", package).decode(errors="replace")
        names = re.findall(r"^\s*\|?Depends: (linux-image-\S+)$", said, re.MULTILINE)
        if not names:
            break
        package = names[0]
    raise UnavailableError(f"apt knows no kernel package {package}: run apt-get update")


def _from_deb(deb, cache):
    with tempfile.TemporaryDirectory(dir=cache, prefix=".unpack-") as scratch:
        run("dpkg-deb", "-x", deb, scratch)
        images = list(pathlib.Path(scratch).glob("boot/vmlinuz-*"))
        if len(images) != 1:
            raise GuestError(f"{deb} holds no kernel")
        return _keep(images[0].read_bytes(), pathlib.Path(scratch) / "lib/modules", cache)


def _from_image(path, cache):
    image = path.read_bytes()
    version = image_version(image)
    for top in (path.parent, path.parent.parent, pathlib.Path("/")):
        modules = top / "lib/modules"
        if (modules / version).is_dir():
            return _keep(image, modules, cache)
    raise GuestError(f"no modules of {version} beside {path} or in /lib/modules")


def _keep(image, modules, cache):
    """Puts the kernel into the cache, whole or not at all."""
    version = image_version(image)
    final = cache / version
    vmlinux = extract_vmlinux(image)
    if (final / "vmlinux").is_file() and (final / "vmlinux").read_bytes() == vmlinux:
        return Kernel(version, final)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".new-") as scratch:
        made = pathlib.Path(scratch) / version
        shutil.copytree(modules / version, made / "lib/modules" / version, symlinks=True,
                        ignore=shutil.ignore_patterns("build", "source"))
        (made / "vmlinux").write_bytes(vmlinux)
        run("depmod", "-b", made, version)
        shutil.rmtree(final, ignore_errors=True)
        made.rename(final)
    return Kernel(version, final)
