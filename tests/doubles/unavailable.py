"""Why tests with libgfapi's double can't run here; empty if they can."""

from __future__ import annotations

from tcmu_gluster import native
from tcmu_gluster.testing import libgfapi_double

LIBGFAPI = libgfapi_double.WHY_UNAVAILABLE or ("the C shim is not built" if native.shim is None else "")
