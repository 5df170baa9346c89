"""Every bound of the protocol, each with its reason."""

FRAME_BYTES_MAX = 16 * 1024 * 1024
"""A frame holds at most an 8 MiB body and the vectors computed from it; a larger length is a broken or hostile peer."""

ANSWER_BYTES_MAX = FRAME_BYTES_MAX - 1024
"""What an operation may answer: a frame less its envelope, which is some tens of bytes."""

IN_FLIGHT_MAX = 256
"""Requests one connection may have under way. More wait in the sender, so that a peer cannot fill our memory."""

DEADLINE_DEFAULT_MS = 10_000
"""What a request without a deadline gets: nobody waits longer for an answer that a person or an agent asked for."""

DEADLINE_MAX_MS = 600_000
"""A deadline may not exceed ten minutes; the longest honest request is the last step of a large import."""

SOCKET_PATH_BYTES_MAX = 107
"""``sun_path`` of ``unix(7)`` less its terminating NUL."""

PROTOCOL_VERSION = 1
"""Raised when a message changes its meaning. Adding an optional field does not: both ends ignore what they don't know."""

CONTAINERS_MAX = 4_000_000
"""Lists and objects in one answer: more than 500 memories with the most intricate metadata have. Decoded, 350 MB at worst."""
