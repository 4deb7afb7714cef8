"""The kernel's side door: TCMU rings, their devices, and the netlink conversation about them."""
