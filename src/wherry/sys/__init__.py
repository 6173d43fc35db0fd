"""System calls and netlink: the only place with ctypes. One function per call, named as its man page."""
