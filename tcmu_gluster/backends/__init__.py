"""Where the bytes are. A backend knows bytes, offsets and errno, never SCSI."""
