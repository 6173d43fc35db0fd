"""The only place that talks to the kernel through ctypes and netlink.

One function per system call, named as its man page; each raises OSError with the path it was
given. Kernel constants come first in a file, then structures, then functions.
"""
