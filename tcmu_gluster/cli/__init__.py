"""The tcmu-gluster command: a parser made from the operations table, and what it prints."""
