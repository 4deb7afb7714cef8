"""Byte layouts: the only place that shifts and masks."""
