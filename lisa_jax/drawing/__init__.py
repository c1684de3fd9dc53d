"""Samples for people: what is asked for, with which networks, and the folder that pictures go to."""
