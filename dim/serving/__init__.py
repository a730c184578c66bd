"""The linker as a web service: `dim serve`."""
