"""Where shards lie and how their bytes come: local folders, and remote ones through a cache."""
