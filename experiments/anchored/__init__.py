"""Anchored caption editing: how far it goes, what each of its parts does, and what brings a fact
back.
"""
