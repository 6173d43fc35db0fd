"""Seccomp filters: profiles, and the programs the kernel runs for them.

Profiles are made by :mod:`wherry.runtime.seccomp.profile` (the default one) and
:mod:`wherry.runtime.seccomp.docker` (files in Docker's format), and compiled by
:mod:`wherry.runtime.seccomp.compiler`. Nothing is imported here: who loads a filter need not be
able to compile one, and who compiles one needs no profiles.
"""
