"""Bases: the folders of those that come with the package, and how any base is found and described."""
