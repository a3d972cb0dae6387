"""The intake: waits until a file is complete, checks it, hashes it, stores it and records it. It never queues."""
