"""gRPC calls that no client library would make."""

from __future__ import annotations

import contextlib
import socket

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from wire import PATIENCE


def connect(url: str) -> socket.socket:
    host, _, port = url.rpartition(":")
    # Many times as long as the server waits.
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


class RawCalls:
    """gRPC calls, frame by frame. Whatever a call lacks, pings are answered."""

    def __init__(self, connection: socket.socket, **settings: int) -> None:
        self._connection = connection
        self._http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        ours = {h2.settings.SettingCodes[name]: value for name, value in settings.items()}
        self._http2.local_settings = h2.settings.Settings(client=True, initial_values=ours)
        self._http2.initiate_connection()

    def begin(self, method: str, body: bytes = b"", whole: bool = False) -> int:
        stream = self._http2.get_next_available_stream_id()
        path = f"/inference.GRPCInferenceService/{method}"
        headers = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x", "te": "trailers"}
        self._http2.send_headers(stream, list((headers | {"content-type": "application/grpc"}).items()))
        self._http2.send_data(stream, body, end_stream=whole)
        return stream

    def send(self, stream: int, count: int) -> int:
        """Sends so many zeros, as fast as they are taken. How many were, before the server ended the call or closed."""
        sent, gone = 0, False
        with contextlib.suppress(ConnectionError, h2.exceptions.ProtocolError):
            while sent < count and not gone:
                window = self._http2.local_flow_control_window(stream)
                part = min(count - sent, window, self._http2.max_outbound_frame_size)
                if part > 0:
                    self._http2.send_data(stream, bytes(part))
                    self._connection.sendall(self._http2.data_to_send())
                    sent += part
                else:
                    events = self._events(stream)
                    gone = any(isinstance(event, (h2.events.StreamReset, h2.events.StreamEnded)) for event in events)
        return sent

    def end(self, stream: int) -> dict[str, str] | None:
        """How the server ends the call: its last headers; None: it resets the stream instead."""
        headers: dict[str, str] = {}
        while True:
            for event in self._events(stream):
                if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                    headers |= {name.decode(): value.decode() for name, value in event.headers or ()}
                if isinstance(event, h2.events.StreamReset):
                    return headers if "grpc-status" in headers else None
                if isinstance(event, h2.events.StreamEnded):
                    return headers

    def _events(self, stream: int) -> list[h2.events.Event]:
        """What comes next, of this call; perhaps nothing."""
        self._connection.sendall(self._http2.data_to_send())
        received = self._connection.recv(1 << 16)
        if not received:
            raise ConnectionError("the server closed the connection")
        return [event for event in self._http2.receive_data(received) if getattr(event, "stream_id", None) == stream]
