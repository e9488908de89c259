"""What changed from one artifact to another, row by row."""
