"""The SCSI disk: SPC and SBC as plain functions over a command table. No I/O, no clocks, no threads."""
