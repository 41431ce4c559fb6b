"""What knows nothing of pictures: openat, SQLite, a queue with its thread, one HTTP request, budgets."""
