"""What the longer commands of `nightread` do; the short ones stand in `worker.cli`."""
