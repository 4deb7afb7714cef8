"""The daemon: glue, and the only owner of threads, loop and signals. It holds no opcode, no PDU, no sense code."""
