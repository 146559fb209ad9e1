"""A reader of shell scripts: what could run, seen through quoting, wrappers and nesting. Built on tree-sitter-bash."""

from guardproxy.policy.shell.command import Command, Redirect, Script
from guardproxy.policy.shell.read import read, read_line
from guardproxy.policy.shell.tree import Stop, never

__all__ = ["Command", "Redirect", "Script", "Stop", "never", "read", "read_line"]
