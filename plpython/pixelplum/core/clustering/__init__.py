"""Clusters of items that look alike, principal components, and maps."""
