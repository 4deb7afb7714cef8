"""A file on a GlusterFS volume as a SCSI disk. This package is the library: no process, no argv, nothing happens on import."""

__version__ = "0.1.0"
