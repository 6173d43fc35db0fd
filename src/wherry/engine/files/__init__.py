"""The files of containers: copied in and out, compared with their image's."""
