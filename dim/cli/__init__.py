"""The command `dim`: one module for each command."""
