"""`dim inspect`: shows a dataset as text and as a contact sheet."""
