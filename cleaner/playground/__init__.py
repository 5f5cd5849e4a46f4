"""The playground: runs as one HTML file whose models run in the browser."""
