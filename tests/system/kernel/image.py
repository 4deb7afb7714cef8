"""The guest's kernel and initial RAM disk, made from Debian packages and kept in the cache.

Nothing is installed on this machine: the kernel's package is downloaded and unpacked.  The kernel is kept as the ELF
image out of its compressed bzImage, so that QEMU enters it directly (PVH) and no time goes into decompression inside an
emulated processor.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import NamedTuple

META_PACKAGE = os.environ.get("TCMU_GLUSTER_TEST_KERNEL", "linux-image-amd64")
"""A package that depends on the kernel's package, or the kernel's package itself."""

_INITRD_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
_COMMANDS = ("sh", "mount", "mkdir", "modprobe", "switch_root", "echo", "poweroff", "seq", "head", "dd", "cmp", "sleep")

# Runs in the initial RAM disk: the host's root read-only under a throw-away layer, the kernel's own modules, /io.
_INIT = """#!/bin/sh
export PATH=/bin
fail() { echo "initrd: $*" > /dev/console; poweroff -f; }
share="-t 9p -o trans=virtio,version=9p2000.L,msize=512000"
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in %(modules)s; do modprobe $module || fail "no module $module"; done
mount $share,ro,cache=loose root /lower || fail "no root"
mount -t tmpfs -o size=75%% upper /upper && mkdir /upper/data /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work root /new || fail "no overlay"
for d in proc sys dev; do mount --move /$d /new/$d || fail "no /$d"; done
mkdir -p /new/io /new/lib/modules
mount $share,cache=none io /new/io || fail "no /io"
mount $share,ro,cache=loose modules /new/lib/modules || fail "no modules"
exec switch_root /new /bin/bash /io/init.sh
"""

_NESTED_MODULES = ("virtio_pci", "virtio_scsi", "sd_mod")
NESTED_BYTES = 1 << 20
# A machine inside the machine, whose only disk comes over vhost-scsi: writes numbers to it and reads them back.
_NESTED = """#!/bin/sh
export PATH=/bin
say() { echo "nested: $*" > /dev/console; }
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in %(modules)s; do modprobe $module || say "no module $module"; done
n=0
until [ -b /dev/sda ] || [ $n = 120 ]; do sleep 1; n=$((n + 1)); done
say "disk $(head -n 1 /sys/block/sda/device/vendor) with $(head -n 1 /sys/block/sda/size) blocks"
seq 1 1000000 | head -c %(length)d > /data
if dd if=/data of=/dev/sda bs=64k oflag=direct conv=fsync &&
    dd if=/dev/sda of=/back bs=64k count=%(count)d iflag=direct && cmp /data /back
then say "written and read back"; else say "failed"; fi
poweroff -f
"""


class Image(NamedTuple):
    """What QEMU is given: ELF kernel, initrd, and the folder that becomes the guest's /lib/modules.

    nested: the initrd of a machine that the guest starts itself.
    """

    release: str
    kernel: Path
    initrd: Path
    modules: Path
    nested: Path


def cache_folder() -> Path:
    """Where kernels and the last runs' logs are kept ($XDG_CACHE_HOME/tcmu-gluster/kernel)."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "tcmu-gluster" / "kernel"


