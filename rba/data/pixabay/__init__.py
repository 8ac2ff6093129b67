"""Pictures and their licences through Pixabay's public API, within its limits, resumable.

[0] https://pixabay.com/api/docs/
"""
