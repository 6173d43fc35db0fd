"""Content-addressed blobs, the database, images and references, garbage collection."""
