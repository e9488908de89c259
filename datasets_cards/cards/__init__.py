"""What is written about an artifact for people and machines: the card and Croissant metadata."""
