"""The embedded engine: any causal model of transformers, in this process."""
