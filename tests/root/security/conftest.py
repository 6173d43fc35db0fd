"""The runtime's boxes, an engine, and bundles for the command line: what attacks are tried on."""

from tests.conformance.conftest import oci, oci_layer
from tests.root.engine.conftest import engine, nothing_is_left, roots
from tests.root.runtime.conftest import box, layer, runtime

__all__ = ["box", "engine", "layer", "nothing_is_left", "oci", "oci_layer", "roots", "runtime"]
