"""The user study ([0] A.5): who is asked what, the page, the answers, what they say."""
