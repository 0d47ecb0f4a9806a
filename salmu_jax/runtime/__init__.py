"""Where it runs: devices, processes, files, workdirs, progress."""