def prepare() -> Image:
    """The image, made if the cache has none for the kernel package that apt names now.

    Raises OSError or CalledProcessError with the command's own words if a tool or the package is missing.
    """
    package = _kernel_package()
    folder = cache_folder() / package
    if not (folder / "complete").exists():
        _unpack(package, folder)
    release = next((folder / "modules").iterdir()).name
    words = {"length": NESTED_BYTES, "count": NESTED_BYTES // (64 << 10)}
    initrd = _initrd(folder, release, _INIT, _INITRD_MODULES)
    nested = _initrd(folder, release, _NESTED, _NESTED_MODULES, **words)
    return Image(release, folder / "vmlinux", initrd, folder / "modules", nested)


def _initrd(folder: Path, release: str, init: str, modules: tuple[str, ...], **words: int) -> Path:
    """The initrd with that /init and those modules, built unless the cache has it."""
    text = init % {"modules": " ".join(modules), **words}
    recipe = hashlib.sha256((text + repr((modules, _COMMANDS))).encode()).hexdigest()[:12]
    initrd = folder / f"initrd-{recipe}.gz"
    if not initrd.exists():
        _build_initrd(folder, release, initrd, text, modules)
    return initrd


def _kernel_package() -> str:
    depends = _output("apt-cache", "depends", "--no-recommends", "--no-suggests", META_PACKAGE)
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    if found:
        return found.group(1)
    if depends.strip():
        return META_PACKAGE
    raise OSError(f"apt knows no package {META_PACKAGE}: run `apt-get update` first")


def _unpack(package: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    root = folder / "package"
    root.mkdir(parents=True)
    subprocess.run(["apt-get", "-q", "download", package], cwd=folder, check=True, stderr=subprocess.DEVNULL)
    for archive in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(archive), str(root)], check=True)
        archive.unlink()
    modules = root / "lib/modules" if (root / "lib/modules").exists() else root / "usr/lib/modules"
    release = next(modules.iterdir()).name
    os.replace(modules, folder / "modules")
    vmlinuz = (root / "boot" / f"vmlinuz-{release}").read_bytes()
    (folder / "vmlinux").write_bytes(elf_kernel(vmlinuz))
    shutil.rmtree(root)
    lib = folder / "lib"  # depmod wants lib/modules below its base
    lib.mkdir()
    (lib / "modules").symlink_to("../modules")
    subprocess.run(["depmod", "-b", str(folder), release], check=True)
    (folder / "complete").touch()


def elf_kernel(bzimage: bytes) -> bytes:
    """The ELF kernel inside a bzImage.  Raises ValueError if it is none, or packed in a way that is not known.

    Source: Linux Documentation/x86/boot.rst: setup_sects (0x1F1), payload_offset (0x248), payload_length (0x24C).
    """
    if bzimage[0x202:0x206] != b"HdrS":
        raise ValueError("not a bzImage")
    setup_sectors = bzimage[0x1F1] or 4
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = bzimage[start : start + length]
    if payload.startswith(b"\xfd7zXZ\0"):
        kernel = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b"\x1f\x8b"):
        kernel = zlib.decompressobj(31).decompress(payload)
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        kernel = _filter(payload[:-4], "zstd", "-dcq")  # the last four bytes are the unpacked size
    elif payload.startswith(b"\x02\x21\x4c\x18"):
        kernel = _filter(payload[:-4], "lz4", "-dcq")
    else:
        raise ValueError(f"kernel is packed in an unknown way: {payload[:6]!r}")
    if not kernel.startswith(b"\x7fELF"):
        raise ValueError("what the bzImage holds is no ELF kernel")
    return kernel


def _build_initrd(folder: Path, release: str, initrd: Path, text: str, modules: tuple[str, ...]) -> None:
    tree = folder / "initrd"
    shutil.rmtree(tree, ignore_errors=True)
    for directory in ("bin", "proc", "sys", "dev", "lower", "upper", "new", "etc", f"lib/modules/{release}"):
        (tree / directory).mkdir(parents=True)
    shutil.copy("/bin/busybox", tree / "bin")
    for command in _COMMANDS:
        (tree / "bin" / command).symlink_to("busybox")
    for module in modules:
        needed = _output("modprobe", "-d", str(folder), "-S", release, "--show-depends", module)
        for path in re.findall(r"^insmod (\S+)", needed, re.MULTILINE):
            copy = tree / Path(path).relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    for listing in (folder / "modules" / release).glob("modules.[bo]*"):
        shutil.copy(listing, tree / "lib/modules" / release)
    subprocess.run(["depmod", "-b", str(tree), release], check=True)
    init = tree / "init"
    init.write_text(text)
    init.chmod(0o755)
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*"))).encode()
    archive = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, input=names, check=True, stdout=subprocess.PIPE
    ).stdout
    part = initrd.with_suffix(".part")
    part.write_bytes(gzip.compress(archive, 1))
    os.replace(part, initrd)
    shutil.rmtree(tree)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _filter(data: bytes, *command: str) -> bytes:
    return subprocess.run(command, input=data, check=True, stdout=subprocess.PIPE).stdout
