//! The sockets of the admin and telemetry planes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use super::access::Peer;
use crate::config::AdminAddress;

/// Few calls come at once; more wait in the SYN queue.
const BACKLOG: i32 = 128;
/// Out of file descriptors or memory: give the process time to free some.
const BACK_OFF: Duration = Duration::from_millis(100);

/// The bound socket of the admin plane.
pub enum AdminListener {
    /// A TCP address.
    Tcp(TcpListener),
    /// A unix socket; its file goes with it.
    Unix(UnixListener, SocketFile),
}

/// Removes the file of a unix socket when it is dropped.
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already is what we want; anything else is cleared up by the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A connection of either kind.
pub(super) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

impl AdminListener {
    /// Binds the configured address; must be called inside a runtime.
    ///
    /// A socket file on which nobody listens any more is replaced; one on which somebody does is `AddrInUse`.
    pub fn bind(address: &AdminAddress) -> io::Result<Self> {
        match address {
            AdminAddress::Tcp(address) => Ok(Self::Tcp(bind_tcp(*address)?)),
            AdminAddress::Unix(path) => {
                let listener = bind_unix(path)?;
                Ok(Self::Unix(listener, SocketFile(path.clone())))
            }
        }
    }

    /// The bound address as a client writes it: `http://127.0.0.1:9600` or `unix:/run/admin.sock`.
    pub fn url(&self) -> String {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => format!("http://{address}"),
                Err(_) => String::new(),
            },
            Self::Unix(_, SocketFile(path)) => format!("unix:{}", path.display()),
        }
    }

    /// The next connection; errors of the system are logged and waited out.
    pub(super) async fn accept(&self) -> (Box<dyn Connection>, Peer) {
        loop {
            let accepted = match self {
                Self::Tcp(listener) => listener.accept().await.map(|(io, address)| {
                    let io: Box<dyn Connection> = Box::new(io);
                    (io, Peer::Tcp(address))
                }),
                Self::Unix(listener, _) => listener.accept().await.map(|(io, _)| {
                    let uid = io.peer_cred().ok().map(|peer| peer.uid());
                    let io: Box<dyn Connection> = Box::new(io);
                    (io, Peer::Unix(uid))
                }),
            };
            match accepted {
                Ok(accepted) => return accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the admin address");
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }
}

/// The next connection to a TCP plane; errors of the system are logged and waited out.
pub(super) async fn accept_tcp(listener: &TcpListener) -> tokio::net::TcpStream {
    loop {
        match listener.accept().await {
            Ok((io, _)) => return io,
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the telemetry address");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Binds a TCP address; `[::]` takes IPv4 as well, and becomes `0.0.0.0` on a host without IPv6.
pub(super) fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let bind = |address: SocketAddr| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        // A restart must not wait for the TIME_WAIT of old scrapes.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    };
    match bind(address) {
        Err(error)
            if address.is_ipv6()
                && address.ip().is_unspecified()
                && error.kind() != io::ErrorKind::AddrInUse
                && error.kind() != io::ErrorKind::PermissionDenied =>
        {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into()).map_err(|_| error)
        }
        bound => bound,
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Between bind and listen nobody can connect, so there is no instant with the mode of the umask.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket.into())
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} exists and is no socket", path.display()),
        ));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("another process listens on {}", path.display()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn unix(path: &Path) -> io::Result<AdminListener> {
        AdminListener::bind(&AdminAddress::Unix(path.to_owned()))
    }

    #[tokio::test]
    async fn a_socket_file_is_0660_and_goes_with_the_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listener = unix(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert_eq!(listener.url(), format!("unix:{}", path.display()));
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file behind, as a crash does");
        let listener = unix(&path).unwrap();
        let error = unix(&path).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists(), "the loser leaves the winner's file alone");
        drop(listener);
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(unix(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn an_address_in_use_is_told() {
        let first = bind_tcp((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let error = bind_tcp(first.local_addr().unwrap()).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn the_unspecified_address_takes_ipv4() {
        let listener = bind_tcp((Ipv6Addr::UNSPECIFIED, 0).into()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        let (client, _accepted) = tokio::join!(client, accept_tcp(&listener));
        client.unwrap();
    }
}
