"""This package tells what a machine has, and what of it would stop a build. A bug report begins with it.

Each check is one file of ``checks/``. A check imports no heavy library: those are asked in a process of their own.
"""
