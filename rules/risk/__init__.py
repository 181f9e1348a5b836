"""The community's disaster risk; see README.md."""
