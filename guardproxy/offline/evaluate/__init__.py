"""How well the guards judge: labelled rows through the proxy's own path, and what comes out of it in numbers."""
