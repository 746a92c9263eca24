"""Access to the server: the hosts it answers to, the origins of requests, and the token."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from urllib.parse import urlencode, urlsplit

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

_SCHEMES = ("token ", "bearer ")


class AccessGuard:
    """Check of every request before it is answered.

    Args:
        hosts: names that a Host header and an Origin may have, without a port; "*" for any Host.
        token: secret that a request must give; None to answer everybody.
    """

    def __init__(self, hosts: Sequence[str], token: str | None = None) -> None:
        self._hosts = {host.lower() for host in hosts}
        self._token = token

    def refuse(self, request: Request) -> Response | None:
        """Return the response to a request that may not pass, or None for one that may.

        A request with the token in its URL is redirected to the URL without it, and gets a cookie.
        """
        host = request.headers.get("host", "")
        if not self._is_allowed(f"//{host}"):
            return Response("this host is not allowed; see --allowed-host\n", status_code=400)
        origin = request.headers.get("origin")
        if origin is not None and not self._is_allowed(origin, host):
            return Response("cross-origin requests are not allowed\n", status_code=403)
        return None if self._token is None else self._ask_for_token(request, self._token)

    def _is_allowed(self, url: str, host: str | None = None) -> bool:
        """Return whether a URL has an allowed name, and the port of the given Host."""
        try:
            parts, host_parts = urlsplit(url), urlsplit(f"//{host or ''}")
            same_port = host is None or parts.port == host_parts.port
            # Reading a port validates it.
            name, _ = parts.hostname, parts.port
        except ValueError:
            return False
        # With any Host allowed, there is nothing else to compare an origin with.
        if "*" in self._hosts:
            return host is None or parts.netloc == host_parts.netloc
        return same_port and name in self._hosts

    def _ask_for_token(self, request: Request, token: str) -> Response | None:
        # Cookies are shared by all ports of a host.
        cookie = f"glimpses-{request.url.port or 80}"
        secret = request.query_params.get("token")
        if secret is not None and _equal(secret, token):
            if request.method != "GET" or request.url.path.startswith("/api/"):
                return None
            rest = [pair for pair in request.query_params.multi_items() if pair[0] != "token"]
            # A path that begins with two slashes would lead to another host.
            target = "/" + request.url.path.lstrip("/") + (f"?{urlencode(rest)}" if rest else "")
            response = RedirectResponse(target, status_code=303)
            response.set_cookie(cookie, token, httponly=True, samesite="strict")
            return response
        header = request.headers.get("authorization", "")
        scheme = next((name for name in _SCHEMES if header.lower().startswith(name)), None)
        candidates = [request.cookies.get(cookie, "")]
        if scheme is not None:
            candidates.append(header[len(scheme) :].strip())
        if any(_equal(secret, token) for secret in candidates):
            return None
        return Response(
            "a token is needed: open the address that glimpses serve has printed, or send "
            "'Authorization: Bearer TOKEN'\n",
            status_code=401, headers={"WWW-Authenticate": "Bearer"},
        )  # fmt: skip


def _equal(secret: str, token: str) -> bool:
    """Compare two secrets in constant time."""
    return secrets.compare_digest(secret.encode(), token.encode())
