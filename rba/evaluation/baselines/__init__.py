"""What alignment is measured against: rules that need no network."""
