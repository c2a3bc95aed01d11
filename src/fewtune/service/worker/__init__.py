"""The worker: the process that owns the device, trains the queue's jobs and answers what the web process asks."""
