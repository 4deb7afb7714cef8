"""The control socket: what may be asked (operations), how it is written (codec), and the blocking client."""
