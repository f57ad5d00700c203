"""report.json rendered for people: pure functions of the record."""
