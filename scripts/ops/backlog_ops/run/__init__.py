"""The gate engine: store, steps, worktrees, git."""
