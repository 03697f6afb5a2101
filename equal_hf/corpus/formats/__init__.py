"""Documents of formats that need a parser: web pages, PDF files, and archives of web pages."""
