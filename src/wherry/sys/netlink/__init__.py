"""Netlink: what the kernel is told about links, addresses, routes, packet filters and flows.

Written out rather than imported; docs/decisions/netlink.md says why.
"""
