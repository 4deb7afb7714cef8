"""The kernel tier: Debian's stock kernel in QEMU, with this checkout inside; see README.md."""
