//! Listening sockets and the options of connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::time::Duration;

use rustix::net::sockopt::set_tcp_keepidle;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

/// Connections that may wait for `accept`; the kernel lowers it to `net.core.somaxconn` (4096 by default).
const BACKLOG: i32 = 4096;

/// With KEEPALIVE_IDLE: a vanished peer is found after at most 25 s + 3 × 10 s of silence, where nothing else asks it anything.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

/// Whole seconds of silence before the first probe; each connection draws its own. Thousands that were opened together
/// would else be probed in one tick of the kernel, which queues 1,000 packets to itself or to a container
/// (net.core.netdev_max_backlog): the others are lost, each time the same ones, and connections that live are given up.
const KEEPALIVE_IDLE: RangeInclusive<u64> = 16..=25;

/// Unsent bytes that a client's socket takes at most. With the kernel's own sizing a write blocks only after
/// megabytes, and a client that takes nothing would look alive for as long as it takes to fill them.
const UNSENT: u32 = 128 * 1024;

/// Binds and listens on `address`, non-blocking, with the options that its connections inherit; fails with `AddrInUse` if any other socket listens there. `[::]`
/// listens for IPv4 too.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match listen(address, Sharing::Exclusive) {
        Err(error) => match without_ipv6(address, &error) {
            Some(address) => listen(address, Sharing::Exclusive).map(Into::into),
            None => Err(error),
        },
        Ok(socket) => Ok(socket.into()),
    }
}

/// Binds `count` sockets, one for each worker, to the same `address`, among which the kernel spreads connections; port
/// 0 is chosen once for all. Fails with `AddrInUse` if any socket outside of the group listens there.
///
/// SO_REUSEPORT alone would let a second process of the same user take half of the connections in silence. The first
/// socket therefore listens alone and is opened to the others only then: at no instant can two groups both get through.
pub fn bind_group(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    bind_more(bind(address)?, count)
}

/// The same, where a group of this process that is about to go overlaps with `address`, as `[::]:80` does with
/// `0.0.0.0:80`.
pub fn bind_group_beside(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    bind_more(listen(address, Sharing::Group)?.into(), count)
}

fn bind_more(first: TcpListener, count: usize) -> io::Result<Vec<TcpListener>> {
    let address = first.local_addr()?;
    SockRef::from(&first).set_reuse_port(true)?;
    let mut group = vec![first];
    for _ in 1..count {
        group.push(listen(address, Sharing::Group)?.into());
    }
    Ok(group)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Exclusive,
    Group,
}

