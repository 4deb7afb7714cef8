"""A file on a GlusterFS volume as a SCSI disk. The library: no process, no argv, nothing happens on import."""

__version__ = "0.1.0"
