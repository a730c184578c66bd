"""`dim inspect`: a dataset as text and as a contact sheet."""
