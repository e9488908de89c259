"""The Parquet tables of an artifact: columns, layout on disk, and what is checked before one is read."""
