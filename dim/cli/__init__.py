"""The command `dim`: one module for each command. A command is a dataclass of its settings with a method `run`."""
