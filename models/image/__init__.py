"""Image files to pixels: file types, headers, decoding, color."""
