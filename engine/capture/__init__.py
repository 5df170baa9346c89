"""Carries what is committed to a tenant's database into its ``outbox``, as LTX files that make up its whole history.

The log is read past SQLite, which never writes it again before it was captured. Nothing in here knows of tables, requests or
object stores; whoever empties the log (``engine.store.checkpoint``) asks first.
"""

from engine.capture.capture import Capture, stand_down
from engine.capture.live_files import LiveFiles
from engine.capture.pages import PageForm
from engine.capture.position_file import PositionFile

__all__ = ["Capture", "LiveFiles", "PageForm", "PositionFile", "stand_down"]
