"""What a run runs on: devices, processes, files, workdirs, the terminal."""
