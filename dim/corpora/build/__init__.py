"""`dim build`: makes a dataset from a raw release."""
