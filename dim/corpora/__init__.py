"""Datasets of mentions, entities and pictures: readers of raw releases, building, loading, inspecting."""
