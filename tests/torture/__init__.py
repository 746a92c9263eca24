"""Torture suite: damaged files, kills, full disks, hostile runs and many uploads.

`python -m tests.torture --minutes 60` runs it; each kind of harm has a module.
"""
