"""Published versions: where they lie, how one is made, and how it is got back."""
