"""The longer commands of `nightread`; the short ones are in `worker.cli`."""