fn listen(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Connections of the former process may still be in TIME_WAIT on this port.
    socket.set_reuse_address(true)?;
    if sharing == Sharing::Group {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    tune(&socket);
    tolerate("TCP_NOTSENT_LOWAT", socket.set_tcp_notsent_lowat(UNSENT));
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// What `[::]`, the default of telemetry, means on a kernel without IPv6.
fn without_ipv6(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    const EAFNOSUPPORT: i32 = 97;
    (address.is_ipv6()
        && address.ip().is_unspecified()
        && error.raw_os_error() == Some(EAFNOSUPPORT))
    .then(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
}

/// Sets up the connection of a client; most it has inherited from the listening socket, which saves six calls an
/// opening. `user_timeout` is how long sent bytes may stay unacknowledged.
pub fn tune_client(tcp: &TcpStream, user_timeout: Option<Duration>) {
    tolerate("TCP_KEEPIDLE", spread_keepalive(tcp));
    give_up_after(SockRef::from(tcp), user_timeout);
}

/// Sets up a connection to an upstream. `user_timeout` is how long sent bytes may stay unacknowledged.
pub fn tune_upstream(tcp: &TcpStream, user_timeout: Option<Duration>) {
    let socket = SockRef::from(tcp);
    tune(&socket);
    tolerate("TCP_KEEPIDLE", spread_keepalive(tcp));
    give_up_after(socket, user_timeout);
}

fn spread_keepalive(tcp: &TcpStream) -> io::Result<()> {
    let idle = Duration::from_secs(rand::random_range(KEEPALIVE_IDLE));
    Ok(set_tcp_keepidle(tcp, idle)?)
}

fn tune(socket: &Socket) {
    tolerate("TCP_NODELAY", socket.set_tcp_nodelay(true));
    tolerate("SO_KEEPALIVE", socket.set_tcp_keepalive(&KEEPALIVE));
}

fn give_up_after(socket: SockRef<'_>, user_timeout: Option<Duration>) {
    if user_timeout.is_some() {
        tolerate(
            "TCP_USER_TIMEOUT",
            socket.set_tcp_user_timeout(user_timeout),
        );
    }
}

/// Every option is a refinement; a peer that reset at once makes all of them fail, and the next read tells.
fn tolerate(option: &str, result: io::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(option, %error, "socket option not set");
    }
}

/// An IPv4 peer of a dual-stack socket as the IPv4 address it is, so that CIDRs and logs agree.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream as Connection;

    use super::*;

    fn localhost() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    /// Port 0 of a loopback address that this process and this `test` alone use: a port given up is nobody else's.
    fn own_address(test: u8) -> SocketAddr {
        let [.., high, low] = std::process::id().to_be_bytes();
        SocketAddr::from(([127, 100 + test, high, low], 0))
    }

    #[test]
    fn a_group_shares_one_port_and_every_member_gets_connections() {
        let group = bind_group(localhost(), 3).unwrap();
        assert_eq!(group.len(), 3);
        let address = group[0].local_addr().unwrap();
        for member in &group {
            assert_eq!(member.local_addr().unwrap(), address);
        }
        // The kernel spreads by a hash of both ports: with 300 the chance of an empty member is below 1e-50.
        let clients: Vec<_> = (0..300)
            .map(|_| Connection::connect(address).unwrap())
            .collect();
        let shares: Vec<_> = group
            .iter()
            .map(|member| std::iter::from_fn(|| member.accept().ok()).count())
            .collect();
        assert_eq!(shares.iter().sum::<usize>(), clients.len());
        assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    }

    #[test]
    fn a_second_group_or_socket_on_the_address_is_refused_while_one_member_lives() {
        let mut group = bind_group(own_address(0), 2).unwrap();
        let address = group[0].local_addr().unwrap();
        let refused =
            |result: io::Result<()>| result.unwrap_err().kind() == io::ErrorKind::AddrInUse;
        assert!(refused(bind_group(address, 2).map(drop)));
        assert!(refused(bind(address).map(drop)));
        drop(group.remove(0));
        assert!(refused(bind_group(address, 2).map(drop)));
        drop(group);
        assert_eq!(bind_group(address, 2).unwrap().len(), 2);
    }

    #[test]
    fn an_address_is_free_again_while_old_connections_linger() {
        let group = bind_group(own_address(1), 2).unwrap();
        let address = group[0].local_addr().unwrap();
        let client = Connection::connect(address).unwrap();
        let served = group
            .iter()
            .find_map(|member| member.accept().ok())
            .unwrap();
        drop(group);
        assert!(bind_group(address, 2).is_ok(), "one is established");
        drop(served);
        drop(client);
        assert!(bind_group(address, 2).is_ok(), "one is in TIME_WAIT");
    }

    #[test]
    fn another_process_finds_the_address_taken() {
        const ADDRESS: &str = "SIDEBEAT_TEST_ADDRESS";
        if let Ok(address) = std::env::var(ADDRESS) {
            // This is the other process.
            let result = bind_group(address.parse().unwrap(), 2);
            let errno = result.err().and_then(|error| error.raw_os_error());
            std::process::exit(errno.unwrap_or(0));
        }
        let errno_elsewhere = |address: SocketAddr| {
            let test = "net::sockopt::tests::another_process_finds_the_address_taken";
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", test])
                .env(ADDRESS, address.to_string())
                .stdout(std::process::Stdio::null())
                .status()
                .unwrap()
                .code()
        };
        let group = bind_group(own_address(2), 2).unwrap();
        let address = group[0].local_addr().unwrap();
        assert_eq!(errno_elsewhere(address), Some(98), "EADDRINUSE");
        drop(group);
        assert_eq!(errno_elsewhere(address), Some(0));
    }

    #[test]
    fn any_ipv6_means_any_ipv4_on_a_kernel_without_ipv6() {
        let unsupported = io::Error::from_raw_os_error(97);
        let fallback = |address: &str| without_ipv6(address.parse().unwrap(), &unsupported);
        assert_eq!(fallback("[::]:9601"), Some("0.0.0.0:9601".parse().unwrap()));
        assert_eq!(fallback("[::1]:9601"), None);
        let taken = io::Error::from_raw_os_error(98);
        assert_eq!(without_ipv6("[::]:9601".parse().unwrap(), &taken), None);
    }

    #[tokio::test]
    async fn options_arrive_in_the_kernel() {
        let listener = tokio::net::TcpListener::from_std(bind(localhost()).unwrap()).unwrap();
        let dialed = TcpStream::connect(listener.local_addr().unwrap());
        let (dialed, accepted) = tokio::join!(dialed, listener.accept());
        let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap().0);
        let backstop = Some(Duration::from_secs(65));

        tune_client(&accepted, backstop);
        let socket = SockRef::from(&accepted);
        assert!(accepted.nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        let idle = socket.tcp_keepalive_time().unwrap();
        assert!(KEEPALIVE_IDLE.contains(&idle.as_secs()), "{idle:?}");
        assert_eq!(
            socket.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(10)
        );
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(socket.tcp_user_timeout().unwrap(), backstop);
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), 128 * 1024);

        let untouched = SockRef::from(&dialed).tcp_notsent_lowat().unwrap();
        tune_upstream(&dialed, None);
        let socket = SockRef::from(&dialed);
        assert!(dialed.nodelay().unwrap());
        let idle = socket.tcp_keepalive_time().unwrap();
        assert!(KEEPALIVE_IDLE.contains(&idle.as_secs()), "{idle:?}");
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), untouched);
    }

    #[tokio::test]
    async fn connections_that_are_opened_together_are_not_probed_together() {
        let listener = tokio::net::TcpListener::from_std(bind(localhost()).unwrap()).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        // With 200 the chance that one of ten is missed is below 1e-8.
        for _ in 0..200 {
            let dialed = TcpStream::connect(listener.local_addr().unwrap());
            let (dialed, accepted) = tokio::join!(dialed, listener.accept());
            let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap().0);
            tune_client(&accepted, None);
            tune_upstream(&dialed, None);
            for socket in [SockRef::from(&dialed), SockRef::from(&accepted)] {
                seen.insert(socket.tcp_keepalive_time().unwrap().as_secs());
            }
        }
        assert!(seen.into_iter().eq(KEEPALIVE_IDLE));
    }
}
