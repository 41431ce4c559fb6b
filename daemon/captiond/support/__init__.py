"""Helpers without pictures: openat, SQLite, a queue with its thread, one HTTP request, budgets."""
