"""What a repository is made of, and how it is checked: one small detector a stack."""
