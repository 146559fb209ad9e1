"""How fast the proxy is, measured on this machine: `python -m bench` prints one JSON object.

Linux only: the processes are pinned to cores and their CPU time is read from /proc.
"""
