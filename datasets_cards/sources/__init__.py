"""Datasets as they come: files, saved folders, the Hub; rows out."""
