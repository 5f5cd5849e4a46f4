"""The command that starts the Streamlit app."""

import os
import subprocess
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated, NoReturn

import tyro

from cleaner.access import MIN_PASSWORD_LENGTH, PASSWORD, PUBLIC_UPLOAD_MB, is_loopback, is_public
from cleaner.cli.options import stated_default
from cleaner.files import app_file
from cleaner.types import CleanerError

LOCAL_HOSTS = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class App:
    """Start the app and open it in a browser; arguments after -- go to `streamlit run`."""

    port: Annotated[int | None, stated_default(help="Port to listen on; default: 8501, or the next free one.")] = None
    address: Annotated[
        str | None,
        stated_default(help="Address to listen on; default: 127.0.0.1. Others need a password in CLEANER_PASSWORD."),
    ] = None
    allow_host: Annotated[
        tuple[str, ...],
        stated_default(help="Host names that browsers may use, besides localhost and --address; '*': any."),
    ] = ()
    headless: Annotated[bool, tyro.conf.arg(help="Do not open a browser.")] = False
    streamlit: Annotated[
        tuple[str, ...], tyro.conf.Positional, stated_default(help="Options of `streamlit run`, after --.")
    ] = ()

    def run(self) -> None:
        # -P: a folder named "cleaner" or "streamlit" in the working directory must not shadow the installed package.
        replace_process([sys.executable, "-P", "-m", "streamlit", "run", str(app_file()), *self.options()])

    def options(self) -> list[str]:
        """Return the options of `streamlit run`; what is not set comes from the app's .streamlit/config.toml."""
        options = ["--server.headless", str(self.headless or not has_display()).lower()]
        if is_public():
            return [*options, *self._public_options(), *self.streamlit]
        if self.port is not None:
            options += ["--server.port", str(self.port)]
        if self.address is not None:
            options += ["--server.address", self.address]
        hosts = self._allowed_hosts()
        self._validate_password()
        for host in hosts:
            options += ["--server.allowedHosts", host]
        return [*options, *self.streamlit]

    def _public_options(self) -> list[str]:
        """Return the options of public mode: any address and host name, as nothing of value is reachable."""
        limit, hosts = str(PUBLIC_UPLOAD_MB), self.allow_host or ("*",)
        options = ["--server.address", self.address or "0.0.0.0", "--server.maxUploadSize", limit]
        options += [] if self.port is None else ["--server.port", str(self.port)]
        return options + [word for host in hosts for word in ("--server.allowedHosts", host)]

    def _validate_password(self) -> None:
        """Raise `CleanerError` if other machines can reach the address without a password; the pages refuse it too."""
        beyond = self.address is not None and not is_loopback(self.address)
        if beyond and len(os.environ.get(PASSWORD, "")) < MIN_PASSWORD_LENGTH:
            raise CleanerError(
                f"--address {self.address} lets other machines use this app: set {PASSWORD} to a password of at least "
                f"{MIN_PASSWORD_LENGTH} characters first."
            )

    def _allowed_hosts(self) -> list[str]:
        """Return the hosts that requests may name; none if the defaults of the configuration file apply."""
        if is_wildcard(self.address) and not self.allow_host:
            raise CleanerError(
                f"--address {self.address} also requires --allow-host: the names or addresses under which browsers "
                "reach this machine, or '*' for any."
            )
        if self.address is None and not self.allow_host:
            return []
        address = () if self.address is None or is_wildcard(self.address) else (self.address,)
        return list(dict.fromkeys((*LOCAL_HOSTS, *address, *self.allow_host)))


def has_display() -> bool:
    """Return whether a browser can open a window on this machine."""
    return sys.platform in ("win32", "darwin") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def is_wildcard(address: str | None) -> bool:
    """Return whether a server at this address listens on every network interface."""
    try:
        return address is not None and ip_address(address).is_unspecified
    except ValueError:  # a host name
        return False


def replace_process(command: list[str]) -> NoReturn:
    """Run a command in place of this process, so that it gets the signals; Windows needs a child process for that."""
    sys.stdout.flush()
    if sys.platform == "win32":
        sys.exit(subprocess.call(command))
    os.execv(command[0], command)
