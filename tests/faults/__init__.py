"""Faults, one file each: what goes wrong, done to a real daemon that has pictures to serve.

Each has `inflict(root, pictures)`, which raises AssertionError where a promise is broken and returns a word
on what was seen; `missing()`, why this machine cannot do it; `PICTURES`, how many for a sample and in all.
"""
