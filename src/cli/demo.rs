//! `sidebeat demo`: an echo app that knows no heartbeats, the proxy before it and a receiver of its hooks, all in one
//! process. The proxy is the one of `sidebeat run`, with a configuration file written for the occasion.

mod app;
mod house;
mod show;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;

use super::EXIT_CONFIG;
use super::receive::Receiver;
use crate::config::{ConfigError, ConfigSource, Flags};
use crate::hook::sign::Secret;
use crate::server;
use house::{House, HouseError};
use show::{Line, Screen};

/// The places of all its sockets behind `--port`, in this order.
const PORTS: u16 = 9;

/// Everything in one process: an echo app, the proxy before it, a hook receiver.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// The port of ws; wss, tcp, tls, admin, metrics, the app's two and the hook receiver's follow it. 0 takes free ones.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=i64::from(u16::MAX - PORTS + 1)))]
    pub port: u16,
}

/// Why the demo cannot start.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("cannot bind {what} {address}: {source}; choose another --port, or none for free ones")]
    Bind {
        what: &'static str,
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error(transparent)]
    House(#[from] HouseError),
    #[error("the demo's own configuration is refused: {0}")]
    Config(#[from] ConfigError),
    #[error("cannot start: {0}")]
    Os(#[from] std::io::Error),
    #[error("cannot print: {0}")]
    Log(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Runs until a signal ends it.
pub(super) fn main(args: Args) -> ExitCode {
    match run(args.port) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sidebeat demo: {error}");
            match error {
                DemoError::Config(_) => ExitCode::from(EXIT_CONFIG),
                DemoError::Bind { .. }
                | DemoError::House(_)
                | DemoError::Os(_)
                | DemoError::Log(_) => ExitCode::from(server::EXIT_OS),
            }
        }
    }
}

fn run(port: u16) -> Result<ExitCode, DemoError> {
    let sockets = Sockets::bind(port)?;
    let house = House::build(&sockets.plan(port)?)?;
    let source = ConfigSource::new(Some(house.config_file()), Flags::default());
    let config = source.load()?;
    let screen = Screen::start(sockets.banner(&house)?)?;
    let secret = Secret::parse(house.secret.as_bytes()).map_err(std::io::Error::other)?;
    sockets.serve(Receiver::of_demo(secret), screen.lines())?;
    let code = server::run(config, source);
    screen.end();
    Ok(code)
}

/// What is not the proxy's own.
struct Sockets {
    app_ws: TcpListener,
    app_tcp: TcpListener,
    hook: TcpListener,
}

/// Where everything is or shall be bound; a port of 0 is the kernel's to choose.
struct Plan {
    /// ws, wss, tcp, tls, admin, metrics.
    proxy: [SocketAddr; 6],
    app_ws: SocketAddr,
    app_tcp: SocketAddr,
    hook: SocketAddr,
}

/// The address `place` behind `port`.
fn address(port: u16, place: u16) -> SocketAddr {
    let port = if port == 0 { 0 } else { port + place };
    (Ipv4Addr::LOCALHOST, port).into()
}

impl Sockets {
    fn bind(port: u16) -> Result<Self, DemoError> {
        let bind = |what, place| {
            let address = address(port, place);
            let socket = TcpListener::bind(address).map_err(|source| DemoError::Bind {
                what,
                address,
                source,
            })?;
            socket.set_nonblocking(true)?;
            Ok::<_, DemoError>(socket)
        };
        Ok(Self {
            app_ws: bind("the app", 6)?,
            app_tcp: bind("the app", 7)?,
            hook: bind("the hook receiver", PORTS - 1)?,
        })
    }

    fn plan(&self, port: u16) -> std::io::Result<Plan> {
        Ok(Plan {
            proxy: [0, 1, 2, 3, 4, 5].map(|place| address(port, place)),
            app_ws: self.app_ws.local_addr()?,
            app_tcp: self.app_tcp.local_addr()?,
            hook: self.hook.local_addr()?,
        })
    }

    fn banner(&self, house: &House) -> std::io::Result<show::Banner> {
        Ok(show::Banner {
            app_ws: self.app_ws.local_addr()?,
            app_tcp: self.app_tcp.local_addr()?,
            hook: self.hook.local_addr()?,
            config: house.config_file(),
            certificate: house.certificate(),
        })
    }

    /// Serves app and hooks on a thread that ends with the process: the last hooks of a drain still find their receiver.
    fn serve(
        self,
        receiver: Receiver,
        lines: std::sync::mpsc::Sender<Line>,
    ) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let [app_ws, app_tcp, hook] = {
            let _inside = runtime.enter();
            let [app_ws, app_tcp, hook] =
                [self.app_ws, self.app_tcp, self.hook].map(tokio::net::TcpListener::from_std);
            [app_ws?, app_tcp?, hook?]
        };
        let print = Arc::new(move |line: &str| {
            // The screen is gone only when the process is about to be.
            let _ = lines.send(Line::now("hook", line));
        });
        std::thread::Builder::new()
            .name("app".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::join!(
                        app::serve_http(app_ws),
                        app::serve_lines(app_tcp),
                        receiver.serve(hook, print)
                    )
                })
            })?;
        Ok(())
    }
}
