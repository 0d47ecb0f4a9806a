"""The runtime: devices, processes, files, workdirs, the terminal."""
