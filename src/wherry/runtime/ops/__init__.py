"""Small typed operations, of which a container's set-up is a list.

They are planned without privileges (:mod:`wherry.runtime.plan`), can say what they do, and are
executed one after the other in the container's init before it becomes the program.
"""
