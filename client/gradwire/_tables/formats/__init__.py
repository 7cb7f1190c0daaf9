"""File formats, one a module, with ``open_file(path, decimal)``; to add one, name it in ``FORMATS`` of the table."""
