"""`dim build`: from a raw release to a published dataset."""
