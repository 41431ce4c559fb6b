"""What the commands do, one file each; `cli` turns arguments into calls and prints what comes back."""
