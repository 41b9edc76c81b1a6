use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
#[derive(Parser)]
struct Cli {
    cmd: String,
    #[arg(short = 'c')]
    file: Option<PathBuf>,
    #[command(flatten)]
    flags: sidebeat::config::Flags,
}
fn main() -> ExitCode {
    let cli = Cli::parse();
    let source = sidebeat::config::ConfigSource::new(cli.file, cli.flags);
    match source.load() {
        Ok(c) => {
            tracing_subscriber::fmt()
                .with_max_level(c.log.level)
                .json()
                .flatten_event(true)
                .init();
            sidebeat::server::run(c, source)
        }
        Err(e) => {
            eprintln!("{e}");
            ExitCode::from(78)
        }
    }
}
